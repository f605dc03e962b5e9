// Package workerstest works single jobs in a transaction, to test handlers.
//
//	tx := …                                              // rolled back when the test ends
//	result := workerstest.Work(t, tx, bundle, ResizeArgs{ID: 7}, nil)
//	require.NoError(t, result.Err)
//	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
//
// The job goes through everything that a running process has around a handler: hooks, middleware, time limits, the
// options of its kind, progress and logs. All of that happens in the given transaction, and so does what the handler does on
// workers.Database or by workers.DoTx; what it does on a pool of its own does not. It is River's rivertest underneath.
package workerstest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/driver"
	"github.com/towpath/towpath/workers"
)

// Result is how a job ended.
type Result struct {
	// Job is the row afterwards. A job that failed with attempts left is retryable, or available when its retry is near.
	Job *rivertype.JobRow
	// Event is what happened: completed, failed, cancelled or snoozed.
	Event river.EventKind
	// Err is what the handler returned. A panic is a *rivertest.PanicError. It is nil when the handler cancelled or
	// snoozed the job.
	Err error
}

// Work inserts a job in tx and works it once. opts may be nil. A job that could not be worked at all fails the test.
func Work[T river.JobArgs](t testing.TB, tx pgx.Tx, bundle *workers.Bundle, args T, opts *river.InsertOpts) *Result {
	t.Helper()
	return work(t, tx, bundle, jobs.Config{}, args, opts)
}

func work[T river.JobArgs](t testing.TB, tx pgx.Tx, bundle *workers.Bundle, config jobs.Config, args T, opts *river.InsertOpts) *Result {
	t.Helper()
	rc, worker, err := workers.InTx[T](bundle, tx, config)
	if err != nil {
		t.Fatal(err)
	}
	result, err := rivertest.NewWorker(t, driver.New(nil), rc, worker).Work(t.Context(), t, tx, args, opts)
	if result == nil {
		t.Fatalf("work job of kind %q: %v", args.Kind(), err)
	}
	return &Result{Job: result.Job, Event: result.EventKind, Err: err}
}

// A Snapshot returns what a job is to have changed, in a form that can be compared with reflect.DeepEqual: rows, counts,
// the calls that a fake has taken.
type Snapshot func(ctx context.Context, tx pgx.Tx) (any, error)

// Query is a Snapshot of the rows of a query, each as one text. Give it an ORDER BY.
func Query(sql string, args ...any) Snapshot {
	return func(ctx context.Context, tx pgx.Tx) (any, error) {
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
			values, err := row.Values()
			texts := make([]string, len(values))
			for i, value := range values {
				texts[i] = fmt.Sprint(value)
			}
			return strings.Join(texts, " | "), err
		})
	}
}

// Twice works a job as if the process had died after the handler's first run and before its end was written: the handler
// runs, and runs again as the next attempt. The test fails when one of the runs does, or when the snapshot after the
// second differs from that after the first: such a handler does its work twice in production some day.
//
// A handler that completes its job in the transaction of its effects (workers.CompleteTx) cannot be run again after
// that, so it is run once. Twice returns how the job ended.
func Twice[T river.JobArgs](t testing.TB, tx pgx.Tx, bundle *workers.Bundle, args T, opts *river.InsertOpts, snapshot Snapshot) *Result {
	t.Helper()
	again := &twice{t: t, tx: tx, snapshot: snapshot}
	config := jobs.Config{}
	config.Middleware = append(config.Middleware, again)
	result := work(t, tx, bundle, config, args, opts)
	switch {
	case result.Err != nil:
		t.Errorf("job of kind %q, run %d: %v", args.Kind(), again.runs, result.Err)
	case again.runs == 2 && !reflect.DeepEqual(again.first, again.second):
		t.Errorf("job of kind %q is not idempotent: its second run changed its effects\nafter the first run:  %v\nafter the second run: %v",
			args.Kind(), again.first, again.second)
	}
	return result
}

// twice is the middleware that runs what is inside of it a second time.
type twice struct {
	river.MiddlewareDefaults
	t             testing.TB
	tx            pgx.Tx
	snapshot      Snapshot
	runs          int
	first, second any
}

var errSnapshot = errors.New("take a snapshot")

func (w *twice) Work(ctx context.Context, job *rivertype.JobRow, inner func(context.Context) error) error {
	w.runs = 1
	if err := inner(ctx); err != nil {
		return err
	}
	running, err := w.stillRunning(ctx, job.ID)
	if err != nil || !running {
		return err
	}
	if w.first, err = w.snapshot(ctx, w.tx); err != nil {
		return fmt.Errorf("%w: %w", errSnapshot, err)
	}
	w.runs = 2
	job.Attempt++
	if err := inner(ctx); err != nil {
		return err
	}
	if w.second, err = w.snapshot(ctx, w.tx); err != nil {
		return fmt.Errorf("%w: %w", errSnapshot, err)
	}
	return nil
}

// stillRunning reports whether the handler has left the end of the job to us.
func (w *twice) stillRunning(ctx context.Context, id int64) (bool, error) {
	var running bool
	err := w.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM towpath.river_job WHERE id = $1 AND state = 'running')`, id).Scan(&running)
	if err != nil {
		return false, fmt.Errorf("look at job %d: %w", id, err)
	}
	return running, nil
}
