package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/api"
	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// testLimit is far more than anything here takes.
const testLimit = time.Minute

// configure returns a configuration for a database, with an address that is free.
func configure(t *testing.T, url string) *config.Config {
	t.Helper()
	cfg, err := config.Load()
	require.NoError(t, err)
	cfg.Database.URL, cfg.Listen, cfg.Grace = url, "127.0.0.1:0", config.Duration(testLimit)
	return cfg
}

type napArgs struct{}

func (napArgs) Kind() string { return "nap" }

// napWorker runs until it is told to end, or its context ends.
type napWorker struct {
	river.WorkerDefaults[napArgs]

	started chan int64
	end     chan struct{}
}

func (w *napWorker) Work(ctx context.Context, job *river.Job[napArgs]) error {
	w.started <- job.ID
	select {
	case <-w.end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newBundle() (*workers.Bundle, *napWorker) {
	worker := &napWorker{started: make(chan int64, 100), end: make(chan struct{})}
	bundle := workers.NewBundle()
	workers.Add(bundle, worker)
	return bundle, worker
}

func options(t *testing.T) app.Options {
	t.Helper()
	return app.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Version: "v1.2.3"}
}

func start(t *testing.T, cfg *config.Config, bundle *workers.Bundle, roles ...app.Role) *app.App {
	t.Helper()
	a, err := app.New(cfg, bundle, roles, options(t))
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	return a
}

// ready asks for readiness over the real listener.
func ready(t *testing.T, address string) (int, api.Readiness) {
	t.Helper()
	var answer api.Readiness
	status, body := get(t, address, "/readyz")
	require.NoError(t, json.Unmarshal(body, &answer))
	return status, answer
}

func get(t *testing.T, address, path string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	client := &http.Client{Timeout: testLimit}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, body
}

func insert(t *testing.T, pool *pgxpool.Pool, args river.JobArgs, opts *river.InsertOpts) (*jobs.Client, int64) {
	t.Helper()
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	inserted, err := client.Insert(t.Context(), args, opts)
	require.NoError(t, err)
	return client, inserted.Job.ID
}

func TestAllRoles(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	bundle, worker := newBundle()
	a := start(t, configure(t, pool.Config().ConnString()), bundle, app.API, app.Scheduler, app.Worker)

	status, answer := ready(t, a.Address())
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, api.Readiness{Status: "ready", Checks: []api.CheckStatus{
		{Name: "started", Status: "ok"}, {Name: "database", Status: "ok"}, {Name: "schema", Status: "ok"}, {Name: "client", Status: "ok"}, {Name: "leader", Status: "ok"},
	}}, answer)
	_, metrics := get(t, a.Address(), "/metrics")
	require.Contains(t, string(metrics), `towpath_build_info{version="v1.2.3"} 1`)
	require.Contains(t, string(metrics), "go_goroutines")

	var process struct{ version, roles, queues string }
	require.NoError(t, a.Pool().QueryRow(t.Context(), `SELECT version, array_to_string(roles, ','), queues::text FROM towpath.process`).
		Scan(&process.version, &process.roles, &process.queues))
	require.Equal(t, "v1.2.3", process.version)
	require.Equal(t, "api,scheduler,worker", process.roles)
	require.JSONEq(t, `{"default": 200, "towpath": 10}`, process.queues)

	client, id := insert(t, pool, napArgs{}, nil)
	require.Equal(t, id, <-worker.started)

	// A stop is told to those who ask, and waits for the job.
	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop() }()
	require.Eventually(t, func() bool {
		status, answer := ready(t, a.Address())
		return status == http.StatusServiceUnavailable && answer.Checks[0].Status == "failing"
	}, testLimit, 10*time.Millisecond)
	status, _ = get(t, a.Address(), "/healthz")
	require.Equal(t, http.StatusOK, status)
	close(worker.end)
	require.NoError(t, <-stopped)
	result, err := client.Await(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
	_, err = net.DialTimeout("tcp", a.Address(), time.Second)
	require.Error(t, err, "the server is down")
	require.ErrorContains(t, a.Pool().Ping(t.Context()), "closed pool")
}

