package notify

import (
	"context"
	"net/http"
	"time"

	"github.com/towpath/towpath/internal/outbound"
)

type webhookNotifier struct {
	service
	address string
	keys    []string
}

// webhookBody has the form that the Standard Webhooks scheme proposes.
type webhookBody struct {
	Type      string    `json:"type"` // alert.firing, alert.resolved or alert.reminder
	Timestamp time.Time `json:"timestamp"`
	Data      Message   `json:"data"`
}

// Send posts a message. The id of its header is that of the message, whichever try this is.
func (n *webhookNotifier) Send(ctx context.Context, m Message) error {
	for i := range m.Alerts {
		if i == 0 {
			m.Alerts = append([]Alert(nil), m.Alerts...)
		}
		m.Alerts[i].Link = n.links.absolute(m.Alerts[i].Link)
	}
	body := webhookBody{Type: "alert." + m.Status, Timestamp: m.At.UTC(), Data: m}
	return n.post(ctx, n.address, body, func(request *http.Request, text []byte) error {
		return outbound.Sign(request.Header, m.id(), time.Now(), text, n.keys)
	})
}
