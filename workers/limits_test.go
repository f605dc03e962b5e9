package workers_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

func TestSoftLimitTellsTheHandlerAndIsRecorded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		timeout time.Duration
		options []workers.Option
		want    string
	}{
		"four fifths":     {500 * time.Millisecond, nil, "soft time limit of 400ms passed"},
		"set":             {time.Minute, []workers.Option{workers.WithSoftLimit(30 * time.Millisecond)}, "soft time limit of 30ms passed"},
		"without a limit": {-1, []workers.Option{workers.WithSoftLimit(30 * time.Millisecond)}, "soft time limit of 30ms passed"},
	} {
		pool := jobstest.DB(t)
		var process log
		worker := &taskWorker{timeout: test.timeout, work: func(ctx context.Context, _ *river.Job[taskArgs]) error {
			select {
			case <-workers.SoftLimit(ctx):
				return workers.Permanent(errors.New("saved what was done"))
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		bundle := workers.NewBundle()
		workers.Add(bundle, worker, test.options...)
		c := config(pool)
		c.Client.Logger = process.logger()
		r := start(t, c, bundle)
		result := workOne(t, r, nil)
		require.ErrorContains(t, result.Err(), "saved what was done", name)
		passed := events(t, pool, result.Job.ID, "soft_limit")
		require.Len(t, passed, 1, name)
		require.Equal(t, test.want, strings.ReplaceAll(*passed[0].Message, "399ms", "400ms"), name)
		require.Equal(t, "WARN", *passed[0].Level, name)
		require.Equal(t, 1, passed[0].Attempt, name)
		require.Len(t, process.lines("job passed its soft time limit"), 1, name)
	}
}

func TestSoftLimitOfQuickOrUnlimitedJobsIsSilent(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	reached := make(chan bool, 1)
	worker := &taskWorker{timeout: -1, work: func(ctx context.Context, _ *river.Job[taskArgs]) error {
		select {
		case <-workers.SoftLimit(ctx):
			reached <- true
		default:
			reached <- workers.SoftLimit(ctx) == nil
		}
		return nil
	}}
	bundle := workers.NewBundle()
	workers.Add(bundle, worker)
	r := start(t, config(pool), bundle)
	result := workOne(t, r, nil)
	require.False(t, receive(t, reached))
	require.Empty(t, events(t, pool, result.Job.ID, ""))
	require.Nil(t, workers.SoftLimit(t.Context()), "outside a job")
}

func TestHardLimitCancelsTheContext(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	worker := &taskWorker{timeout: 20 * time.Millisecond, work: func(ctx context.Context, _ *river.Job[taskArgs]) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	bundle := workers.NewBundle()
	workers.Add(bundle, worker)
	r := start(t, config(pool), bundle)
	result := workOne(t, r, &river.InsertOpts{MaxAttempts: 2})
	require.Equal(t, rivertype.JobStateDiscarded, result.State)
	require.Len(t, result.Errors, 2, "a limit that is kept is a failure like others")
	require.Equal(t, "context deadline exceeded", result.Errors[0].Error)
}

// stubborn is a worker whose first attempt ignores its limit until it is released.
type stubborn struct {
	taskWorker
	began    chan struct{}
	release  chan struct{}
	once     sync.Once
	returned chan error // what the first attempt's handler got from its late commit
}

func newStubborn(late work) *stubborn {
	s := &stubborn{began: make(chan struct{}), release: make(chan struct{}), returned: make(chan error, 1)}
	s.timeout = 20 * time.Millisecond
	s.work = func(ctx context.Context, job *river.Job[taskArgs]) error {
		first := false
		s.once.Do(func() { first = true })
		if !first {
			return nil
		}
		close(s.began)
		deafWait(s.release)
		err := late(ctx, job)
		s.returned <- err
		return err
	}
	return s
}

// deafWait is the frame that a stuck handler's stack must show.
func deafWait(release <-chan struct{}) { <-release }

func stuckConfig(pool *pgxpool.Pool) workers.Config {
	c := config(pool)
	c.Client.JobStuckThreshold = 20 * time.Millisecond
	c.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	return c
}

func TestStuckHandlerLosesSlotAndAttempt(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	worker := newStubborn(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		return river.RecordOutput(ctx, "too late")
	})
	bundle := workers.NewBundle()
	workers.Add(bundle, worker, workers.WithMaxAttempts(1))
	told := make(chan error, 5)
	bundle.AddErrorHandler(tellErrors(told))
	var process log
	c := stuckConfig(pool)
	c.Client.Logger = process.logger()
	var asked atomic.Int32
	c.Client.JobStuckHandler = func(_ context.Context, params river.JobStuckHandlerParams) river.JobStuckHandlerResult {
		asked.Add(1)
		return river.JobStuckHandlerResult{}
	}
	r := start(t, c, bundle)

	result := workOne(t, r, nil)
	require.Equal(t, rivertype.JobStateDiscarded, result.State)
	require.Equal(t, workers.ErrStuck.Error(), result.Errors[0].Error)
	require.Contains(t, result.Errors[0].Trace, "deafWait", "the handler's stack")
	require.ErrorIs(t, receive(t, told), workers.ErrStuck)
	require.EqualValues(t, 1, asked.Load(), "the application's own handler is told too")
	eventually(t, func() bool { return len(events(t, pool, result.Job.ID, "stuck")) == 1 }, "the event")
	var attrs struct{ Stack string }
	require.NoError(t, json.Unmarshal(events(t, pool, result.Job.ID, "stuck")[0].Attrs, &attrs))
	require.Contains(t, attrs.Stack, "deafWait")
	require.NotContains(t, attrs.Stack, "towpath_seat")
	eventually(t, func() bool { return len(process.lines("job is stuck; its attempt was ended")) == 1 }, "the line")

	// The only slot is free again while the handler still runs.
	require.Equal(t, 1, r.Running())
	require.NoError(t, workOne(t, r, nil).Err())
	require.Equal(t, 1, r.Running())

	close(worker.release)
	require.NoError(t, receive(t, worker.returned))
	eventually(t, func() bool { return r.Running() == 0 }, "the handler is gone")
	require.NoError(t, workOne(t, r, nil).Err()) // after which the late end has been through the completer as well
	eventually(t, func() bool { return len(process.lines("the attempt was over")) > 0 }, "its return")
	// An ended attempt writes nothing more; its end comes through River's completer, which takes its time.
	never(t, func() bool { return row(t, r, result.Job.ID).Output() != nil }, 500*time.Millisecond, "output")
	late := row(t, r, result.Job.ID)
	require.Equal(t, rivertype.JobStateDiscarded, late.State)
	require.Len(t, late.Errors, 1)
	require.Empty(t, told, "nobody is told twice")
}

type tellErrors chan error

func (h tellErrors) HandleError(_ context.Context, _ *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	h <- err
	return nil
}

func (h tellErrors) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return nil
}

func TestStuckAttemptCannotFinishTheNext(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	_, err := pool.Exec(t.Context(), `CREATE TABLE effect (job_id bigint, by text)`)
	require.NoError(t, err)

	worker := newStubborn(func(ctx context.Context, job *river.Job[taskArgs]) error {
		return completeWithEffect(ctx, pool, job, "stuck")
	})
	bundle := workers.NewBundle()
	workers.Add(bundle, worker)
	stuck := start(t, stuckConfig(pool), bundle)
	id := insert(t, stuck, taskArgs{}, nil)
	receive(t, worker.began)

	// Another process takes over and is in the middle of it when the stuck handler comes to itself.
	second, finish := make(chan struct{}), make(chan struct{})
	other := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		close(second)
		<-finish
		return completeWithEffect(ctx, pool, job, "second")
	}))
	receive(t, second)
	close(worker.release)
	require.ErrorContains(t, receive(t, worker.returned), "attempt", "the late commit is refused")
	running := row(t, other, id)
	require.Equal(t, rivertype.JobStateRunning, running.State)
	require.Equal(t, other.Client().ID(), running.AttemptedBy[len(running.AttemptedBy)-1])

	close(finish)
	result := await(t, other, id)
	require.Equal(t, rivertype.JobStateCompleted, result.State)
	require.Equal(t, 2, result.Job.Attempt)
	require.Len(t, result.Errors, 1)
	var effects []string
	rows, err := pool.Query(t.Context(), `SELECT by FROM effect`)
	require.NoError(t, err)
	effects, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"second"}, effects)
}

