package notify_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net/mail"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
)

const (
	slackSecret = "/services/T0GEHEIM/B0GEHEIM/geheimgeheimgeheim"
	routingKey  = "geheim0123456789geheim0123456789"
	apiKey      = "geheim-8d3b-4a7e-geheim"
	signingKey  = "whsec_Z2VoZWltZ2VoZWltZ2VoZWltZ2VoZWlt"
)

// contender is a notifier with a real server of its service.
type contender struct {
	name     string
	start    func(t *testing.T, cfg *config.Config) *station
	remedy   string                               // what a refusal names
	told     func(t *testing.T, a arrival) string // what people read
	identity func(t *testing.T, a arrival) string // what makes the service take messages for the same incident; or nil
	once     func(t *testing.T, a arrival) string // what makes it take a message for one that came before; or nil
	limits   func(t *testing.T, a arrival)        // of the service
	closes   func(t *testing.T, a arrival) bool   // whether it is told of the end
}

func contenders() []contender {
	return []contender{slackContender(), pagerDutyContender(), opsgenieContender(), emailContender("email", false), emailContender("email by smtps", true), webhookContender()}
}

func object(t *testing.T, a arrival) map[string]any {
	t.Helper()
	var value map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &value), a.body)
	return value
}

func slackContender() contender {
	read := func(t *testing.T, a arrival) slack.WebhookMessage {
		var message slack.WebhookMessage
		require.NoError(t, json.Unmarshal([]byte(a.body), &message), a.body)
		return message
	}
	told := func(t *testing.T, a arrival) string {
		require.Equal(t, slackSecret, a.path)
		var b strings.Builder
		for _, block := range read(t, a).Blocks.BlockSet {
			switch block := block.(type) {
			case *slack.HeaderBlock:
				b.WriteString(block.Text.Text + "\n")
			case *slack.SectionBlock:
				b.WriteString(block.Text.Text + "\n")
			case *slack.ContextBlock:
				b.WriteString(block.ContextElements.Elements[0].(*slack.TextBlockObject).Text + "\n")
			}
		}
		return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(b.String())
	}
	return contender{
		name: "slack", remedy: "TOWPATH_SLACK_WEBHOOK_URL", told: told,
		start: func(t *testing.T, cfg *config.Config) *station {
			s := httpStation(t, 200, "ok")
			cfg.Slack.WebhookURL = config.Targets{"": s.address + slackSecret}
			return s
		},
		limits: func(t *testing.T, a arrival) {
			message := read(t, a)
			require.LessOrEqual(t, len(message.Blocks.BlockSet), 50)
			for _, block := range message.Blocks.BlockSet {
				switch block := block.(type) {
				case *slack.HeaderBlock:
					require.LessOrEqual(t, len([]rune(block.Text.Text)), 150)
				case *slack.SectionBlock:
					require.LessOrEqual(t, len([]rune(block.Text.Text)), 3000)
				}
			}
		},
		closes: func(t *testing.T, a arrival) bool { return strings.HasPrefix(told(t, a), "[OK] ") },
	}
}

func pagerDutyContender() contender {
	return contender{
		name: "pagerduty", remedy: "TOWPATH_PAGERDUTY_ROUTING_KEY",
		start: func(t *testing.T, cfg *config.Config) *station {
			s := httpStation(t, 202, `{"status":"success","dedup_key":"x"}`)
			cfg.PagerDuty.RoutingKey, cfg.PagerDuty.URL = config.Targets{"": routingKey}, s.address
			return s
		},
		told: func(t *testing.T, a arrival) string {
			require.Equal(t, "/v2/enqueue", a.path)
			event := object(t, a)
			require.Equal(t, routingKey, event["routing_key"])
			payload, _ := event["payload"].(map[string]any)
			require.Contains(t, []any{"critical", "warning", "info"}, payload["severity"])
			details := payload["custom_details"].(map[string]any)
			return fmt.Sprint(payload["summary"], "\n", details["alerts"])
		},
		identity: func(t *testing.T, a arrival) string { return object(t, a)["dedup_key"].(string) },
		once:     func(t *testing.T, a arrival) string { return object(t, a)["dedup_key"].(string) },
		limits: func(t *testing.T, a arrival) {
			require.Less(t, len(a.body), 512<<10)
			event := object(t, a)
			require.LessOrEqual(t, len([]rune(event["payload"].(map[string]any)["summary"].(string))), 1024)
			require.LessOrEqual(t, len([]rune(event["dedup_key"].(string))), 255)
		},
		closes: func(t *testing.T, a arrival) bool { return object(t, a)["event_action"] == "resolve" },
	}
}

