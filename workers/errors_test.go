package workers_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

func TestPermanentIsSeenThrough(t *testing.T) {
	t.Parallel()
	cause := &fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}
	err := fmt.Errorf("load: %w", workers.Permanent(fmt.Errorf("read: %w", cause)))
	require.EqualError(t, err, "load: read: open x: file does not exist")
	require.ErrorIs(t, err, fs.ErrNotExist)
	var path *fs.PathError
	require.ErrorAs(t, err, &path)
	require.True(t, workers.IsPermanent(err))
	require.False(t, workers.IsPermanent(cause))
	require.False(t, workers.IsPermanent(nil))
	require.NoError(t, workers.Permanent(nil))
}

// lastAttempts notes what error handlers see.
type lastAttempts struct{ seen chan [2]int }

func (h lastAttempts) HandleError(_ context.Context, job *rivertype.JobRow, _ error) *river.ErrorHandlerResult {
	h.seen <- [2]int{job.Attempt, job.MaxAttempts}
	return nil
}

func (h lastAttempts) HandlePanic(context.Context, *rivertype.JobRow, any, string) *river.ErrorHandlerResult {
	return nil
}

func TestPermanentDiscardsAtOnce(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	bundle := bundleOf(func(context.Context, *river.Job[taskArgs]) error {
		return fmt.Errorf("resize: %w", workers.Permanent(errors.New("not an image")))
	})
	handler := lastAttempts{seen: make(chan [2]int, 1)}
	bundle.AddErrorHandler(handler)
	r := start(t, config(pool), bundle)

	result := workOne(t, r, nil)
	require.Equal(t, rivertype.JobStateDiscarded, result.State)
	require.Equal(t, 1, result.Job.Attempt)
	require.Len(t, result.Errors, 1)
	require.Equal(t, "resize: not an image", result.Errors[0].Error)
	require.Equal(t, [2]int{1, 1}, receive(t, handler.seen), "error handlers see that it was the last")
	require.Equal(t, 25, result.Job.MaxAttempts, "the row keeps its attempts")

	// A retry by hand works as after any discarding.
	_, err := r.Client().JobRetry(t.Context(), result.Job.ID)
	require.NoError(t, err)
	eventually(t, func() bool {
		again := row(t, r, result.Job.ID)
		return again.State == rivertype.JobStateDiscarded && len(again.Errors) == 2
	}, "discarded again")
}

var errBusy = errors.New("busy")

func TestRetryIf(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	bundle := bundleOf(func(_ context.Context, job *river.Job[taskArgs]) error {
		switch {
		case job.Args.Name == "cancel":
			return river.JobCancel(errors.New("cancelled"))
		case job.Args.Name == "snooze" && len(job.Metadata) <= len("{}"):
			return river.JobSnooze(0)
		case job.Args.Name == "busy" && job.Attempt == 1:
			return fmt.Errorf("call: %w", errBusy)
		case job.Args.Name == "panic" && job.Attempt == 1:
			panic("once")
		case job.Args.Name == "hopeless":
			return errors.New("hopeless")
		}
		return nil
	}, workers.WithRetryIf(func(err error) bool { return errors.Is(err, errBusy) }))
	r := start(t, config(pool), bundle)

	for name, want := range map[string]struct {
		state   rivertype.JobState
		attempt int
	}{
		"hopeless": {rivertype.JobStateDiscarded, 1},
		"busy":     {rivertype.JobStateCompleted, 2},
		"panic":    {rivertype.JobStateCompleted, 2},
		"cancel":   {rivertype.JobStateCancelled, 1},
		"snooze":   {rivertype.JobStateCompleted, 1},
	} {
		result := await(t, r, insert(t, r, taskArgs{Name: name}, nil))
		require.Equal(t, want.state, result.State, name)
		require.Equal(t, want.attempt, result.Job.Attempt, name)
	}
}

