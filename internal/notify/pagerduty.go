package notify

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/PagerDuty/go-pagerduty"
)

// What an event of PagerDuty may hold.
const (
	pagerDutySummary = 1024
	pagerDutyText    = 100_000 // of 512 KB in all
)

type pagerDutyNotifier struct {
	service
	address, key string
}

// Send opens an incident, or closes it. A reminder opens it again where somebody has closed it by hand.
func (n *pagerDutyNotifier) Send(ctx context.Context, message Message) error {
	return n.exchange(ctx, func(client *http.Client) error {
		api := pagerduty.NewClient("", pagerduty.WithV2EventsAPIEndpoint(strings.TrimSuffix(n.address, "/")))
		api.HTTPClient = client
		_, err := api.ManageEventWithContext(ctx, n.event(message))
		return err
	})
}

func (n *pagerDutyNotifier) event(m Message) *pagerduty.V2Event {
	event := &pagerduty.V2Event{RoutingKey: n.key, Action: "trigger", DedupKey: shortKey(m.Key), Client: "Towpath", ClientURL: n.links.base}
	if m.Status == StatusResolved {
		event.Action = "resolve"
		return event
	}
	severity := SeverityWarning
	if m.Severity == SeverityCritical || m.Severity == SeverityInfo {
		severity = m.Severity
	}
	source, class := "towpath", ""
	if len(m.Alerts) > 0 {
		source, class = m.Alerts[0].Subject, m.Alerts[0].Rule
	}
	event.Payload = &pagerduty.V2Payload{
		Summary: cut(m.headline(), pagerDutySummary), Source: source, Severity: severity, Timestamp: m.At.UTC().Format(time.RFC3339),
		Component: "towpath", Class: class, Group: m.GroupedBy, Details: map[string]string{"alerts": m.text(n.links, pagerDutyText)},
	}
	for _, alert := range m.Alerts[:min(len(m.Alerts), 10)] {
		if link := n.links.absolute(alert.Link); link != "" {
			event.Links = append(event.Links, map[string]string{"href": link, "text": alert.Subject})
		}
	}
	return event
}
