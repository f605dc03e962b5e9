package workers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

// River's completer writes at most every 250 ms while few jobs end. Jobs that succeed are finished before that, with
// what they recorded, and are finished once: their events and counters are those of any other job.
func TestSuccessIsFinishedPromptly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := jobstest.DB(t)
	c := config(pool)
	r, err := workers.New(c, bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		if job.Args.Name == "" {
			return nil
		}
		return river.RecordOutput(ctx, job.Args.Name)
	}))
	require.NoError(t, err)
	events, cancel := r.Client().Subscribe(river.EventKindJobCompleted)
	defer cancel()
	require.NoError(t, r.Start(ctx))
	defer func() { require.NoError(t, r.Stop()) }()

	const n = 20
	var early int
	for i := range n {
		output := ""
		if i%2 == 0 {
			output = "done"
		}
		id := insert(t, r, taskArgs{Name: output}, nil)
		result := await(t, r, id)
		require.Equal(t, rivertype.JobStateCompleted, result.State)
		if output != "" {
			require.JSONEq(t, `"done"`, string(result.Output))
		}
		// River's own event comes after its own time, which begins anew with each job here: the last one's event has just
		// come. An end that was left to River would be seen about when its event is.
		if len(events) == 0 {
			early++
		}
		event := receive(t, events)
		require.Equal(t, id, event.Job.ID)
		require.Equal(t, rivertype.JobStateCompleted, event.Job.State)
		if output != "" {
			require.JSONEq(t, `"done"`, string(event.Job.Output()))
		}
	}
	require.Greater(t, early, n/2, "most were finished ahead of River's completer")

	require.Equal(t, n, counted(t, pool, "completed"))
	require.Equal(t, n, number(t, pool, `SELECT count(*) FROM towpath.job_history`))
}

// counted is how often an event was counted, folded or not.
func counted(t *testing.T, pool *pgxpool.Pool, event string) int {
	t.Helper()
	return number(t, pool, `SELECT coalesce(sum(n), 0) FROM (SELECT event, n FROM towpath.counter UNION ALL
		SELECT event, n FROM towpath.counter_delta) c WHERE event = $1`, event)
}

func number(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), sql, args...).Scan(&n))
	return n
}

// finalFailure is a way to end a job by a failure.
type finalFailure struct {
	work    work
	opts    river.InsertOpts
	state   rivertype.JobState
	err     string
	trace   bool
	output  string
	cancels bool // the error handler does
	untold  bool // error handlers are not asked
	stays   bool // in river_job
}

var errHopeless = errors.New("hopeless")

func finalFailures() map[string]finalFailure {
	once := river.InsertOpts{MaxAttempts: 1}
	failing := func(err error) work { return func(context.Context, *river.Job[taskArgs]) error { return err } }
	panicking := func(context.Context, *river.Job[taskArgs]) error { panic("at the disco") }
	recording := func(end work) work {
		return func(ctx context.Context, job *river.Job[taskArgs]) error {
			return errors.Join(river.RecordOutput(ctx, "half of it"), end(ctx, job))
		}
	}
	hopeless := failing(errHopeless)
	const half = `"half of it"`
	return map[string]finalFailure{
		"attempts used up":  {work: failing(errors.New("no")), opts: once, state: "discarded", err: "no"},
		"permanent":         {work: failing(workers.Permanent(errors.New("never"))), state: "discarded", err: "never"},
		"not to be retried": {work: hopeless, state: "discarded", err: "hopeless"},
		"panic":             {work: panicking, opts: once, state: "discarded", err: "at the disco", trace: true},
		"cancelled":         {work: failing(river.JobCancel(errors.New("enough"))), state: "cancelled", err: "JobCancelError: enough", untold: true},
		"error cancelled":   {work: failing(errBusy), state: "cancelled", err: "busy", cancels: true},
		"panic cancelled":   {work: panicking, state: "cancelled", err: "at the disco", trace: true, cancels: true},
		"recorded":          {work: recording(hopeless), state: "discarded", err: "hopeless", output: half},
		"recorded, panic":   {work: recording(panicking), opts: once, state: "discarded", err: "at the disco", trace: true, output: half},
		"recorded, cancelled": {
			work: recording(failing(river.JobCancel(errors.New("enough")))), state: "cancelled", err: "JobCancelError: enough",
			output: half, untold: true,
		},
		"not storable": {work: failing(workers.Permanent(errors.New("a\x00b"))), state: "discarded", err: "a\uFFFDb"},
		"unique": {
			work: hopeless, state: "discarded", err: "hopeless", stays: true,
			opts: river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: rivertype.JobStates()}},
		},
	}
}

