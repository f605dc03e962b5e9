package notify_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
)

// What a message holds comes back out of a job's args.
func TestMessageComesBack(t *testing.T) {
	t.Parallel()
	args := notify.Args{Notifier: "slack:ops", Message: notify.Message{
		Key: "schedule/myads", Status: notify.StatusFiring, Severity: notify.SeverityCritical, Title: "Cron Jobs alert", GroupedBy: "schedule",
		At: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
		Alerts: []notify.Alert{{
			Key: "k", Rule: "schedule_missed", Subject: "myads_pipeline - weekly", Summary: "missed its time", Detail: "日本\nzwei", Value: "-1",
			Since: time.Date(2026, 11, 26, 11, 0, 0, 0, time.UTC), Link: "/schedules/myads",
		}},
	}}
	text, err := json.Marshal(args)
	require.NoError(t, err)
	var back notify.Args
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, args, back)
}

// However much is to be told, a job's args hold it, and what is missing is counted.
func TestMessageIsBounded(t *testing.T) {
	t.Parallel()
	alert := notify.Alert{
		Key: strings.Repeat("k", 1000), Rule: strings.Repeat("r", 1000), Subject: strings.Repeat("ü", 1000), Summary: strings.Repeat("\x00日", 5000),
		Detail: strings.Repeat("\xff<", 50_000), Link: "https://x/" + strings.Repeat("y", 5000), Value: strings.Repeat("9", 1000),
	}
	for name, alerts := range map[string][]notify.Alert{
		"long": repeat(alert, 300), "many": repeat(notify.Alert{Key: "k", Rule: "r", Subject: "s"}, 300),
	} {
		message := notify.Message{Key: strings.Repeat("k", 1000), Title: strings.Repeat("t", 10_000), Alerts: alerts, Omitted: 5}
		text, err := json.Marshal(notify.Args{Notifier: "slack", Message: message})
		require.NoError(t, err)
		require.Less(t, len(text), 64<<10, name)
		require.NotContains(t, string(text), `\u0000`)
		var back notify.Args
		require.NoError(t, json.Unmarshal(text, &back))
		require.NotEmpty(t, back.Message.Alerts, name)
		require.LessOrEqual(t, len(back.Message.Alerts), 100, name)
		require.Equal(t, 305, len(back.Message.Alerts)+back.Message.Omitted, name)
		again, err := json.Marshal(back)
		require.NoError(t, err)
		require.Equal(t, string(text), string(again), name)
	}
}

// Long keys stay different ones.
func TestLongKeysStayApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 400)
	key := func(key string) string {
		text, err := json.Marshal(notify.Message{Key: key})
		require.NoError(t, err)
		var back notify.Message
		require.NoError(t, json.Unmarshal(text, &back))
		return back.Key
	}
	require.NotEqual(t, key(long+"a"), key(long+"b"))
	again := key(long + "a")
	require.Equal(t, again, key(long+"a"))
}

func TestConfigured(t *testing.T) {
	t.Parallel()
	require.Empty(t, notify.Configured(new(config.Config)))
	var cfg config.Config
	cfg.Slack.WebhookURL = config.Targets{"": "https://a", "ops": "https://b"}
	cfg.SMTP.URL = "smtp://h"
	cfg.PagerDuty.RoutingKey = config.Targets{"ops": "k"}
	cfg.Opsgenie.APIKey = config.Targets{"": "k"}
	cfg.Webhook.URL = config.Targets{"x": "https://c"}
	require.Equal(t, []string{"slack", "slack:ops", "pagerduty:ops", "opsgenie", "email", "webhook:x"}, notify.Configured(&cfg))
}

func repeat(alert notify.Alert, n int) []notify.Alert {
	alerts := make([]notify.Alert, n)
	for i := range alerts {
		alerts[i] = alert
	}
	return alerts
}
