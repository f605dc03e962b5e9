package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/workers"
)

// Nobody leads: a process that only serves HTTP finds that out and tells it; when there is a leader again, that one looks
// from then on and tells the recovery.
func TestNoLeaderIsToldThroughAnAPI(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	_, err := pool.Exec(t.Context(), `SELECT towpath.put_alert_rule('no_leader', after => '1 second')`)
	require.NoError(t, err)
	address, got := webhookOf(t, func(int64, http.ResponseWriter) {})
	configured := func(id string) *config.Config {
		cfg := configure(t, pool.Config().ConnString())
		cfg.ClientID, cfg.Slack.WebhookURL = id, config.Targets{"": address}
		cfg.Alerts.Every, cfg.Alerts.Wait = config.Duration(time.Second), 0
		return cfg
	}
	next := func() string {
		select {
		case text := <-got:
			return text
		case <-time.After(testLimit):
			t.Fatal("nobody is told")
			return ""
		}
	}
	web := start(t, configured("web"), workers.NewBundle(), app.API)
	require.Contains(t, next(), `"text":"[Alerting] Fleet alert\n`)
	evaluator := func() (id string) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT client_id FROM towpath.alert_evaluator WHERE active`).Scan(&id))
		return id
	}
	require.Equal(t, "web", evaluator())

	scheduler := start(t, configured("scheduler"), workers.NewBundle(), app.Scheduler)
	require.Contains(t, next(), `"text":"[OK] Fleet alert\n`)
	require.Eventually(t, func() bool { return evaluator() == "scheduler" }, testLimit, 20*time.Millisecond, "the leader gets it at once")

	var told int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM towpath.jobs WHERE kind = 'towpath.notify'`).Scan(&told))
	require.Equal(t, 2, told, "once each")
	require.NoError(t, scheduler.Stop())
	require.NoError(t, web.Stop())
}