// canceller cancels the jobs whose failure says so, and counts what it is told.
type canceller struct {
	failures map[string]finalFailure
	told     atomic.Int32
}

func (c *canceller) result(job *rivertype.JobRow) *river.ErrorHandlerResult {
	c.told.Add(1)
	var args taskArgs
	_ = json.Unmarshal(job.EncodedArgs, &args)
	return &river.ErrorHandlerResult{SetCancelled: c.failures[args.Name].cancels}
}

func (c *canceller) HandleError(_ context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if err.Error() == "busy" && err != errBusy { //nolint:errorlint // it has to be the very error
		panic("not the error that the job returned")
	}
	return c.result(job)
}

func (c *canceller) HandlePanic(_ context.Context, job *rivertype.JobRow, _ any, _ string) *river.ErrorHandlerResult {
	return c.result(job)
}

// A job that ends by a failure is finished as promptly as one that succeeds, and as River would have: with its error, what
// it recorded, one event and one count.
func TestFinalFailureIsFinishedPromptly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := jobstest.DB(t)
	failures := finalFailures()
	handler := &canceller{failures: failures}
	bundle := bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		return failures[job.Args.Name].work(ctx, job)
	},
		workers.WithRetryIf(func(err error) bool { return !errors.Is(err, errHopeless) }))
	bundle.AddErrorHandler(handler)
	r, err := workers.New(config(pool), bundle)
	require.NoError(t, err)
	events, cancel := r.Client().Subscribe(river.EventKindJobFailed, river.EventKindJobCancelled)
	defer cancel()
	require.NoError(t, r.Start(ctx))
	defer func() { require.NoError(t, r.Stop()) }()

	var early, told, stay int
	ended := make(map[rivertype.JobState]int)
	for name, f := range failures {
		id := insert(t, r, taskArgs{Name: name}, &f.opts)
		result := await(t, r, id)
		if len(events) == 0 { // as above
			early++
		}
		event := receive(t, events)
		for _, job := range []*rivertype.JobRow{result.Job, event.Job} {
			require.Equal(t, id, job.ID, name)
			require.Equal(t, f.state, job.State, name)
			require.Equal(t, 1, job.Attempt, name)
			require.Len(t, job.Errors, 1, name)
			require.Equal(t, f.err, job.Errors[0].Error, name)
			require.Equal(t, 1, job.Errors[0].Attempt, name)
			require.Equal(t, f.trace, job.Errors[0].Trace != "", name)
			require.Equal(t, f.output, string(job.Output()), name)
			require.NotNil(t, job.FinalizedAt, name)
			require.False(t, job.Errors[0].At.IsZero() || job.Errors[0].At.After(*job.FinalizedAt), name)
		}
		require.Equal(t, result.Job.FinalizedAt.UTC(), event.Job.FinalizedAt.UTC(), name)
		require.Equal(t, result.Job.Errors[0].At.UTC(), event.Job.Errors[0].At.UTC(), name)
		ended[f.state]++
		if !f.untold {
			told++
		}
		if f.stays {
			stay++
			again, err := r.Client().Insert(ctx, taskArgs{Name: name}, &f.opts)
			require.NoError(t, err)
			require.True(t, again.UniqueSkippedAsDuplicate)
		}
	}
	require.Greater(t, early, len(failures)/2, "most were finished ahead of River's completer")
	require.EqualValues(t, told, handler.told.Load())
	require.Empty(t, events)
	for _, state := range []rivertype.JobState{"discarded", "cancelled", "retried", "completed"} {
		require.Equal(t, ended[state], counted(t, pool, string(state)), state)
	}
	require.Equal(t, len(failures)-stay, number(t, pool, `SELECT count(*) FROM towpath.job_history`))
	require.Equal(t, stay, number(t, pool, `SELECT count(*) FROM towpath.river_job`))
}

