package monitor_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/internal/testdb"
)

var testLogger = slog.New(slog.DiscardHandler)

// What is known exists from zero; a metric that is missing would make a subtraction vanish instead of alarm.
func TestEverySeriesExistsFromZero(t *testing.T) {
	t.Parallel()
	a := start(t, configure(t, testdb.URL(t), "only"), app.API, app.Scheduler, app.Worker)
	var found figures
	eventually(t, func() bool {
		found = scrape(t, a.Address())
		return found[`towpath_leader{process="only"}`] == 1
	}, "it leads")
	for _, event := range []string{
		"received", "started", "succeeded", "failed", "retried", "snoozed", "interrupted", "cancelled", "discarded", "revived", "deleted", "finished",
	} {
		for _, of := range []string{`kind="task.run",queue="tasks"`, `kind="never",queue="default"`, `kind="towpath_ping",queue="towpath"`} {
			require.Zero(t, found.need(t, fmt.Sprintf(`towpath_job_events_total{event="%s",%s}`, event, of)))
		}
	}
	for _, name := range []string{
		`towpath_job_duration_seconds_count{kind="never",outcome="succeeded",queue="default"}`, `towpath_job_duration_seconds_sum{kind="never",outcome="succeeded",queue="default"}`,
		`towpath_job_wait_seconds_count{kind="never",queue="default"}`, `towpath_job_wait_seconds_bucket{kind="never",queue="default",le="0.001"}`,
		`towpath_queue_jobs{queue="tasks",state="available"}`, `towpath_queue_jobs{queue="tasks",state="scheduled"}`, `towpath_queue_jobs{queue="tasks",state="retryable"}`,
		`towpath_queue_jobs{queue="tasks",state="running"}`, `towpath_queue_jobs{queue="tasks",state="pending"}`,
		`towpath_queue_oldest_available_age_seconds{queue="tasks"}`, `towpath_queue_paused{queue="tasks"}`,
		`towpath_worker_slots{process="only",queue="tasks",state="busy"}`,
		`towpath_alerts{rule="schedule_missed",state="pending"}`, `towpath_alerts{rule="schedule_missed",state="firing"}`, `towpath_scrape_error`,
	} {
		require.Zero(t, found.need(t, name), name)
	}
	require.InDelta(t, 1, found[`towpath_worker_up{process="only"}`], 0)
	require.InDelta(t, 50, found[`towpath_worker_slots{process="only",queue="tasks",state="free"}`], 0)
	require.GreaterOrEqual(t, found.need(t, `towpath_postgres_dead_tuples{table="river_job"}`), 0.0)
	require.Positive(t, found[`towpath_postgres_table_bytes{table="job_history"}`])
	require.GreaterOrEqual(t, found.need(t, `towpath_postgres_oldest_transaction_age_seconds`), 0.0)
	require.GreaterOrEqual(t, found.need(t, `towpath_postgres_notification_queue_usage_ratio`), 0.0)
	require.Positive(t, found[`towpath_scrape_duration_seconds`])
	for _, family := range families() {
		switch {
		case strings.HasPrefix(family, "towpath_schedule_"), strings.HasPrefix(family, "towpath_probe_"), family == "towpath_statsd_dropped_total":
			require.False(t, found.has(family), "nothing has it: %s", family)
		default:
			require.True(t, found.has(family), "missing: %s", family)
		}
	}
	for name := range found {
		require.False(t, strings.HasPrefix(name, "celery_"), "not asked for: %s", name)
	}
}

// families are the names of all that is described.
func families() (names []string) {
	descriptions := make(chan *prometheus.Desc, 100)
	monitor.New(monitor.Config{}).Describe(descriptions)
	close(descriptions)
	for d := range descriptions {
		_, rest, _ := strings.Cut(d.String(), `"`)
		name, _, _ := strings.Cut(rest, `"`)
		names = append(names, name)
	}
	return names
}

// has reports whether there is a series of a family.
func (f figures) has(family string) bool {
	for name := range f {
		name, _, _ = strings.Cut(name, "{")
		if name == family || name == family+"_count" {
			return true
		}
	}
	return false
}

