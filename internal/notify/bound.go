package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

const (
	// maxAlerts and maxBytes bound the alerts of a message. A job's args may have 64 KiB unless configured.
	maxAlerts = 100
	maxBytes  = 48 << 10
)

// MarshalJSON writes the message within its bounds.
func (m Message) MarshalJSON() ([]byte, error) {
	type plain Message
	bounded := plain(m)
	bounded.Key, bounded.Title, bounded.GroupedBy = shortKey(m.Key), cut(m.Title, 500), cut(m.GroupedBy, 500)
	bounded.Alerts = make([]Alert, 0, min(len(m.Alerts), maxAlerts))
	size := 0
	for _, alert := range m.Alerts {
		alert = alert.bounded()
		text, err := json.Marshal(alert)
		if err != nil {
			return nil, err
		}
		if size += len(text); len(bounded.Alerts) == maxAlerts || size > maxBytes {
			break
		}
		bounded.Alerts = append(bounded.Alerts, alert)
	}
	bounded.Omitted = m.Omitted + len(m.Alerts) - len(bounded.Alerts)
	return json.Marshal(bounded)
}

func (a Alert) bounded() Alert {
	a.Key, a.Rule, a.Subject, a.Value = shortKey(a.Key), cut(a.Rule, 255), cut(a.Subject, 255), cut(a.Value, 255)
	a.Summary, a.Detail, a.Link = cut(a.Summary, 1000), cut(a.Detail, 4000), cut(a.Link, 1000)
	return a
}

// maxKey is what PagerDuty takes.
const maxKey = 255

// shortKey shortens a key so that it still is that of nothing else.
func shortKey(key string) string {
	if utf8.RuneCountInString(key) <= maxKey {
		return cut(key, maxKey)
	}
	sum := sha256.Sum256([]byte(key))
	return cut(key, maxKey-2*8) + hex.EncodeToString(sum[:8])
}

// cut shortens a text to so many characters, the last of which is an ellipsis then, and makes it one that Postgres and
// all services take.
func cut(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	runes := 0
	for i := range text {
		if runes++; runes == most {
			return text[:i] + "…"
		}
	}
	return text
}