// What an operator cancels is cancelled promptly, whatever its handler returns.
func TestRemoteCancelIsFinishedPromptly(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	returned := map[string]error{"error": errors.New("connection lost"), "snooze": river.JobSnooze(0), "cancel": river.JobCancel(errHopeless)}
	began := make(chan struct{})
	r := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		if err := river.RecordOutput(ctx, "half of it"); err != nil {
			return err
		}
		began <- struct{}{}
		<-ctx.Done()
		return returned[job.Args.Name]
	}))
	events, cancel := r.Client().Subscribe(river.EventKindJobCancelled)
	defer cancel()
	for name := range returned {
		id := insert(t, r, taskArgs{Name: name}, nil)
		receive(t, began)
		_, err := r.Client().JobCancel(t.Context(), id)
		require.NoError(t, err)
		result, event := await(t, r, id), receive(t, events)
		for _, job := range []*rivertype.JobRow{result.Job, event.Job} {
			require.Equal(t, rivertype.JobStateCancelled, job.State, name)
			require.Len(t, job.Errors, 1, name)
			require.Equal(t, river.ErrJobCancelledRemotely.Error(), job.Errors[0].Error, name)
			require.JSONEq(t, `"half of it"`, string(job.Output()), name)
		}
	}
	require.Equal(t, len(returned), counted(t, pool, "cancelled"))
	require.Equal(t, len(returned), number(t, pool, `SELECT count(*) FROM towpath.job_history`))
}

// panicky is an error handler that fails itself.
type panicky struct{}

func (panicky) HandleError(context.Context, *rivertype.JobRow, error) *river.ErrorHandlerResult {
	panic("the handler's handler")
}

func (panicky) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	panic("the handler's handler")
}

// River's finish has to do where error handlers fail.
func TestErrorHandlerThatPanics(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	bundle := bundleOf(func(_ context.Context, job *river.Job[taskArgs]) error {
		if job.Args.Name == "panic" {
			panic("no")
		}
		return errors.New("no")
	}, workers.WithMaxAttempts(2))
	bundle.AddErrorHandler(panicky{})
	r := start(t, config(pool), bundle)
	for _, name := range []string{"error", "panic"} {
		result := await(t, r, insert(t, r, taskArgs{Name: name}, nil))
		require.Equal(t, rivertype.JobStateDiscarded, result.State, name)
		require.Len(t, result.Errors, 2, name)
		require.Equal(t, "no", result.Errors[1].Error, name)
	}
	require.Equal(t, 2, counted(t, pool, "discarded"))
	require.Equal(t, 2, counted(t, pool, "retried"))
}

// A failure that is retried is none to be finished, whatever was recorded; its last one is, with all of it.
func TestFailuresBeforeTheLastAreKept(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	r := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		river.ResumableStep(ctx, "first", nil, func(context.Context) error { return nil })
		river.ResumableStep(ctx, "second", nil, func(context.Context) error { return fmt.Errorf("failure %d", job.Attempt) })
		return nil
	}))
	result := workOne(t, r, &river.InsertOpts{MaxAttempts: 3})
	require.Equal(t, rivertype.JobStateDiscarded, result.State)
	require.Len(t, result.Errors, 3)
	for i, failure := range result.Errors {
		require.Equal(t, i+1, failure.Attempt)
		require.Equal(t, fmt.Sprintf("failure %d", i+1), failure.Error)
	}
	require.Contains(t, string(result.Job.Metadata), `"first"`, "the step that was done")
	require.Equal(t, 1, counted(t, pool, "discarded"))
	require.Equal(t, 2, counted(t, pool, "retried"))
}

// A step that fails fails the job after its handler has returned nil.
func TestFailedStepIsNotFinishedAsSuccess(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	r := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		river.ResumableStep(ctx, "first", nil, func(context.Context) error {
			if job.Attempt == 1 {
				return errors.New("the step failed")
			}
			return nil
		})
		return nil
	}))
	result := workOne(t, r, nil)
	require.NoError(t, result.Err())
	require.Equal(t, 2, result.Job.Attempt)
	require.Equal(t, "the step failed", result.Errors[0].Error)
}