func TestAttemptsAreFinite(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	failing := func(context.Context, *river.Job[taskArgs]) error { return errors.New("failed") }
	panicking := func(context.Context, *river.Job[otherArgs]) error { panic("failed") }
	bundle := bundleOf(failing, workers.WithMaxAttempts(3))
	workers.Add(bundle, river.WorkFunc(panicking), workers.WithMaxAttempts(2))
	r := start(t, config(pool), bundle)

	result := workOne(t, r, nil)
	require.Equal(t, rivertype.JobStateDiscarded, result.State)
	require.Len(t, result.Errors, 3)
	require.Equal(t, 25, result.Job.MaxAttempts)

	fewer := workOne(t, r, &river.InsertOpts{MaxAttempts: 2})
	require.Len(t, fewer.Errors, 2, "a row that allows fewer gets fewer")

	panicked := await(t, r, insert(t, r, otherArgs{}, nil))
	require.Equal(t, rivertype.JobStateDiscarded, panicked.State)
	require.Len(t, panicked.Errors, 2)
}

// batchError settles several jobs, as a handler that works a batch does.
type batchError struct {
	jobs []*rivertype.JobRow
	errs map[int64]error
}

func (e *batchError) Error() string               { return "some of the batch failed" }
func (e *batchError) Jobs() []*rivertype.JobRow   { return e.jobs }
func (e *batchError) ErrorsByID() map[int64]error { return e.errs }

func TestErrorsOfABatchAreClassifiedOneByOne(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	rows := make(chan *rivertype.JobRow, 3)
	settle := make(chan struct{})
	others := make(chan struct{})
	bundle := bundleOf(func(_ context.Context, job *river.Job[taskArgs]) error {
		if job.Args.Name != "leader" {
			rows <- job.JobRow
			<-others
			return nil
		}
		<-settle
		batch := &batchError{jobs: []*rivertype.JobRow{job.JobRow}, errs: map[int64]error{}}
		for range 2 {
			row := <-rows
			batch.jobs = append(batch.jobs, row)
			batch.errs[row.ID] = errors.New("again")
			if row.ID%2 == 0 {
				batch.errs[row.ID] = workers.Permanent(errors.New("never"))
			}
		}
		return batch
	})
	c := config(pool)
	c.Client.RetryPolicy = nil // slow enough to be seen
	r := start(t, c, bundle)
	leader := insert(t, r, taskArgs{Name: "leader"}, nil)
	first, second := insert(t, r, taskArgs{Name: "a"}, nil), insert(t, r, taskArgs{Name: "b"}, nil)
	close(settle)
	require.Equal(t, rivertype.JobStateCompleted, await(t, r, leader).State)
	even, odd := first, second
	if odd%2 == 0 {
		even, odd = odd, even
	}
	require.Equal(t, rivertype.JobStateDiscarded, await(t, r, even).State)
	eventually(t, func() bool { return len(row(t, r, odd).Errors) == 1 }, "the other is retried")
	close(others)
	require.NotEqual(t, rivertype.JobStateDiscarded, row(t, r, odd).State)
}

func TestRemoteCancelIsNotAnInterruption(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	began := make(chan struct{})
	bundle := bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		close(began)
		<-ctx.Done()
		return errors.New("the driver says: connection lost")
	})
	r := start(t, config(pool), bundle)
	id := insert(t, r, taskArgs{}, nil)
	receive(t, began)
	_, err := r.Client().JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, await(t, r, id).State)
}

// sealed is a worker whose middleware has the last word.
type sealed struct {
	river.WorkerDefaults[taskArgs]
	tries atomic.Int32
}

func (w *sealed) Work(context.Context, *river.Job[taskArgs]) error { return nil }

func (w *sealed) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	return []rivertype.WorkerMiddleware{&seal{worker: w}}
}

type seal struct {
	river.MiddlewareDefaults
	worker *sealed
}

func (s *seal) Work(ctx context.Context, _ *rivertype.JobRow, inner func(context.Context) error) error {
	if err := inner(ctx); err != nil {
		return err
	}
	if s.worker.tries.Add(1) == 1 {
		return errors.New("the seal is broken")
	}
	return nil
}

func TestMiddlewareOfAWorkerMayFailAJobThatSucceeded(t *testing.T) {
	t.Parallel()
	bundle := workers.NewBundle()
	workers.Add[taskArgs](bundle, &sealed{})
	r := start(t, config(jobstest.DB(t)), bundle)
	result := workOne(t, r, nil)
	require.NoError(t, result.Err())
	require.Equal(t, 2, result.Job.Attempt)
	require.Equal(t, "the seal is broken", result.Errors[0].Error)
}