// What is paused, waits and runs.
func TestQueues(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	a := start(t, configure(t, pool.Config().ConnString(), "api"), app.API)
	enqueue(t, pool, "", 3)
	_, err := pool.Exec(t.Context(), `
		INSERT INTO towpath.river_queue (name, created_at, updated_at) VALUES ('tasks', now(), now());
		SELECT towpath.pause_queue('tasks');
		INSERT INTO towpath.alert (rule, subject, state, since) VALUES ('queue_old', 'a', 'firing', now()), ('queue_old', 'b', 'firing', now()), ('queue_old', 'c', 'pending', now()), ('queue_old', 'd', 'resolved', now());
		UPDATE towpath.river_job SET scheduled_at = now() - interval '1 hour' WHERE id = (SELECT min(id) FROM towpath.river_job);`)
	require.NoError(t, err)
	found := scrape(t, a.Address())
	require.InDelta(t, 3, found[`towpath_queue_jobs{queue="tasks",state="available"}`], 0)
	require.InDelta(t, 3600, found[`towpath_queue_oldest_available_age_seconds{queue="tasks"}`], 60)
	require.InDelta(t, 1, found[`towpath_queue_paused{queue="tasks"}`], 0)
	require.InDelta(t, 3, found.events()["received"], 0)
	require.InDelta(t, 2, found[`towpath_alerts{rule="queue_old",state="firing"}`], 0)
	require.InDelta(t, 1, found[`towpath_alerts{rule="queue_old",state="pending"}`], 0)
}

// Several processes: the sum over them is the figure of the database.
func TestOneSpeaksForTheDatabase(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	url := pool.Config().ConnString()
	first, second := start(t, configure(t, url, "api-1"), app.API), start(t, configure(t, url, "api-2"), app.API)
	enqueue(t, pool, "", 5)
	speaks := func(a *app.App) bool {
		found := scrape(t, a.Address())
		_, shows := found[`towpath_queue_jobs{queue="tasks",state="available"}`]
		require.Equal(t, found["towpath_scrape_database"] == 1, shows)
		return shows
	}
	require.True(t, speaks(first), "without a leader the first that is asked")
	require.False(t, speaks(second))

	leading := configure(t, url, "leader")
	leading.Queues = nil
	leader := start(t, leading, app.Scheduler)
	eventually(t, func() bool { return scrape(t, leader.Address())[`towpath_leader{process="leader"}`] == 1 }, "it leads")
	eventually(t, func() bool { return speaks(leader) }, "it speaks")
	eventually(t, func() bool { return !speaks(first) && !speaks(second) }, "the others do not")

	// The leader is not asked any more, and does not lead either.
	require.NoError(t, leader.Stop())
	_, err := pool.Exec(t.Context(), `UPDATE towpath.lease SET expires_at = now()`)
	require.NoError(t, err)
	eventually(t, func() bool { return speaks(second) }, "the first that is asked then")
}