func opsgenieContender() contender {
	const closed = "/close?identifierType=alias"
	return contender{
		name: "opsgenie", remedy: "TOWPATH_OPSGENIE_API_KEY",
		start: func(t *testing.T, cfg *config.Config) *station {
			s := httpStation(t, 202, `{"result":"Request will be processed","took":0.1,"requestId":"x"}`)
			cfg.Opsgenie.APIKey, cfg.Opsgenie.URL = config.Targets{"": apiKey}, s.address
			return s
		},
		told: func(t *testing.T, a arrival) string {
			require.Equal(t, "GenieKey "+apiKey, a.header.Get("Authorization"))
			require.Equal(t, "/v2/alerts", a.path)
			alert := object(t, a)
			return fmt.Sprint(alert["message"], "\n", alert["description"])
		},
		identity: func(t *testing.T, a arrival) string {
			if rest, ok := strings.CutSuffix(a.path, closed); ok {
				alias, err := url.PathUnescape(strings.TrimPrefix(rest, "/v2/alerts/"))
				require.NoError(t, err)
				return alias
			}
			return object(t, a)["alias"].(string)
		},
		once: func(t *testing.T, a arrival) string { return object(t, a)["alias"].(string) },
		limits: func(t *testing.T, a arrival) {
			alert := object(t, a)
			require.LessOrEqual(t, len([]rune(alert["message"].(string))), 130)
			require.LessOrEqual(t, len([]rune(alert["description"].(string))), 15_000)
		},
		closes: func(_ *testing.T, a arrival) bool { return strings.HasSuffix(a.path, closed) },
	}
}

// decoded undoes the encoding of a mail's text.
func decoded(message *mail.Message) io.Reader {
	switch message.Header.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		return quotedprintable.NewReader(message.Body)
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, message.Body)
	}
	return message.Body
}

func emailContender(name string, implicit bool) contender {
	return contender{
		name: name, remedy: "mail server",
		start: func(t *testing.T, cfg *config.Config) *station {
			s := mailStation(t, implicit)
			cfg.SMTP.URL, cfg.SMTP.From, cfg.SMTP.To = s.address, "Towpath <towpath@example.com>", config.Names{"ops@example.com"}
			return s
		},
		told: func(t *testing.T, a arrival) string {
			header, text := readMail(t, a)
			require.Equal(t, "<ops@example.com>", header.Get("To"))
			require.Equal(t, `"Towpath" <towpath@example.com>`, header.Get("From"))
			require.Equal(t, "auto-generated", header.Get("Auto-Submitted"))
			return text
		},
		once: func(t *testing.T, a arrival) string {
			header, _ := readMail(t, a)
			return header.Get("Message-ID")
		},
		limits: func(t *testing.T, a arrival) {
			header, _ := readMail(t, a)
			require.Less(t, len(header.Get("Subject")), 1000)
		},
		closes: func(t *testing.T, a arrival) bool {
			_, text := readMail(t, a)
			return strings.HasPrefix(text, "[OK] ")
		},
	}
}

func webhookContender() contender {
	return contender{
		name: "webhook", remedy: "TOWPATH_WEBHOOK_URL",
		start: func(t *testing.T, cfg *config.Config) *station {
			s := httpStation(t, 204, "")
			cfg.Webhook.URL = config.Targets{"": s.address + "/hook?key=geheim-geheim-geheim"}
			cfg.Webhook.Secret = config.Targets{"": signingKey}
			return s
		},
		told: func(t *testing.T, a arrival) string {
			verifier, err := standardwebhooks.NewWebhook(signingKey)
			require.NoError(t, err)
			require.NoError(t, verifier.Verify([]byte(a.body), a.header))
			var body struct {
				Type string
				Data notify.Message
			}
			require.NoError(t, json.Unmarshal([]byte(a.body), &body))
			lines := []string{map[string]string{"alert.firing": "[Alerting] ", "alert.reminder": "[Alerting] "}[body.Type] + body.Data.Title}
			for _, alert := range body.Data.Alerts {
				lines = append(lines, alert.Subject, alert.Value, alert.Summary, alert.Detail, alert.Since.Format("2006-01-02 15:04 UTC"), alert.Link)
			}
			if body.Data.Omitted > 0 {
				lines = append(lines, fmt.Sprintf("%d more are not shown", body.Data.Omitted))
			}
			return strings.Join(lines, "\n")
		},
		identity: func(t *testing.T, a arrival) string { return object(t, a)["data"].(map[string]any)["key"].(string) },
		once:     func(_ *testing.T, a arrival) string { return a.header.Get("Webhook-Id") },
		limits:   func(t *testing.T, a arrival) { require.Less(t, len(a.body), 64<<10) },
		closes:   func(t *testing.T, a arrival) bool { return object(t, a)["type"] == "alert.resolved" },
	}
}

