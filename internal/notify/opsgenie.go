package notify

import (
	"context"
	"net/http"
	"net/url"
	"strings"
)

// What an alert of Opsgenie may hold.
const (
	opsgenieMessage     = 130
	opsgenieDescription = 15_000
	opsgenieEntity      = 512
)

type opsgenieNotifier struct {
	service
	address, key string
}

func opsgenieAddress(region, address string) string {
	switch {
	case address != "":
		return address
	case region == "eu":
		return "https://api.eu.opsgenie.com"
	default:
		return "https://api.opsgenie.com"
	}
}

// Send opens an alert, or closes it. A reminder is counted by the alert that is open.
func (n *opsgenieNotifier) Send(ctx context.Context, m Message) error {
	address := strings.TrimSuffix(n.address, "/") + "/v2/alerts"
	alias := shortKey(m.Key)
	body := map[string]any{"source": "towpath"}
	if m.Status == StatusResolved {
		address += "/" + url.PathEscape(alias) + "/close?identifierType=alias"
		body["note"] = cut(m.headline(), opsgenieMessage)
	} else {
		body["message"] = cut(m.headline(), opsgenieMessage)
		body["alias"] = alias
		body["description"] = m.text(n.links, opsgenieDescription)
		body["priority"] = opsgeniePriority(m.Severity)
		body["tags"] = []string{"towpath"}
		if len(m.Alerts) > 0 {
			body["entity"] = cut(m.Alerts[0].Subject, opsgenieEntity)
		}
	}
	return n.post(ctx, address, body, func(request *http.Request, _ []byte) error {
		request.Header.Set("Authorization", "GenieKey "+n.key)
		return nil
	})
}

func opsgeniePriority(severity string) string {
	switch severity {
	case SeverityCritical:
		return "P1"
	case SeverityInfo:
		return "P5"
	default:
		return "P3"
	}
}
