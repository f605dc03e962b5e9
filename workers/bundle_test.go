package workers_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

func nothing(context.Context, *river.Job[taskArgs]) error { return nil }

type aliasedArgs struct{}

func (aliasedArgs) Kind() string          { return "new_name" }
func (aliasedArgs) KindAliases() []string { return []string{"old_name"} }

func TestBundleRefusesWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	bundle := bundleOf(nothing)
	require.ErrorContains(t, workers.AddSafely(bundle, river.WorkFunc(nothing)), `add worker of "task": worker for kind "task" is already registered`)
	require.ErrorContains(t, workers.AddSafely[otherArgs](bundle, nil), `add worker of "other": the worker is nil`)

	other := river.WorkFunc(func(context.Context, *river.Job[otherArgs]) error { return nil })
	require.ErrorContains(t, workers.AddSafely(bundle, other, workers.WithSoftLimit(0)), "soft limit 0s: it must be positive")
	require.ErrorContains(t, workers.AddSafely(bundle, other, workers.WithMaxAttempts(0)), "max attempts 0: it must be at least 1")
	require.Panics(t, func() { workers.Add(bundle, river.WorkFunc(nothing)) })

	// What was refused left nothing behind.
	require.Equal(t, []string{"task"}, bundle.Kinds())
	require.NoError(t, workers.AddSafely(bundle, other))
	workers.Add(bundle, river.WorkFunc(func(context.Context, *river.Job[aliasedArgs]) error { return nil }))
	require.Equal(t, []string{"task", "other", "new_name", "old_name"}, bundle.Kinds())
}

func TestBundleRefusesBadPeriodicJobs(t *testing.T) {
	t.Parallel()
	bundle := bundleOf(nothing)
	construct := func() (river.JobArgs, *river.InsertOpts) { return taskArgs{}, nil }
	bundle.AddPeriodic("nightly", river.PeriodicInterval(time.Hour), construct, nil)
	require.PanicsWithValue(t, `add periodic job "nightly": there is one of that id`, func() {
		bundle.AddPeriodic("nightly", river.PeriodicInterval(time.Hour), construct, nil)
	})
	require.Panics(t, func() { bundle.AddPeriodic("", river.PeriodicInterval(time.Hour), construct, nil) })
	require.Panics(t, func() { bundle.AddPeriodic("a", nil, construct, nil) })
	require.Panics(t, func() { bundle.AddPeriodic("b", river.PeriodicInterval(time.Hour), nil, nil) })
}

func TestPeriodicJobsRunAndAreKept(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	ran := make(chan string, 10)
	bundle := bundleOf(func(_ context.Context, job *river.Job[taskArgs]) error {
		ran <- job.Args.Name
		return nil
	})
	bundle.AddPeriodic("hourly", river.PeriodicInterval(time.Hour),
		func() (river.JobArgs, *river.InsertOpts) { return taskArgs{Name: "from the clock"}, nil },
		&river.PeriodicJobOpts{RunOnStart: true, ID: "not used"})
	start(t, config(pool), bundle)
	require.Equal(t, "from the clock", receive(t, ran))
	eventually(t, func() bool {
		var id string
		return pool.QueryRow(t.Context(), `SELECT id FROM towpath.periodic_job`).Scan(&id) == nil && id == "hourly"
	}, "the periodic job's next run is kept")
}

func TestProcessThatNeverLeadsHasNoPeriodicJobs(t *testing.T) {
	t.Parallel()
	bundle := bundleOf(nothing)
	bundle.AddPeriodic("hourly", river.PeriodicInterval(time.Hour),
		func() (river.JobArgs, *river.InsertOpts) { return taskArgs{}, nil }, nil)
	c := config(jobstest.DB(t))
	c.Client.LeaderElectionDisabled = true
	_, err := workers.New(c, bundle)
	require.NoError(t, err)
}

// trace is a hook, a middleware and an error handler that notes its calls.
type trace struct {
	river.HookDefaults
	river.MiddlewareDefaults
	name  string
	calls chan string
}

func (h *trace) WorkBegin(context.Context, *rivertype.JobRow) error {
	h.calls <- h.name + " begins"
	return nil
}

func (h *trace) Work(ctx context.Context, _ *rivertype.JobRow, inner func(context.Context) error) error {
	h.calls <- h.name + " around"
	workers.Logger(ctx).InfoContext(ctx, "from the middleware "+h.name)
	return inner(ctx)
}

func (h *trace) HandleError(_ context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	h.calls <- h.name + " told: " + err.Error()
	return &river.ErrorHandlerResult{SetCancelled: h.name == "second"}
}

func (h *trace) HandlePanic(_ context.Context, _ *rivertype.JobRow, value any, _ string) *river.ErrorHandlerResult {
	h.calls <- h.name + " told of panic: " + value.(string)
	return nil
}