// notifier starts the service and makes its notifier.
func (c contender) notifier(t *testing.T) (notify.Notifier, *station) {
	t.Helper()
	cfg := &config.Config{URL: "https://towpath.example.com/"}
	station := c.start(t, cfg)
	all := notify.New(cfg)
	require.Len(t, all, 1)
	require.Equal(t, []string{all[0].Name()}, notify.Configured(cfg))
	if station.roots != nil {
		notify.TrustForTest(all[0], &tls.Config{RootCAs: station.roots, ServerName: "127.0.0.1"})
	}
	return all[0], station
}

func missed() notify.Message {
	return notify.Message{
		Key: "schedule/myads_pipeline - weekly", Status: notify.StatusFiring, Severity: notify.SeverityCritical, Title: "Cron Jobs alert",
		At: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
		Alerts: []notify.Alert{{
			Key: "schedule/myads_pipeline - weekly/missed", Rule: "schedule_missed", Subject: "myads_pipeline - weekly", Value: "-1",
			Summary: "missed its time", Since: time.Date(2026, 11, 26, 11, 30, 0, 0, time.UTC), Link: "/schedules/myads",
		}},
	}
}

// Every notifier keeps the same promises.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range contenders() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			t.Run("an incident from its beginning to its end", c.testIncident)
			t.Run("what may pass is retried", c.testRetry)
			t.Run("what cannot pass is not", c.testPermanent)
			t.Run("a service that does not answer", c.testTimeout)
			t.Run("a service that is not there", c.testAway)
			t.Run("a stop", c.testStop)
			t.Run("any text", c.testUnicode)
			t.Run("more alerts than the service takes", c.testMany)
		})
	}
}

func (c contender) testIncident(t *testing.T) {
	t.Parallel()
	notifier, station := c.notifier(t)
	firing := missed()
	require.NoError(t, notifier.Send(t.Context(), firing))
	reminder := missed()
	reminder.Status, reminder.At = notify.StatusReminder, firing.At.Add(time.Hour)
	require.NoError(t, notifier.Send(t.Context(), reminder))
	resolved := missed()
	resolved.Status, resolved.At, resolved.Alerts[0].Value = notify.StatusResolved, firing.At.Add(2*time.Hour), "1"
	require.NoError(t, notifier.Send(t.Context(), resolved))

	got := station.arrivals()
	require.Len(t, got, 3)
	for i, a := range got[:2] {
		text := c.told(t, a)
		require.Contains(t, text, "[Alerting] Cron Jobs alert", i)
		require.Contains(t, text, "myads_pipeline - weekly", i)
		require.Contains(t, text, "-1", i)
		require.Contains(t, text, "missed its time", i)
		require.Contains(t, text, "2026-11-26 11:30 UTC", i)
		require.Contains(t, text, "https://towpath.example.com/schedules/myads", i)
		require.False(t, c.closes(t, a), i)
	}
	require.True(t, c.closes(t, got[2]))
	if c.identity != nil {
		for _, a := range got {
			require.Equal(t, firing.Key, c.identity(t, a))
		}
	}
}

func (c contender) testRetry(t *testing.T) {
	t.Parallel()
	notifier, station := c.notifier(t)
	station.answerWith(answer{status: 500, body: "oops "}, answer{status: 429, after: "7"}, answer{status: 503})
	for i := range 3 {
		err := notifier.Send(t.Context(), missed())
		var failure *notify.Error
		require.ErrorAs(t, err, &failure)
		require.False(t, failure.Permanent, err)
		c.hidesSecrets(t, err)
		if i == 1 && c.remedy != "mail server" {
			require.InDelta(t, 7, failure.RetryAfter.Seconds(), 1)
		} else {
			require.Zero(t, failure.RetryAfter)
		}
	}
	require.NoError(t, notifier.Send(t.Context(), missed()))
	got := station.arrivals()
	require.Len(t, got, 4)
	if c.once != nil {
		require.NotEmpty(t, c.once(t, got[0]))
		for _, a := range got {
			require.Equal(t, c.once(t, got[0]), c.once(t, a))
		}
	}
}

func (c contender) testPermanent(t *testing.T) {
	t.Parallel()
	notifier, station := c.notifier(t)
	for _, status := range []int{400, 401, 403, 404, 410} {
		station.answerWith(answer{status: status, body: "go away "})
		err := notifier.Send(t.Context(), missed())
		var failure *notify.Error
		require.ErrorAs(t, err, &failure)
		require.True(t, failure.Permanent, err)
		require.ErrorContains(t, err, "go away")
		require.ErrorContains(t, err, c.remedy)
		c.hidesSecrets(t, err)
	}
}

