package outbound

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Sign sets the headers of the Standard Webhooks scheme. The id names the message and stays the same when it is sent
// again; each of the keys (whsec_…) makes one signature, so that a receiver who knows one of them is content. Without
// keys there is no signature.
func Sign(header http.Header, id string, at time.Time, body []byte, keys []string) error {
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	signatures := make([]string, len(keys))
	for i, key := range keys {
		hook, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			return fmt.Errorf("read a signing key: %w", err)
		}
		if signatures[i], err = hook.Sign(id, at, body); err != nil {
			return fmt.Errorf("sign message %q: %w", id, err)
		}
	}
	if len(signatures) > 0 {
		header.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	}
	return nil
}