// The figures are the database's: a killed worker loses none, and what it ran is neither lost nor counted twice.
func TestFiguresAfterKill9(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	url := pool.Config().ConnString()
	leading := configure(t, url, "leader")
	leading.Queues = nil
	a := start(t, leading, app.API, app.Scheduler)
	enqueue(t, pool, "", 96)
	enqueue(t, pool, "fail", 3)
	enqueue(t, pool, "hang", 1)
	victim := spawn(t, url, "victim", "worker")
	running := map[string]float64{
		"received": 100, "started": 100, "succeeded": 96, "failed": 3, "retried": 0, "snoozed": 0, "interrupted": 0, "cancelled": 0,
		"discarded": 3, "revived": 0, "deleted": 0, "finished": 99,
	}
	eventually(t, func() bool { return lifecycle(t, pool)["finished"] == 99 }, "all but one have ended")
	require.Equal(t, running, lifecycle(t, pool))
	eventually(t, func() bool { return scrape(t, a.Address())["towpath_scrape_database"] == 1 }, "it speaks")
	eventually(t, func() bool { return scrape(t, a.Address()).events()["finished"] == 99 }, "Prometheus sees it")
	found := scrape(t, a.Address())
	require.Equal(t, running, found.events())
	require.InDelta(t, 4, found.events()["started"]-found.events()["succeeded"], 0)
	require.InDelta(t, 1, found.events()["started"]-found.events()["finished"], 0)

	require.NoError(t, syscall.Kill(victim.Process.Pid, syscall.SIGKILL))
	// The leader misses it within half a minute; the job has had its only attempt.
	eventually(t, func() bool { return lifecycle(t, pool)["finished"] == 100 }, "the dead process's job has ended")
	after := lifecycle(t, pool)
	require.InDelta(t, 0, after["started"]-after["finished"], 0)
	require.InDelta(t, 4, after["started"]-after["succeeded"], 0)
	eventually(t, func() bool { return scrape(t, a.Address()).events()["finished"] == 100 }, "Prometheus sees it")
	found = scrape(t, a.Address())
	require.Equal(t, after, found.events())
	require.InDelta(t, 96, found[`towpath_job_duration_seconds_count{kind="task.run",outcome="succeeded",queue="tasks"}`], 0)
	require.InDelta(t, 100, found[`towpath_job_wait_seconds_bucket{kind="task.run",queue="tasks",le="+Inf"}`], 0)
}

// A kind or a queue that nobody has registered has a name of its own while there is room.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString(), "api")
	cfg.Metrics.MaxKinds = 2
	_, err := pool.Exec(t.Context(), `
		INSERT INTO towpath.known_kind (kind, queue) VALUES ('known-1', 'default'), ('known-2', 'default'), ('known-3', 'default');
		INSERT INTO towpath.counter (queue, kind, event, bucket, n, seconds)
			SELECT 'default', 'stray-' || n, 'completed', 5, n, n FROM generate_series(1, 9) n;
		SELECT towpath.enqueue('stray-1', queue => 'odd-' || n) FROM generate_series(1, 9) n;`)
	require.NoError(t, err)
	found := scrape(t, start(t, cfg, app.API).Address())
	kinds, queues := map[string]bool{}, map[string]bool{}
	for name := range found {
		if _, after, ok := strings.Cut(name, `towpath_job_events_total{event="succeeded",kind="`); ok {
			kind, _, _ := strings.Cut(after, `"`)
			kinds[kind] = true
		}
		if _, after, ok := strings.Cut(name, `towpath_queue_jobs{queue="`); ok {
			queue, _, _ := strings.Cut(after, `"`)
			queues[queue] = true
		}
	}
	require.Equal(t, map[string]bool{"known-1": true, "known-2": true, "known-3": true, "stray-9": true, "stray-8": true, "other": true}, kinds)
	require.Len(t, queues, 3)
	require.Contains(t, queues, "other")
	require.InDelta(t, 28, found[`towpath_job_events_total{event="succeeded",kind="other",queue="default"}`], 0)
	require.InDelta(t, 28, found[`towpath_job_duration_seconds_count{kind="other",outcome="succeeded",queue="default"}`], 0)
	require.InDelta(t, 7, found[`towpath_queue_jobs{queue="other",state="available"}`], 0)
}

func TestCeleryNames(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString(), "only")
	cfg.Metrics.Celery = true
	a := start(t, cfg, app.API, app.Scheduler, app.Worker)
	for _, how := range []string{"", "", "fail", "snooze", "cancel"} {
		enqueue(t, pool, how, 1)
	}
	var found figures
	eventually(t, func() bool {
		found = scrape(t, a.Address())
		return found.events()["finished"] == 5
	}, "all have ended")
	of := `{hostname="generic",name="task.run",queue_name="tasks"}`
	for name, want := range map[string]float64{
		`celery_task_sent_total` + of: 5, `celery_task_received_total` + of: 5, `celery_task_started_total` + of: 5,
		`celery_task_succeeded_total` + of: 2, `celery_task_rejected_total` + of: 1, `celery_task_revoked_total` + of: 1,
		`celery_task_retried_total` + of: 0, `celery_task_runtime_count` + of: 2,
		`celery_task_failed_total{exception="",hostname="generic",name="task.run",queue_name="tasks"}`: 1,
		`celery_queue_length{queue_name="tasks"}`:                                                      0, `celery_worker_up{hostname="only"}`: 1,
		`celery_active_process_count{queue_name="tasks"}`: 50, `celery_active_worker_count{queue_name="tasks"}`: 1,
	} {
		found.need(t, name)
		require.InDelta(t, want, found[name], 0, name)
	}
}

