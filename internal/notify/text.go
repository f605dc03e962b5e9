package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// links makes addresses of paths.
type links struct{ base string } // TOWPATH_URL, or ""

// absolute is an address, or "" where there is none.
func (l links) absolute(link string) string {
	switch {
	case strings.HasPrefix(link, "https://"), strings.HasPrefix(link, "http://"):
		return link
	case strings.HasPrefix(link, "/") && l.base != "":
		return strings.TrimSuffix(l.base, "/") + link
	}
	return ""
}

// title is the first line of a message.
func (m Message) title() string {
	switch m.Status {
	case StatusResolved:
		return "[OK] " + m.Title
	case StatusReminder:
		return "[Alerting] " + m.Title + " (reminder)"
	default:
		return "[Alerting] " + m.Title
	}
}

// id names a message, over all tries to send it.
func (m Message) id() string {
	sum := sha256.Sum256([]byte(m.Key + "\x00" + m.Status + "\x00" + m.At.UTC().Format(time.RFC3339Nano)))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// headline is the whole message in one line.
func (m Message) headline() string {
	line := m.title()
	if len(m.Alerts) == 0 {
		return line
	}
	line += ": " + m.Alerts[0].Subject
	if more := len(m.Alerts) - 1 + m.Omitted; more > 0 {
		line += fmt.Sprintf(" and %d more", more)
	} else if m.Alerts[0].Value != "" {
		line += " " + m.Alerts[0].Value
	}
	return strings.Join(strings.Fields(line), " ")
}

// since says from when on.
func (a Alert) since() string {
	if a.Since.IsZero() {
		return ""
	}
	return "since " + stamp(a.Since)
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 UTC") }

// lines are an alert as text: subject, value, and what else there is.
func (a Alert) lines(l links) []string {
	var lines []string
	for _, line := range []string{a.Subject, a.Value, a.Summary, a.Detail, a.since(), l.absolute(a.Link)} {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// text is the message as plain text of at most so many characters; whole alerts are left out beyond that, and counted.
func (m Message) text(l links, most int) string {
	var b strings.Builder
	b.WriteString(m.title() + "\n")
	if m.GroupedBy != "" {
		fmt.Fprintf(&b, "%s\n", m.GroupedBy)
	}
	room := most - len([]rune(b.String())) - len(" 1000000 more are not shown.\n")
	shown := 0
	for _, alert := range m.Alerts {
		text := "\n" + strings.Join(alert.lines(l), "\n") + "\n"
		length := len([]rune(text))
		if shown == 0 && length > room {
			text = cut(text, room)
		} else if length > room {
			break
		}
		room -= length
		b.WriteString(text)
		shown++
	}
	if left := len(m.Alerts) - shown + m.Omitted; left > 0 {
		fmt.Fprintf(&b, "\n%d more are not shown.\n", left)
	}
	return b.String()
}
