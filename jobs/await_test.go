package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

func TestAwaitReturnsEndAndOutput(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	var once sync.Once
	client := newClient(t, pool, &jobs.Config{Config: river.Config{RetryPolicy: jobs.Backoff{First: time.Millisecond}}},
		func(ctx context.Context, job *river.Job[noteArgs]) error {
			var err error
			once.Do(func() { err = errors.New("not yet") })
			if err != nil {
				return err
			}
			return river.RecordOutput(ctx, map[string]int{"length": len(job.Args.Text)})
		})
	start(t, client)

	id := insert(t, client, noteArgs{Text: "four"}, nil)
	result, err := client.Await(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, result.Err())
	require.Equal(t, rivertype.JobStateCompleted, result.State)
	require.Equal(t, id, result.Job.ID)
	require.Equal(t, 2, result.Job.Attempt)
	require.NotNil(t, result.Job.FinalizedAt)
	require.Len(t, result.Errors, 1)
	require.Equal(t, "not yet", result.Errors[0].Error)

	output, err := jobs.Output[map[string]int](result)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"length": 4}, output)
	_, err = jobs.Output[[]string](result)
	require.ErrorContains(t, err, "read output of job")

	// Long over, and in history by now.
	result, err = client.Await(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, result.State)
}

func TestAwaitReturnsFailures(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, nil, func(_ context.Context, job *river.Job[noteArgs]) error {
		if job.Args.Text == "cancel" {
			return river.JobCancel(errors.New("no use"))
		}
		return errors.New("broken")
	})
	start(t, client)

	discarded, err := client.Await(t.Context(), insert(t, client, noteArgs{}, &river.InsertOpts{MaxAttempts: 1}))
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateDiscarded, discarded.State)
	require.EqualError(t, discarded.Err(), fmt.Sprintf("job %d (note) was discarded: broken", discarded.Job.ID))
	_, err = jobs.Output[int](discarded)
	require.ErrorIs(t, err, jobs.ErrNoOutput)

	cancelled, err := client.Await(t.Context(), insert(t, client, noteArgs{Text: "cancel"}, nil))
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, cancelled.State)
	require.ErrorContains(t, cancelled.Err(), "was cancelled: JobCancelError: no use")

	waiting := insert(t, client, noteArgs{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	_, err = client.JobCancel(t.Context(), waiting)
	require.NoError(t, err)
	never, err := client.Await(t.Context(), waiting)
	require.NoError(t, err)
	require.EqualError(t, never.Err(), fmt.Sprintf("job %d (note) was cancelled", waiting))
}

func TestAwaitUnknownJob(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	_, err := client.Await(t.Context(), 4711)
	require.ErrorIs(t, err, jobs.ErrNotFound)
	require.EqualError(t, err, "await job 4711: not found")

	// One that goes away meanwhile.
	id := insert(t, client, noteArgs{}, nil)
	failed := make(chan error, 1)
	go func() {
		_, err := client.Await(context.WithoutCancel(t.Context()), id)
		failed <- err
	}()
	_, err = client.JobDelete(t.Context(), id)
	require.NoError(t, err)
	require.ErrorIs(t, <-failed, jobs.ErrNotFound)
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	id := insert(t, client, noteArgs{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := client.Await(ctx, id)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = client.Await(ctx, id)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestAwaitInsideAJobFailsAtOnce(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	var client *jobs.Client
	client = newClient(t, pool, nil, func(ctx context.Context, job *river.Job[noteArgs]) error {
		_, err := client.Await(ctx, job.ID) //towpath:allow it is to fail
		if !errors.Is(err, jobs.ErrAwaitInWorker) {
			return fmt.Errorf("got %w", err)
		}
		return river.JobCancel(err)
	})
	start(t, client)
	result, err := client.Await(t.Context(), insert(t, client, noteArgs{}, nil))
	require.NoError(t, err)
	require.ErrorContains(t, result.Err(), "a job must not wait for another job")
	require.Equal(t, rivertype.JobStateCancelled, result.State)
}

func TestManyAwaitsShareTheirQueries(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	const n = 300
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i] = river.InsertManyParams{Args: noteArgs{}}
	}
	client := newClient(t, pool, nil, func(context.Context, *river.Job[noteArgs]) error { return nil })
	inserted, err := client.InsertMany(t.Context(), params)
	require.NoError(t, err)

	var wg sync.WaitGroup
	failed := make(chan error, 2*n)
	for _, one := range inserted {
		for range 2 { // of the same job, too
			wg.Go(func() {
				result, err := client.Await(context.WithoutCancel(t.Context()), one.Job.ID)
				if err == nil && result.Job.ID != one.Job.ID {
					err = fmt.Errorf("got job %d for %d", result.Job.ID, one.Job.ID)
				}
				failed <- err
			})
		}
	}
	start(t, client)
	wg.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
}

func TestAwaitSurvivesLostConnections(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, nil, nil)
	id := insert(t, client, noteArgs{}, nil)
	type end struct {
		result *jobs.Result
		err    error
	}
	ends := make(chan end, 1)
	go func() {
		result, err := client.Await(context.WithoutCancel(t.Context()), id)
		ends <- end{result, err}
	}()
	conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for range 20 {
		_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		require.NoError(t, err)
	}
	_, err = conn.Exec(t.Context(), `UPDATE towpath.river_job SET state = 'cancelled', finalized_at = now() WHERE id = $1`, id)
	require.NoError(t, err)
	got := <-ends
	require.NoError(t, got.err)
	require.Equal(t, rivertype.JobStateCancelled, got.result.State)
}

func TestAwaitReportsWhatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, &jobs.Config{Config: river.Config{Schema: "elsewhere"}}, nil)
	_, err := client.Await(t.Context(), 1)
	require.ErrorContains(t, err, `"elsewhere.river_job" does not exist`)
}

func TestAwaitOnAClosedPoolFails(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, nil, nil)
	pool.Close()
	_, err := client.Await(t.Context(), 1)
	require.ErrorContains(t, err, "closed pool")
}
