package notify

import (
	"maps"
	"slices"
	"strings"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/outbound"
)

// The sorts of notifiers.
const (
	sortSlack     = "slack"
	sortPagerDuty = "pagerduty"
	sortOpsgenie  = "opsgenie"
	sortEmail     = "email"
	sortWebhook   = "webhook"
)

// New makes the notifiers that a configuration has, in the order of Configured.
func New(cfg *config.Config) []Notifier {
	var all []Notifier
	l := links{base: cfg.PublicURL("")}
	client := outbound.NewTrustedClient()
	of := func(sort, name, what, variable string, hidden secrets) service {
		return service{name: fullName(sort, name), what: what, remedy: variable, secrets: hidden, links: l, client: client}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Slack.WebhookURL)) {
		address := cfg.Slack.WebhookURL[name]
		all = append(all, &slackNotifier{of(sortSlack, name, "Slack", "TOWPATH_SLACK_WEBHOOK_URL", secretAddress(address)), address})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.PagerDuty.RoutingKey)) {
		key := cfg.PagerDuty.RoutingKey[name]
		all = append(all, &pagerDutyNotifier{of(sortPagerDuty, name, "PagerDuty", "TOWPATH_PAGERDUTY_ROUTING_KEY", secrets{key}), cfg.PagerDuty.URL, key})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Opsgenie.APIKey)) {
		key := cfg.Opsgenie.APIKey[name]
		address := opsgenieAddress(cfg.Opsgenie.Region, cfg.Opsgenie.URL)
		all = append(all, &opsgenieNotifier{of(sortOpsgenie, name, "Opsgenie", "TOWPATH_OPSGENIE_API_KEY and TOWPATH_OPSGENIE_REGION", secrets{key}), address, key})
	}
	if cfg.SMTP.URL != "" {
		all = append(all, newEmail(cfg.SMTP.URL, cfg.SMTP.From, cfg.SMTP.To, l))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Webhook.URL)) {
		address, secret := cfg.Webhook.URL[name], cfg.Webhook.Secret[name]
		if secret == "" {
			secret = cfg.Webhook.Secret[""]
		}
		notifier := &webhookNotifier{service: of(sortWebhook, name, "the webhook", "TOWPATH_WEBHOOK_URL", secretAddress(address)), address: address}
		if secret != "" {
			notifier.keys = strings.Split(secret, "|")
			notifier.secrets = append(notifier.secrets, notifier.keys...)
		}
		all = append(all, notifier)
	}
	return all
}

// Configured lists the names of the notifiers that a configuration has.
func Configured(cfg *config.Config) []string {
	var names []string
	add := func(sort string, targets config.Targets) {
		for _, name := range slices.Sorted(maps.Keys(targets)) {
			names = append(names, fullName(sort, name))
		}
	}
	add(sortSlack, cfg.Slack.WebhookURL)
	add(sortPagerDuty, cfg.PagerDuty.RoutingKey)
	add(sortOpsgenie, cfg.Opsgenie.APIKey)
	if cfg.SMTP.URL != "" {
		names = append(names, sortEmail)
	}
	add(sortWebhook, cfg.Webhook.URL)
	return names
}

func fullName(sort, name string) string {
	if name == "" {
		return sort
	}
	return sort + ":" + name
}
