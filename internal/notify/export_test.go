package notify

import "crypto/tls"

// TrustForTest has a notifier by e-mail trust a test's server.
func TrustForTest(notifier Notifier, config *tls.Config) {
	notifier.(*emailNotifier).tls = config
}