// counting counts the statements of a pool.
type counting struct{ n atomic.Int64 }

func (c *counting) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.n.Add(1)
	return ctx
}
func (*counting) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func gather(t *testing.T, m *monitor.Monitor) figures {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(m))
	families, err := registry.Gather()
	require.NoError(t, err)
	found := figures{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			found[family.GetName()+labels(metric)] = metric.GetGauge().GetValue()
		}
	}
	return found
}

// labels writes labels as /metrics does.
func labels(metric *dto.Metric) string {
	var pairs []string
	for _, label := range metric.GetLabel() {
		pairs = append(pairs, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
	}
	if len(pairs) == 0 {
		return ""
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// Those who scrape at the same time share one reading.
func TestScrapesShareAReading(t *testing.T) {
	t.Parallel()
	statements := new(counting)
	cfg, err := pgxpool.ParseConfig(testdb.URL(t))
	require.NoError(t, err)
	cfg.ConnConfig.Tracer = statements
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	defer pool.Close()
	once := func(scrapes int) int64 {
		m := monitor.New(monitor.Config{Pool: pool, ID: "x", MaxKinds: 10, Logger: testLogger})
		before := statements.n.Load()
		var all sync.WaitGroup
		for range scrapes {
			all.Go(func() { gather(t, m) })
		}
		all.Wait()
		return statements.n.Load() - before
	}
	alone := once(1)
	require.Positive(t, alone)
	require.LessOrEqual(t, once(20), 3*alone, "and not twenty times as many, even on a machine so slow that the first reading grows old")
}

// A database that is away costs a scrape some time and the figures of the database, nothing else.
func TestScrapeWithoutDatabase(t *testing.T) {
	t.Parallel()
	// It takes connections and never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	for name, address := range map[string]string{"Silent": silent.Addr().String(), "Closed": "127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			pool, err := pgxpool.New(t.Context(), "postgres://u@"+address+"/d?sslmode=disable")
			require.NoError(t, err)
			defer pool.Close()
			m := monitor.New(monitor.Config{Pool: pool, ID: "x", MaxKinds: 10, Logger: testLogger})
			m.Watch(slots{"tasks": 3})
			found := gather(t, m)
			require.InDelta(t, 1, found["towpath_scrape_error"], 0)
			require.InDelta(t, 1, found[`towpath_worker_up{process="x"}`], 0, "as far as it is known")
			require.NotContains(t, fmt.Sprint(found), "towpath_queue_jobs")
		})
	}
}

// slots is a process that works nothing at the moment.
type slots map[string]int

func (s slots) Slots() map[string]int { return s }
func (slots) Busy() map[string]int    { return nil }

// A process whose beats do not reach the database has stopped fetching.
func TestWorkerWithoutABeat(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.process (client_id) VALUES ('x')`)
	require.NoError(t, err)
	up := func() float64 {
		m := monitor.New(monitor.Config{Pool: pool, ID: "x", MaxKinds: 10, Logger: testLogger}) // another shares no reading with it
		m.Watch(slots{"tasks": 3})
		return gather(t, m).need(t, `towpath_worker_up{process="x"}`)
	}
	require.InDelta(t, 1, up(), 0)
	_, err = pool.Exec(t.Context(), `UPDATE towpath.process SET beat_at = now() - interval '1 minute'`)
	require.NoError(t, err)
	require.Zero(t, up())
	_, err = pool.Exec(t.Context(), `DELETE FROM towpath.process`)
	require.NoError(t, err)
	require.Zero(t, up(), "its row is gone, and so is it")
}
