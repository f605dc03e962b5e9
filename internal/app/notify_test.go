package app_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/workers"
)

// webhookOf serves answers to incoming webhooks and tells what was posted.
func webhookOf(t *testing.T, answer func(n int64, w http.ResponseWriter)) (address string, got <-chan string) {
	t.Helper()
	posted := make(chan string, 100)
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- string(body)
		answer(n.Add(1), w)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/services/geheimgeheim", posted
}

func message() notify.Message {
	return notify.Message{
		Key: "k", Status: notify.StatusFiring, Title: "Cron Jobs alert", At: time.Now(),
		Alerts: []notify.Alert{{Key: "k", Rule: "schedule_missed", Subject: "myads_pipeline - weekly", Value: "-1"}},
	}
}

// lines keeps log lines.
type lines struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// A notification is a job: sent again when the service was away, ended when it cannot be sent, and nothing secret is left
// of it anywhere.
func TestNotificationsAreJobs(t *testing.T) {
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString())
	flaky, flakyGot := webhookOf(t, func(n int64, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	busy, busyGot := webhookOf(t, func(_ int64, w http.ResponseWriter) {
		w.Header().Set("Retry-After", strconv.Itoa(3600))
		w.WriteHeader(http.StatusTooManyRequests)
	})
	gone, _ := webhookOf(t, func(_ int64, w http.ResponseWriter) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "no_service at /services/geheimgeheim")
	})
	cfg.Slack.WebhookURL = config.Targets{"flaky": flaky, "busy": busy, "gone": gone}
	cfg.Alerts.Every = 0 // nothing looks whether the alert is real
	fires(t, pool, "firing")
	var logged lines
	opts := options(t)
	opts.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	a, err := app.New(cfg, workers.NewBundle(), []app.Role{app.Scheduler}, opts)
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))

	client, sent := insert(t, pool, notify.Args{Notifier: "slack:flaky", Message: message()}, nil)
	result, err := client.Await(t.Context(), sent)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
	require.Equal(t, config.SchedulerQueue, result.Job.Queue)
	require.Len(t, result.Job.Errors, 1)
	require.Contains(t, result.Job.Errors[0].Error, "Slack answered 502 Bad Gateway")
	require.Len(t, flakyGot, 2)

	_, discarded := insert(t, pool, notify.Args{Notifier: "slack:gone", Message: message()}, nil)
	result, err = client.Await(t.Context(), discarded)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateDiscarded, result.Job.State)
	require.Contains(t, result.Job.Errors[0].Error, "Slack answered 404 Not Found: no_service at [redacted]; check TOWPATH_SLACK_WEBHOOK_URL")

	_, later := insert(t, pool, notify.Args{Notifier: "slack:busy", Message: message()}, nil)
	<-busyGot
	require.Eventually(t, func() bool {
		job, err := client.JobGet(t.Context(), later)
		return err == nil && job.State == rivertype.JobStateRetryable && job.ScheduledAt.After(time.Now().Add(50*time.Minute))
	}, testLimit, 20*time.Millisecond)

	_, unknown := insert(t, pool, notify.Args{Notifier: "pagerduty", Message: message()}, nil)
	require.Eventually(t, func() bool {
		job, err := client.JobGet(t.Context(), unknown)
		return err == nil && len(job.Errors) > 0
	}, testLimit, 20*time.Millisecond)
	require.NoError(t, a.Stop())

	var leaks int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM towpath.jobs j WHERE j::text LIKE '%geheim%'`).Scan(&leaks))
	require.Zero(t, leaks)
	require.NotContains(t, logged.String(), "geheim")
}

// While no scheduler is there, whoever lives sends notifications, an api process too.
func TestNotificationsWithoutAScheduler(t *testing.T) {
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString())
	address, got := webhookOf(t, func(int64, http.ResponseWriter) {})
	cfg.Slack.WebhookURL = config.Targets{"": address}
	a := start(t, cfg, workers.NewBundle(), app.API)
	client, id := insert(t, pool, notify.Args{Notifier: "slack", Message: message()}, nil)
	result, err := client.Await(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
	require.Contains(t, <-got, `[Alerting] Cron Jobs alert\nmyads_pipeline - weekly\n-1`)
	require.NoError(t, a.Stop())
}

// fires makes the alert of message be in a state.
func fires(t *testing.T, pool *pgxpool.Pool, state string) {
	t.Helper()
	alert := message().Alerts[0]
	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.alert (rule, subject, state, since) VALUES ($1, $2, $3, now())
		ON CONFLICT (rule, subject) DO UPDATE SET state = excluded.state`, alert.Rule, alert.Subject, state)
	require.NoError(t, err)
}

// What waits while a service is away is not told any more once it has changed: an incident that is opened after its end
// would never be closed.
func TestNotificationsThatAreLate(t *testing.T) {
	pool := testdb.Pool(t)
	for _, c := range []struct{ status, now string }{{notify.StatusFiring, "resolved"}, {notify.StatusResolved, "firing"}} {
		cfg := configure(t, pool.Config().ConnString())
		address, got := webhookOf(t, func(n int64, w http.ResponseWriter) {
			if n == 1 {
				fires(t, pool, c.now)
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		cfg.Slack.WebhookURL, cfg.Alerts.Every = config.Targets{"": address}, 0 // nothing looks whether the alert is real
		a := start(t, cfg, workers.NewBundle(), app.Scheduler)
		m := message()
		m.Status = c.status
		client, id := insert(t, pool, notify.Args{Notifier: "slack", Message: m}, nil)
		result, err := client.Await(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateCancelled, result.Job.State)
		require.Len(t, got, 1, "it was tried once")
		require.Contains(t, result.Job.Errors[len(result.Job.Errors)-1].Error, "not so any more")
		require.NoError(t, a.Stop())
	}
}
