package workers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

// run starts Run and returns what ends it and how it ends.
func run(t *testing.T, c workers.Config, bundle *workers.Bundle) (stop func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ends := make(chan error, 1)
	go func() { ends <- workers.Run(ctx, c, bundle) }()
	return cancel, ends
}

func inserter(t *testing.T, c workers.Config) *jobs.Client {
	t.Helper()
	client, err := jobs.NewClient(c.Pool, nil)
	require.NoError(t, err)
	return client
}

func put(t *testing.T, client *jobs.Client, args river.JobArgs) int64 {
	t.Helper()
	result, err := client.Insert(t.Context(), args, nil)
	require.NoError(t, err)
	return result.Job.ID
}

func get(t *testing.T, client *jobs.Client, id int64) *rivertype.JobRow {
	t.Helper()
	job, err := client.JobGet(t.Context(), id)
	require.NoError(t, err)
	return job
}

func TestStopLetsJobsFinish(t *testing.T) {
	t.Parallel()
	c := config(jobstest.DB(t))
	c.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}
	client := inserter(t, c)
	began, finish := make(chan struct{}, 2), make(chan struct{})
	stop, ended := run(t, c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		began <- struct{}{}
		<-finish
		return ctx.Err()
	}))
	first := put(t, client, taskArgs{})
	receive(t, began)
	second := put(t, client, taskArgs{})
	stop()
	never(t, func() bool { return len(ended) > 0 }, 50*time.Millisecond, "it waits for the job")
	close(finish)
	require.NoError(t, receive(t, ended))
	require.Equal(t, rivertype.JobStateCompleted, get(t, client, first).State)
	waiting := get(t, client, second)
	require.Equal(t, rivertype.JobStateAvailable, waiting.State, "nothing is fetched any more")
	require.Zero(t, waiting.Attempt)
}

func TestStopHandsInterruptedJobsBack(t *testing.T) {
	t.Parallel()
	for name, returned := range map[string]func(ctx context.Context) error{
		"the context's error":   func(ctx context.Context) error { return ctx.Err() },
		"the error wrapped":     func(ctx context.Context) error { return fmt.Errorf("load: %w", ctx.Err()) },
		"an error of its own":   func(context.Context) error { return errors.New("write tcp: broken pipe") },
		"the cause of the stop": context.Cause,
		"a cancellation":        func(ctx context.Context) error { return river.JobCancel(ctx.Err()) },
		"cancelled by cause":    func(ctx context.Context) error { return river.JobCancel(context.Cause(ctx)) },
	} {
		c := config(jobstest.DB(t))
		c.Grace = time.Millisecond
		client := inserter(t, c)
		began := make(chan struct{}, 1)
		bundle := bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
			began <- struct{}{}
			<-ctx.Done()
			return returned(ctx)
		}, workers.WithRetryIf(func(error) bool { return false }))
		stop, ended := run(t, c, bundle)
		id := put(t, client, taskArgs{})
		receive(t, began)
		stop()
		require.NoError(t, receive(t, ended), name)
		job := get(t, client, id)
		require.Equal(t, rivertype.JobStateAvailable, job.State, name)
		require.Zero(t, job.Attempt, name)
		require.Empty(t, job.Errors, name)

		// The next process takes it up at once.
		stop, ended = run(t, config(c.Pool), bundleOf(nothing))
		result, err := client.Await(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, 1, result.Job.Attempt, name)
		stop()
		require.NoError(t, receive(t, ended), name)
	}
}

func TestStopKeepsWhatTheHandlerDecided(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want rivertype.JobState
	}{
		"success":   {nil, rivertype.JobStateCompleted},
		"permanent": {workers.Permanent(errors.New("broken")), rivertype.JobStateDiscarded},
		"cancelled": {river.JobCancel(errors.New("no use")), rivertype.JobStateCancelled},
		"snoozed":   {river.JobSnooze(time.Hour), rivertype.JobStateScheduled},
	} {
		c := config(jobstest.DB(t))
		c.Grace = time.Millisecond
		client := inserter(t, c)
		began := make(chan struct{}, 1)
		stop, ended := run(t, c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
			began <- struct{}{}
			<-ctx.Done()
			return test.err
		}))
		id := put(t, client, taskArgs{})
		receive(t, began)
		stop()
		require.NoError(t, receive(t, ended), name)
		require.Equal(t, test.want, get(t, client, id).State, name)
	}
}