func TestHooksMiddlewareAndErrorHandlersRunInOrder(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	calls := make(chan string, 100)
	first, second := &trace{name: "first", calls: calls}, &trace{name: "second", calls: calls}
	bundle := bundleOf(func(_ context.Context, job *river.Job[taskArgs]) error {
		if job.Args.Name == "panic" {
			panic("out of order")
		}
		return errors.New("failed")
	})
	bundle.AddHooks(second)
	bundle.AddMiddleware(second)
	bundle.AddErrorHandler(second)
	c := config(pool)
	c.Client.Hooks = []rivertype.Hook{first}
	c.Client.Middleware = []rivertype.Middleware{first}
	c.Client.ErrorHandler = first
	r := start(t, c, bundle)

	result := workOne(t, r, nil)
	require.Equal(t, rivertype.JobStateCancelled, result.State, "the second error handler wants that")
	for _, want := range []string{
		"first around", "second around", "first begins", "second begins", "first told: failed", "second told: failed",
	} {
		require.Equal(t, want, receive(t, calls))
	}
	logged := events(t, pool, result.Job.ID, "log")
	require.Len(t, logged, 2)
	require.Equal(t, "from the middleware first", *logged[0].Message)

	id := insert(t, r, taskArgs{Name: "panic"}, &river.InsertOpts{MaxAttempts: 1})
	require.Equal(t, rivertype.JobStateDiscarded, await(t, r, id).State)
	for _, want := range []string{
		"first around", "second around", "first begins", "second begins", "first told of panic: out of order", "second told of panic: out of order",
	} {
		require.Equal(t, want, receive(t, calls))
	}
}

func TestBundleServesSeveralClients(t *testing.T) {
	t.Parallel()
	one, two := jobstest.DB(t), jobstest.DB(t)
	bundle := bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		workers.Logger(ctx).InfoContext(ctx, "hello")
		return nil
	})
	first, second := start(t, config(one), bundle), start(t, config(two), bundle)
	require.NoError(t, workOne(t, second, nil).Err())
	require.Len(t, events(t, two, 1, ""), 1)
	require.Empty(t, events(t, one, 1, ""))
	require.NoError(t, workOne(t, first, nil).Err())
	require.Len(t, events(t, one, 1, ""), 1)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	bundle := bundleOf(nothing)
	for want, change := range map[string]func(c *workers.Config){
		"it needs a pool":                    func(c *workers.Config) { c.Pool = nil },
		"queues are set by Config.Queues":    func(c *workers.Config) { c.Client.Queues = map[string]river.QueueConfig{} },
		"workers are set by the bundle":      func(c *workers.Config) { c.Client.Workers = river.NewWorkers() },
		`workers need the schema "towpath"`:  func(c *workers.Config) { c.Client.Schema = "river" },
		"grace time is set by Config.Grace":  func(c *workers.Config) { c.Client.SoftStopTimeout = time.Second },
		"they must not be negative":          func(c *workers.Config) { c.Grace = -1 },
		`invalid number of workers for queu`: func(c *workers.Config) { c.Queues = map[string]river.QueueConfig{"a": {}} },
	} {
		c := config(pool)
		change(&c)
		_, err := workers.New(c, bundle)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, workers.Run(t.Context(), c, bundle), want)
	}
	_, err := workers.New(config(pool), workers.NewBundle())
	require.ErrorContains(t, err, "the bundle has no workers")
	_, err = workers.New(config(pool), nil)
	require.ErrorContains(t, err, "the bundle has no workers")
}

func TestBackoffIsOfTheWorkerThenTheKindThenTheClient(t *testing.T) {
	t.Parallel()
	failing := func(context.Context, *river.Job[taskArgs]) error { return errors.New("failed") }
	hour := jobs.Backoff{First: time.Hour, Jitter: -1}
	own := &taskWorker{work: failing, nextRetry: func(job *river.Job[taskArgs]) time.Time { return time.Now().Add(48 * time.Hour) }}
	for name, test := range map[string]struct {
		worker  river.Worker[taskArgs]
		options []workers.Option
		want    time.Duration
	}{
		"client": {&taskWorker{work: failing}, nil, time.Minute},
		"kind":   {&taskWorker{work: failing}, []workers.Option{workers.WithBackoff(hour)}, time.Hour},
		"worker": {own, []workers.Option{workers.WithBackoff(hour)}, 48 * time.Hour},
	} {
		c := config(jobstest.DB(t))
		c.Client.RetryPolicy = jobs.Backoff{First: time.Minute, Jitter: -1}
		bundle := workers.NewBundle()
		workers.Add(bundle, test.worker, test.options...)
		r := start(t, c, bundle)
		id := insert(t, r, taskArgs{}, nil)
		eventually(t, func() bool { return row(t, r, id).State == rivertype.JobStateRetryable }, name)
		require.WithinDuration(t, time.Now().Add(test.want), row(t, r, id).ScheduledAt, 20*time.Second, name)
	}
}