// A scheduler leads: what is due becomes available, and its own queue is worked, while the worker leaves that to it.
func TestSchedulerLeads(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	bundle, worker := newBundle()
	follower := configure(t, url)
	follower.Lead, follower.Metrics.Listen = false, "127.0.0.1:0"
	w := start(t, follower, bundle, app.Worker)
	defer func() { require.NoError(t, w.Stop()) }()

	own, _ := newBundle()
	s := start(t, configure(t, url), own, app.Scheduler)
	defer func() { require.NoError(t, s.Stop()) }()
	client, ping := insert(t, s.Pool(), app.PingArgs{}, nil)
	result, err := client.Await(t.Context(), ping)
	require.NoError(t, err)
	require.NoError(t, result.Err())
	var output map[string]string
	require.NoError(t, json.Unmarshal(result.Job.Output(), &output))
	require.Contains(t, output["worked_by"], "-") // host-pid-random

	_, due := insert(t, s.Pool(), napArgs{}, &river.InsertOpts{ScheduledAt: time.Now().Add(500 * time.Millisecond)})
	require.Equal(t, due, <-worker.started)
	close(worker.end)
	require.Eventually(t, func() bool {
		var leader string
		err := s.Pool().QueryRow(t.Context(), `SELECT p.roles[1] FROM towpath.river_leader l JOIN towpath.process p ON p.client_id = l.leader_id`).Scan(&leader)
		return err == nil && leader == "scheduler"
	}, testLimit, 50*time.Millisecond)
}

func TestStartIsUndone(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() })
	old := testdb.Empty(t)
	oldURL := old.Config().ConnString()
	url := testdb.URL(t)

	tests := map[string]struct {
		change func(*config.Config, *app.Options)
		roles  []app.Role
		want   string
	}{
		"older schema": {func(c *config.Config, _ *app.Options) { c.Database.URL = oldURL }, []app.Role{app.Worker}, "run `towpath migrate up`, or set TOWPATH_MIGRATE=on"},
		"port taken":   {func(c *config.Config, _ *app.Options) { c.Listen = taken.Addr().String() }, []app.Role{app.API}, "TOWPATH_LISTEN=\"" + taken.Addr().String() + "\": another process listens there"},
		"metrics port": {func(c *config.Config, _ *app.Options) { c.Metrics.Listen = taken.Addr().String() }, []app.Role{app.Worker}, "TOWPATH_METRICS_LISTEN"},
		"no address":   {func(c *config.Config, _ *app.Options) { c.Listen = "off" }, []app.Role{app.API}, `TOWPATH_LISTEN="off": the role api needs an address`},
		"no database": {func(c *config.Config, _ *app.Options) {
			c.Database.URL = "postgres://u:secret@" + taken.Addr().String() + "/d?sslmode=disable&connect_timeout=1"
		}, []app.Role{app.API}, "reach the database of TOWPATH_DATABASE_URL"},
		"setup": {func(_ *config.Config, o *app.Options) {
			o.Prepare = func(context.Context, *pgxpool.Pool) error { return errors.New("no such bucket") }
		}, []app.Role{app.Scheduler}, "no such bucket"},
		"migrations": {func(_ *config.Config, o *app.Options) {
			o.Migrations = fstest.MapFS{"001_a.up.sql": {Data: []byte("SELECT 1")}}
		}, []app.Role{app.Scheduler}, "missing: app 001"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bundle, _ := newBundle()
			cfg, opts := configure(t, url), options(t)
			test.change(cfg, &opts)
			a, err := app.New(cfg, bundle, test.roles, opts)
			require.NoError(t, err)
			err = a.Start(t.Context())
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "secret")
			require.ErrorContains(t, a.Pool().Ping(t.Context()), "closed pool", "what was begun is undone")
		})
	}
}

func TestMigrateOnStart(t *testing.T) {
	t.Parallel()
	bundle, _ := newBundle()
	cfg := configure(t, testdb.Empty(t).Config().ConnString())
	cfg.Migrate = true
	a := start(t, cfg, bundle, app.Scheduler)
	status, _ := ready(t, a.Address())
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, a.Stop())
}