func TestStopLeavesDeafHandlersBehind(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	c := config(pool)
	c.Grace, c.CancelGrace = time.Millisecond, 50*time.Millisecond
	var process log
	c.Client.Logger = process.logger()
	client := inserter(t, c)
	began, release := make(chan struct{}, 1), make(chan struct{})
	late := make(chan error, 1)
	_, err := pool.Exec(t.Context(), `CREATE TABLE effect (job_id bigint, by text)`)
	require.NoError(t, err)
	bundle := bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		began <- struct{}{}
		<-release
		err := completeWithEffect(ctx, pool, job, "left behind")
		late <- err
		return err
	})
	r, err := workers.New(c, bundle)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	id := put(t, client, taskArgs{})
	receive(t, began)

	err = r.Stop()
	require.EqualError(t, err, "stop working jobs: 1 handlers ignored cancellation and still run, 1 jobs were handed back")
	require.Equal(t, err, r.Stop(), "a second call says the same")
	job := get(t, client, id)
	require.Equal(t, rivertype.JobStateAvailable, job.State)
	require.Zero(t, job.Attempt)
	require.Empty(t, job.Errors)
	require.Len(t, process.lines("job ignored cancellation and was handed back"), 1)

	// Another process works it, and what was left behind cannot interfere.
	stop, ended := run(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		close(release)
		if err := <-late; err == nil {
			return workers.Permanent(errors.New("the other one committed"))
		}
		return completeWithEffect(ctx, pool, job, "next")
	}))
	result, err := client.Await(t.Context(), id)
	require.NoError(t, err)
	require.NoError(t, result.Err())
	require.Equal(t, 1, result.Job.Attempt)
	var by string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT string_agg(by, ',') FROM effect`).Scan(&by))
	require.Equal(t, "next", by)
	stop()
	require.NoError(t, receive(t, ended))
	eventually(t, func() bool { return r.Running() == 0 }, "the handler is gone")
	require.NoError(t, r.Client().Stop(t.Context()))
}

func TestStartFailsWithoutDatabase(t *testing.T) {
	t.Parallel()
	c := config(jobstest.DB(t))
	r, err := workers.New(c, bundleOf(nothing))
	require.NoError(t, err)
	c.Pool.Close()
	require.ErrorContains(t, r.Start(t.Context()), "start working jobs")
}

// chainArgs enqueues so many further jobs, one after the other.
type chainArgs struct {
	Left int `json:"left"`
}

func (chainArgs) Kind() string { return "chain" }

func TestDrainEndsWhenThereIsNothingLeft(t *testing.T) {
	t.Parallel()
	c := config(jobstest.DB(t))
	c.Drain = true
	c.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}, "paused": {MaxWorkers: 1}}
	client := inserter(t, c)
	bundle := bundleOf(func(_ context.Context, job *river.Job[taskArgs]) error {
		if job.Args.Name == "later" && job.Attempt == 1 {
			return errors.New("failed")
		}
		return nil
	}, workers.WithBackoff(jobs.Backoff{First: time.Hour}))
	workers.Add(bundle, river.WorkFunc(func(ctx context.Context, job *river.Job[chainArgs]) error {
		if job.Args.Left == 0 {
			return nil
		}
		_, err := client.Insert(ctx, chainArgs{Left: job.Args.Left - 1}, nil)
		return err
	}))

	for range 20 {
		put(t, client, taskArgs{})
	}
	put(t, client, chainArgs{Left: 5})
	future, err := client.Insert(t.Context(), taskArgs{}, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	due, err := client.Insert(t.Context(), taskArgs{}, &river.InsertOpts{ScheduledAt: time.Now().Add(-time.Hour)})
	require.NoError(t, err)
	unknown := put(t, client, otherArgs{})
	later := put(t, client, taskArgs{Name: "later"})
	elsewhere, err := client.Insert(t.Context(), taskArgs{}, &river.InsertOpts{Queue: "elsewhere"})
	require.NoError(t, err)
	_, err = c.Pool.Exec(t.Context(), `INSERT INTO towpath.river_queue (name, paused_at, updated_at) VALUES ('paused', now(), now())`)
	require.NoError(t, err)
	paused, err := client.Insert(t.Context(), taskArgs{}, &river.InsertOpts{Queue: "paused"})
	require.NoError(t, err)

	_, ended := run(t, c, bundle)
	require.NoError(t, receive(t, ended))

	var completed int
	require.NoError(t, c.Pool.QueryRow(t.Context(), `SELECT count(*) FROM towpath.job_history WHERE state = 'completed'`).Scan(&completed))
	require.Equal(t, 20+6+1, completed)
	require.Equal(t, rivertype.JobStateCompleted, get(t, client, due.Job.ID).State)
	require.Equal(t, rivertype.JobStateScheduled, get(t, client, future.Job.ID).State)
	require.Equal(t, rivertype.JobStateRetryable, get(t, client, later).State)
	for _, id := range []int64{unknown, elsewhere.Job.ID, paused.Job.ID} {
		require.Equal(t, rivertype.JobStateAvailable, get(t, client, id).State)
	}
}

func TestDrainEndsWithItsContextToo(t *testing.T) {
	t.Parallel()
	c := config(jobstest.DB(t))
	c.Drain, c.Grace = true, time.Millisecond
	client := inserter(t, c)
	put(t, client, taskArgs{}) // there is work before anybody looks for it
	began := make(chan struct{}, 1)
	stop, ended := run(t, c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	receive(t, began)
	stop()
	require.NoError(t, receive(t, ended))
}
