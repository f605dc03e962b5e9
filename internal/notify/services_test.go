package notify_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
)

// A schedule that was missed reads in Slack as it does in the shops that come from Grafana.
func TestSlackMessageOfASchedule(t *testing.T) {
	t.Parallel()
	notifier, station := slackContender().notifier(t)
	require.NoError(t, notifier.Send(t.Context(), missed()))
	recovered := missed()
	recovered.Status, recovered.Alerts[0].Value = notify.StatusResolved, "1"
	require.NoError(t, notifier.Send(t.Context(), recovered))
	got := station.arrivals()
	require.JSONEq(t, `{
		"text": "[Alerting] Cron Jobs alert\nmyads_pipeline - weekly\n-1",
		"blocks": [
			{"type": "header", "text": {"type": "plain_text", "text": "[Alerting] Cron Jobs alert", "emoji": false}},
			{"type": "section", "text": {"type": "mrkdwn", "verbatim": true, "text":
				"*myads_pipeline - weekly*\n-1\nmissed its time\nsince <!date^1795692600^{date_short_pretty} {time}|2026-11-26 11:30 UTC> · <https://towpath.example.com/schedules/myads|Open>"}}
		],
		"replace_original": false, "delete_original": false, "unfurl_links": false, "unfurl_media": false
	}`, got[0].body)
	require.Equal(t, "[OK] Cron Jobs alert\nmyads_pipeline - weekly\n1", object(t, got[1])["text"])
}

// Without TOWPATH_URL there is no link that would lead nowhere.
func TestNoLinkWithoutAnAddress(t *testing.T) {
	t.Parallel()
	cfg := new(config.Config)
	station := slackContender().start(t, cfg)
	require.NoError(t, notify.New(cfg)[0].Send(t.Context(), missed()))
	require.NotContains(t, station.arrivals()[0].body, "Open")
}

// A mail server that offers no TLS is told nothing, unless that was asked for; and one that refuses the password is not
// asked again.
func TestEmailWantsTLSAndThePassword(t *testing.T) {
	t.Parallel()
	c := emailContender("email", false)
	cfg := new(config.Config)
	station := c.start(t, cfg)
	err := notify.New(cfg)[0].Send(t.Context(), missed())
	require.ErrorContains(t, err, "certificate") // nobody knows who signed it
	c.hidesSecrets(t, err)

	cfg.SMTP.URL = "smtp://towpath:geheimgeheim@" + cfg.SMTP.URL[len(cfg.SMTP.URL)-len("127.0.0.1:12345"):]
	wrong := notify.New(cfg)[0]
	notify.TrustForTest(wrong, &tls.Config{RootCAs: station.roots, ServerName: "127.0.0.1"})
	err = wrong.Send(t.Context(), missed())
	var failure *notify.Error
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.Permanent, err)
	require.ErrorContains(t, err, "535")
	c.hidesSecrets(t, err)
	require.Empty(t, station.arrivals())
}

// One recipient who is refused does not keep a mail from the others.
func TestEmailToSeveral(t *testing.T) {
	t.Parallel()
	c := emailContender("email", false)
	cfg := new(config.Config)
	station := c.start(t, cfg)
	cfg.SMTP.To = config.Names{"one@example.com", "nobody@example.com", "two@example.com"}
	notifier := notify.New(cfg)[0]
	notify.TrustForTest(notifier, &tls.Config{RootCAs: station.roots, ServerName: "127.0.0.1"})
	err := notifier.Send(t.Context(), missed())
	var failure *notify.Error
	require.ErrorAs(t, err, &failure)
	require.True(t, failure.Permanent, err)
	require.ErrorContains(t, err, "nobody@example.com")
	var to []string
	for _, a := range station.arrivals() {
		to = append(to, a.path)
	}
	require.Equal(t, []string{"one@example.com", "two@example.com"}, to)
}

// Several of one sort have their names, and keys of their own.
func TestSeveralByName(t *testing.T) {
	t.Parallel()
	cfg := new(config.Config)
	ops, data := httpStation(t, 200, "ok"), httpStation(t, 200, "ok")
	cfg.Slack.WebhookURL = config.Targets{"ops": ops.address + "/ops", "data": data.address + "/data"}
	all := notify.New(cfg)
	require.Len(t, all, 2)
	require.Equal(t, "slack:data", all[0].Name())
	require.NoError(t, all[0].Send(t.Context(), missed()))
	require.Empty(t, ops.arrivals())
	require.Len(t, data.arrivals(), 1)
}
