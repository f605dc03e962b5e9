package workers_test

import (
	"context"
	"errors"
	"testing"

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

	var completed, rows int
	require.NoError(t, pool.QueryRow(ctx, `SELECT
		(SELECT coalesce(sum(n), 0) FROM (SELECT n FROM towpath.counter WHERE event = 'completed' UNION ALL
			SELECT n FROM towpath.counter_delta WHERE event = 'completed') c),
		(SELECT count(*) FROM towpath.job_history)`).Scan(&completed, &rows))
	require.Equal(t, n, completed)
	require.Equal(t, n, rows)
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