func TestNewerSchemaIsNoObstacle(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.river_migration (line, version) VALUES ('towpath', 900)`)
	require.NoError(t, err)
	bundle, _ := newBundle()
	a := start(t, configure(t, pool.Config().ConnString()), bundle, app.API)
	status, _ := ready(t, a.Address())
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, a.Stop())
}

func TestAnyPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() })
	bundle, _ := newBundle()
	cfg, opts := configure(t, testdb.URL(t)), options(t)
	cfg.Listen, opts.AnyPort = taken.Addr().String(), true
	a, err := app.New(cfg, bundle, []app.Role{app.API}, opts)
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	require.NotEqual(t, cfg.Listen, a.Address())
	require.NoError(t, a.Stop())
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	bundle, _ := newBundle()
	tests := map[string]struct {
		bundle *workers.Bundle
		url    string
		roles  []app.Role
		want   string
	}{
		"no role":     {bundle, "postgres://h/d", nil, "no role; choose from worker, scheduler and api"},
		"odd role":    {bundle, "postgres://h/d", []app.Role{"boss"}, `role "boss" does not exist`},
		"twice":       {bundle, "postgres://h/d", []app.Role{app.API, app.API}, `role "api" is named twice`},
		"no database": {bundle, "", []app.Role{app.API}, "TOWPATH_DATABASE_URL: not set"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := app.New(configure(t, test.url), test.bundle, test.roles, options(t))
			require.ErrorContains(t, err, test.want)
		})
	}
}

// Every program works the built-in kinds, unless it has a worker of its own for one.
func TestBuiltinKinds(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	bundle := workers.NewBundle()
	a := start(t, configure(t, pool.Config().ConnString()), bundle, app.Worker)
	require.Equal(t, []string{"towpath_ping", notify.Kind, "http", "sql", "shell"}, bundle.Kinds())
	client, id := insert(t, pool, jobs.ShellArgs{Command: "true"}, nil)
	result, err := client.Await(t.Context(), id)
	require.NoError(t, err)
	require.ErrorContains(t, result.Err(), "set TOWPATH_SHELL=on")
	require.NoError(t, a.Stop())

	own := workers.NewBundle()
	workers.Add(own, river.WorkFunc(func(ctx context.Context, _ *river.Job[jobs.ShellArgs]) error {
		return river.RecordOutput(ctx, "our own")
	}))
	a = start(t, configure(t, pool.Config().ConnString()), own, app.Worker)
	client, id = insert(t, pool, jobs.ShellArgs{Command: "true"}, nil)
	result, err = client.Await(t.Context(), id)
	require.NoError(t, err)
	require.JSONEq(t, `"our own"`, string(result.Job.Output()))
	require.NoError(t, a.Stop())
}

// Hurry ends the wait for jobs; they are handed back with their attempt.
func TestHurry(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	bundle, worker := newBundle()
	a := start(t, configure(t, pool.Config().ConnString()), bundle, app.Worker)
	client, id := insert(t, pool, napArgs{}, nil)
	require.Equal(t, id, <-worker.started)
	stopped := make(chan error, 1)
	go func() { stopped <- a.Stop() }()
	a.Hurry()
	require.NoError(t, <-stopped)
	job, err := client.JobGet(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateAvailable, job.State)
	require.Zero(t, job.Attempt)
	require.Empty(t, job.Errors)
}

// A process that cannot give signs of life, so that others are about to declare it dead, is not ready.
func TestUnreadyWithoutABeat(t *testing.T) {
	t.Parallel()
	bundle, _ := newBundle()
	a := start(t, configure(t, testdb.URL(t)), bundle, app.Scheduler)
	defer func() { require.NoError(t, a.Stop()) }()
	status, _ := ready(t, a.Address())
	require.Equal(t, http.StatusOK, status)
	_, err := a.Pool().Exec(t.Context(), `
		UPDATE towpath.process SET beat_at = now() - interval '1 minute';
		CREATE FUNCTION towpath.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no beat for you'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE ON towpath.process EXECUTE FUNCTION towpath.refuse();`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, answer := ready(t, a.Address())
		return status == http.StatusServiceUnavailable && answer.Checks[3] == api.CheckStatus{Name: "client", Status: "failing"}
	}, testLimit, 50*time.Millisecond)
}