func (c contender) testTimeout(t *testing.T) {
	t.Parallel()
	notifier, station := c.notifier(t)
	station.answerWith(answer{hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := notifier.Send(ctx, missed())
	var failure *notify.Error
	require.ErrorAs(t, err, &failure)
	require.False(t, failure.Permanent, err)
	require.ErrorContains(t, err, "no answer in time")
	c.hidesSecrets(t, err)
}

func (c contender) testAway(t *testing.T) {
	t.Parallel()
	cfg := new(config.Config)
	c.start(t, cfg)
	// Nobody listens on the first port.
	for _, targets := range []config.Targets{cfg.Slack.WebhookURL, cfg.Webhook.URL} {
		for name, address := range targets {
			targets[name] = elsewhere(address)
		}
	}
	cfg.PagerDuty.URL, cfg.Opsgenie.URL = elsewhere(cfg.PagerDuty.URL), elsewhere(cfg.Opsgenie.URL)
	if cfg.SMTP.URL != "" {
		cfg.SMTP.URL = elsewhere(cfg.SMTP.URL)
	}
	err := notify.New(cfg)[0].Send(t.Context(), missed())
	var failure *notify.Error
	require.ErrorAs(t, err, &failure)
	require.False(t, failure.Permanent, err)
	require.ErrorContains(t, err, "connection refused")
	c.hidesSecrets(t, err)
}

// elsewhere is the address with the port that nobody listens on.
func elsewhere(address string) string {
	if address == "" {
		return ""
	}
	at := strings.Index(address, "127.0.0.1:") + len("127.0.0.1:")
	end := at
	for end < len(address) && address[end] >= '0' && address[end] <= '9' {
		end++
	}
	return address[:at] + "1" + address[end:]
}

func (c contender) testStop(t *testing.T) {
	t.Parallel()
	notifier, _ := c.notifier(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, notifier.Send(ctx, missed()), context.Canceled)
}

func (c contender) testUnicode(t *testing.T) {
	t.Parallel()
	notifier, station := c.notifier(t)
	const odd = `日本語 ünïcode 🚂 <!channel> & "quotes" \ %s`
	message := missed()
	message.Title, message.Alerts[0].Subject, message.Alerts[0].Summary = "Ärger: "+odd, odd, odd+"\n.\nFrom here\r\n.\r\nQUIT"
	message.GroupedBy = "x\r\nBcc: evil@example.com"
	require.NoError(t, notifier.Send(t.Context(), message))
	got := station.arrivals()
	require.Len(t, got, 1)
	text := c.told(t, got[0])
	require.Contains(t, text, odd)
	require.Contains(t, text, "QUIT")
	if c.name == "slack" {
		require.NotContains(t, got[0].body, "<!channel>")
	}
}

func (c contender) testMany(t *testing.T) {
	t.Parallel()
	notifier, station := c.notifier(t)
	message := missed()
	message.Key, message.Title, message.GroupedBy = strings.Repeat("k", 600), strings.Repeat("Title ", 60), "queue"
	message.Alerts = nil
	for i := range 100 {
		message.Alerts = append(message.Alerts, notify.Alert{
			Key: fmt.Sprint(i), Rule: "queue_old", Subject: fmt.Sprintf("queue-%d", i), Summary: strings.Repeat("<äöü>", 100), Detail: strings.Repeat("&x", 1000), Value: "-1",
		})
	}
	require.NoError(t, notifier.Send(t.Context(), message))
	got := station.arrivals()
	require.Len(t, got, 1)
	c.limits(t, got[0])
	text := c.told(t, got[0])
	require.Contains(t, text, "queue-0")
	shown, left := strings.Count(text, "\nqueue-")+strings.Count(text, "\n*queue-"), 0
	for line := range strings.SplitSeq(text, "\n") {
		at := strings.Index(line, " more are not shown")
		if at < 0 {
			continue
		}
		_, err := fmt.Sscan(line[strings.LastIndexByte(line[:at], ' ')+1:at], &left)
		require.NoError(t, err)
	}
	require.Equal(t, 100, shown+left, text[:min(len(text), 300)])
}

func (c contender) hidesSecrets(t *testing.T, err error) {
	t.Helper()
	require.NotContains(t, strings.ToLower(err.Error()), "geheim")
	require.NotContains(t, err.Error(), base64.StdEncoding.EncodeToString([]byte("\x00"+mailUser+"\x00"+mailPassword)))
	require.NotContains(t, err.Error(), signingKey)
}
