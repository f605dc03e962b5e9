package notify

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/slack-go/slack"
)

// What a message of Slack may hold: a header of 150 characters, a section of 3,000, and 50 blocks. Ten are left for
// what stands around the alerts.
const (
	slackHeader  = 150
	slackSection = 3000
	slackAlerts  = 40
)

type slackNotifier struct {
	service
	address string
}

func (n *slackNotifier) Send(ctx context.Context, message Message) error {
	return n.exchange(ctx, func(client *http.Client) error {
		return slack.PostWebhookCustomHTTPContext(ctx, n.address, client, n.message(message))
	})
}

func (n *slackNotifier) message(m Message) *slack.WebhookMessage {
	plain, marked := slack.PlainTextType, slack.MarkdownType
	off := false
	blocks := []slack.Block{slack.NewHeaderBlock(slack.NewTextBlockObject(plain, cut(m.title(), slackHeader), false, false))}
	shown := m.Alerts[:min(len(m.Alerts), slackAlerts)]
	for _, alert := range shown {
		blocks = append(blocks, slack.NewSectionBlock(slack.NewTextBlockObject(marked, n.section(alert), false, true), nil, nil))
	}
	var notes []string
	if m.GroupedBy != "" {
		notes = append(notes, m.GroupedBy)
	}
	if left := len(m.Alerts) - len(shown) + m.Omitted; left > 0 {
		notes = append(notes, fmt.Sprintf("%d more are not shown", left))
	}
	if len(notes) > 0 {
		text := cut(strings.Join(notes, " · "), slackSection)
		blocks = append(blocks, slack.NewContextBlock("", slack.NewTextBlockObject(plain, text, false, false)))
	}
	return &slack.WebhookMessage{Text: n.fallback(m), Blocks: &slack.Blocks{BlockSet: blocks}, UnfurlLinks: &off, UnfurlMedia: &off}
}

// fallback is what notifications of the desktop and of phones show: title, subjects and values.
func (n *slackNotifier) fallback(m Message) string {
	const most = 10
	lines := []string{m.title()}
	for _, alert := range m.Alerts[:min(len(m.Alerts), most)] {
		lines = append(lines, alert.Subject)
		if alert.Value != "" {
			lines = append(lines, alert.Value)
		}
	}
	if left := len(m.Alerts) - most; left > 0 || m.Omitted > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", max(left, 0)+m.Omitted))
	}
	return slackEscape(cut(strings.Join(lines, "\n"), slackSection))
}

// section is one alert: its subject, its value, and in small what else there is.
func (n *slackNotifier) section(a Alert) string {
	var end []string
	if !a.Since.IsZero() { // each reader sees it in their own time zone
		end = append(end, fmt.Sprintf("since <!date^%d^{date_short_pretty} {time}|%s>", a.Since.Unix(), stamp(a.Since)))
	}
	if link := n.links.absolute(a.Link); link != "" {
		end = append(end, fmt.Sprintf("<%s|Open>", strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C").Replace(link)))
	}
	tail := strings.Join(end, " · ")
	lines := []string{"*" + slackEscape(strings.ReplaceAll(a.Subject, "*", "∗")) + "*"}
	room := slackSection - len([]rune(lines[0])) - len([]rune(tail)) - 10
	for _, text := range []string{a.Value, a.Summary, a.Detail} {
		if text == "" {
			continue
		}
		text = slackEscape(cut(text, max(room/5, 1))) // an escaped character has up to five
		room -= len([]rune(text)) + 1
		lines = append(lines, text)
	}
	if tail != "" {
		lines = append(lines, tail)
	}
	return strings.Join(lines, "\n")
}

// slackEscape writes text so that Slack shows it as it is, and takes nothing in it for a mention or a link.
func slackEscape(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}
