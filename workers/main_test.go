package workers_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// patience bounds every wait for something that has to happen.
const patience = 30 * time.Second

type taskArgs struct {
	Name string `json:"name"`
}

func (taskArgs) Kind() string { return "task" }

type otherArgs struct{}

func (otherArgs) Kind() string { return "other" }

type work func(ctx context.Context, job *river.Job[taskArgs]) error

// taskWorker is a worker with a time limit and delays of its own.
type taskWorker struct {
	river.WorkerDefaults[taskArgs]
	work      work
	timeout   time.Duration
	nextRetry func(job *river.Job[taskArgs]) time.Time
}

func (w *taskWorker) Work(ctx context.Context, job *river.Job[taskArgs]) error {
	return w.work(ctx, job)
}
func (w *taskWorker) Timeout(*river.Job[taskArgs]) time.Duration { return w.timeout }

func (w *taskWorker) NextRetry(job *river.Job[taskArgs]) time.Time {
	if w.nextRetry == nil {
		return time.Time{}
	}
	return w.nextRetry(job)
}

// bundleOf returns a bundle that works taskArgs.
func bundleOf(work work, options ...workers.Option) *workers.Bundle {
	bundle := workers.NewBundle()
	workers.Add(bundle, river.WorkFunc(work), options...)
	return bundle
}

// config returns a configuration whose retries are quick.
func config(pool *pgxpool.Pool) workers.Config {
	c := workers.Config{Pool: pool}
	c.Client.TestOnly = true
	c.Client.Logger = slog.New(slog.DiscardHandler)
	c.Client.RetryPolicy = jobs.Backoff{First: time.Millisecond, Max: 10 * time.Millisecond}
	c.Client.FetchPollInterval = 50 * time.Millisecond
	return c
}

// start starts a runner that is stopped when the test ends.
func start(t *testing.T, c workers.Config, bundle *workers.Bundle) *workers.Runner {
	t.Helper()
	r, err := workers.New(c, bundle)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r
}

func insert(t *testing.T, r *workers.Runner, args river.JobArgs, opts *river.InsertOpts) int64 {
	t.Helper()
	result, err := r.Client().Insert(t.Context(), args, opts)
	require.NoError(t, err)
	return result.Job.ID
}

func await(t *testing.T, r *workers.Runner, id int64) *jobs.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := r.Client().Await(ctx, id)
	require.NoError(t, err)
	return result
}

// workOne inserts a job and returns its end.
func workOne(t *testing.T, r *workers.Runner, opts *river.InsertOpts) *jobs.Result {
	t.Helper()
	return await(t, r, insert(t, r, taskArgs{}, opts))
}

// eventually waits until the condition holds.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what)
}

// never looks for a while whether the condition holds. Unlike require.Never it leaves no look behind, which the end of the
// test would cut off.
func never(t *testing.T, condition func() bool, length time.Duration, what string) {
	t.Helper()
	over, tick := time.After(length), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		require.False(t, condition(), what)
		select {
		case <-over:
			return
		case <-tick.C:
		}
	}
}

// row reads a job by its id, wherever it is.
func row(t *testing.T, r *workers.Runner, id int64) *rivertype.JobRow {
	t.Helper()
	job, err := r.Client().JobGet(t.Context(), id)
	require.NoError(t, err)
	return job
}

// events returns the events of a job of one kind, or of all.
func events(t *testing.T, pool *pgxpool.Pool, id int64, kind string) []store.StoredJobEvent {
	t.Helper()
	all, err := store.JobEvents(t.Context(), pool, id, 0, 100_000)
	require.NoError(t, err)
	var some []store.StoredJobEvent
	for _, e := range all {
		if kind == "" || e.Event == kind {
			some = append(some, e)
		}
	}
	return some
}

// receive takes a value from a channel that must bring one.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// log is a process log that can be read while it is written.
type log struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// lines returns the lines that contain the text.
func (l *log) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for line := range strings.Lines(l.buffer.String()) {
		if strings.Contains(line, text) {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return lines
}