// completeWithEffect writes an effect and completes the job in one transaction.
func completeWithEffect(ctx context.Context, pool *pgxpool.Pool, job *river.Job[taskArgs], by string) error {
	ctx = context.WithoutCancel(ctx) // the deadline is long over
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO effect VALUES ($1, $2)`, job.ID, by); err != nil {
			return err
		}
		_, err := workers.CompleteTx(ctx, tx, job)
		return err
	})
}

func TestStuckJobIsRetriedByItsBackoff(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []workers.Option
		cancel  bool
		want    rivertype.JobState
	}{
		"soon":           {nil, false, rivertype.JobStateAvailable},
		"later":          {[]workers.Option{workers.WithBackoff(jobs.Backoff{First: time.Hour})}, false, rivertype.JobStateRetryable},
		"not worth it":   {[]workers.Option{workers.WithRetryIf(func(err error) bool { return !errors.Is(err, workers.ErrStuck) })}, false, rivertype.JobStateDiscarded},
		"handler's wish": {nil, true, rivertype.JobStateCancelled},
	} {
		pool := jobstest.DB(t)
		worker := newStubborn(func(context.Context, *river.Job[taskArgs]) error { return errors.New("late") })
		bundle := workers.NewBundle()
		workers.Add(bundle, worker, test.options...)
		if test.cancel {
			bundle.AddErrorHandler(&trace{name: "second", calls: make(chan string, 10)})
		}
		c := stuckConfig(pool)
		c.Client.RetryPolicy = jobs.Backoff{First: 4 * time.Second, Jitter: -1}
		r := start(t, c, bundle)
		id := insert(t, r, taskArgs{}, nil)
		eventually(t, func() bool { return row(t, r, id).State != rivertype.JobStateRunning && len(row(t, r, id).Errors) == 1 }, name)
		require.Equal(t, test.want, row(t, r, id).State, name)
		close(worker.release)
		eventually(t, func() bool { return r.Running() == 0 }, name)
	}
}

func TestStuckHandlerThatReturnsInTimeIsLeftAlone(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	worker := newStubborn(func(context.Context, *river.Job[taskArgs]) error { return nil })
	bundle := workers.NewBundle()
	workers.Add(bundle, worker)
	c := stuckConfig(pool)
	c.Client.JobStuckThreshold = time.Hour
	r := start(t, c, bundle)
	id := insert(t, r, taskArgs{}, nil)
	receive(t, worker.began)
	close(worker.release)
	require.Equal(t, rivertype.JobStateCompleted, await(t, r, id).State)
	require.Empty(t, events(t, pool, id, "stuck"))
}
