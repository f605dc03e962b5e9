package workerstest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
	"github.com/towpath/towpath/workers/workerstest"
)

type thumbArgs struct {
	Image string `json:"image"`
}

func (thumbArgs) Kind() string { return "workerstest_thumb" }

type nextArgs struct{}

func (nextArgs) Kind() string { return "workerstest_next" }

// impostorArgs has the kind of another type.
type impostorArgs struct{}

func (impostorArgs) Kind() string { return "workerstest_thumb" }

type work func(ctx context.Context, job *river.Job[thumbArgs]) error

func bundleOf(work work, options ...workers.Option) *workers.Bundle {
	bundle := workers.NewBundle()
	workers.Add(bundle, river.WorkFunc(work), options...)
	return bundle
}

// withTable returns a transaction with a table for effects.
func withTable(t *testing.T) pgx.Tx {
	t.Helper()
	tx := testdb.Tx(t)
	_, err := tx.Exec(t.Context(), `CREATE TEMPORARY TABLE thumb (image text, size int) ON COMMIT DROP`)
	require.NoError(t, err)
	return tx
}

// effect writes a row on the attempt's own database handle.
func effect(ctx context.Context, sql string, args ...any) error {
	tx, err := workers.Database(ctx).Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, sql, args...); err != nil {
		return errors.Join(err, tx.Rollback(ctx))
	}
	return tx.Commit(ctx)
}

func TestWork(t *testing.T) {
	t.Parallel()
	tx := withTable(t)
	bundle := bundleOf(func(ctx context.Context, job *river.Job[thumbArgs]) error {
		workers.Logger(ctx).InfoContext(ctx, "scaling")
		workers.Progress(ctx, 0.5, "half")
		workers.Progress(ctx, 1, "whole")
		if err := river.RecordOutput(ctx, 7); err != nil {
			return err
		}
		return effect(ctx, `INSERT INTO thumb VALUES ($1, 64)`, job.Args.Image)
	})
	result := workerstest.Work(t, tx, bundle, thumbArgs{Image: "cat"}, &river.InsertOpts{Queue: "images"})
	require.NoError(t, result.Err)
	require.Equal(t, river.EventKindJobCompleted, result.Event)
	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
	require.Equal(t, "images", result.Job.Queue)
	require.Equal(t, 1, result.Job.Attempt)
	require.JSONEq(t, `7`, string(result.Job.Output()))

	var size int
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT size FROM thumb WHERE image = 'cat'`).Scan(&size))
	events, err := store.JobEvents(t.Context(), tx, result.Job.ID, 0, 10)
	require.NoError(t, err)
	require.Len(t, events, 3)
	require.Equal(t, "scaling", *events[0].Message)
	require.Equal(t, "whole", *events[2].Message)
	client, err := jobs.NewClient(nil, nil)
	require.NoError(t, err)
	kept, err := client.JobGetTx(t.Context(), tx, result.Job.ID)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, kept.State)
}

func TestWorkCommitsNothing(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	workerstest.Work(t, tx, bundleOf(func(ctx context.Context, _ *river.Job[thumbArgs]) error {
		workers.Logger(ctx).InfoContext(ctx, "hello")
		return nil
	}), thumbArgs{}, nil)
	require.NoError(t, tx.Rollback(t.Context()))
	for _, table := range []string{"river_job", "job_history", "job_event", "counter_delta"} {
		var n int
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM towpath.`+table).Scan(&n))
		require.Zero(t, n, table)
	}
}

func TestWorkReturnsHowItEnded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		work    work
		options []workers.Option
		state   rivertype.JobState
		event   river.EventKind
		err     string
	}{
		"failure": {
			func(context.Context, *river.Job[thumbArgs]) error { return errors.New("no disk") },
			[]workers.Option{workers.WithBackoff(jobs.Backoff{First: time.Hour})},
			rivertype.JobStateRetryable, river.EventKindJobFailed, "no disk",
		},
		"permanent": {
			func(context.Context, *river.Job[thumbArgs]) error { return workers.Permanent(errors.New("no image")) },
			nil, rivertype.JobStateDiscarded, river.EventKindJobFailed, "no image",
		},
		"the kind's RetryIf": {
			func(context.Context, *river.Job[thumbArgs]) error { return errors.New("no image") },
			[]workers.Option{workers.WithRetryIf(func(error) bool { return false })},
			rivertype.JobStateDiscarded, river.EventKindJobFailed, "no image",
		},
		"panic": {
			func(context.Context, *river.Job[thumbArgs]) error { panic("oh") },
			[]workers.Option{workers.WithMaxAttempts(1)},
			rivertype.JobStateDiscarded, river.EventKindJobFailed, "oh",
		},
		"cancelled": {
			func(context.Context, *river.Job[thumbArgs]) error { return river.JobCancel(errors.New("no use")) },
			nil, rivertype.JobStateCancelled, river.EventKindJobCancelled, "",
		},
		"snoozed": {
			func(context.Context, *river.Job[thumbArgs]) error { return river.JobSnooze(time.Hour) },
			nil, rivertype.JobStateScheduled, river.EventKindJobSnoozed, "",
		},
		"soft limit": {
			func(ctx context.Context, _ *river.Job[thumbArgs]) error {
				<-workers.SoftLimit(ctx)
				return workers.Permanent(errors.New("gave up in time"))
			},
			[]workers.Option{workers.WithSoftLimit(time.Millisecond)},
			rivertype.JobStateDiscarded, river.EventKindJobFailed, "gave up in time",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result := workerstest.Work(t, testdb.Tx(t), bundleOf(test.work, test.options...), thumbArgs{}, nil)
			require.Equal(t, test.state, result.Job.State)
			require.Equal(t, test.event, result.Event)
			if test.err == "" {
				require.NoError(t, result.Err)
			} else {
				require.ErrorContains(t, result.Err, test.err)
			}
			var panicked *rivertest.PanicError
			require.Equal(t, name == "panic", errors.As(result.Err, &panicked))
		})
	}
}

func TestHandlersMayInsertAndCompleteInTheTransaction(t *testing.T) {
	t.Parallel()
	tx := withTable(t)
	result := workerstest.Work(t, tx, bundleOf(func(ctx context.Context, job *river.Job[thumbArgs]) error {
		return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
			_, err := river.ClientFromContext[pgx.Tx](ctx).InsertTx(ctx, tx, nextArgs{}, nil)
			return err
		})
	}), thumbArgs{}, nil)
	require.NoError(t, result.Err)
	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
	jobstest.RequireInserted(t, tx, nextArgs{}, nil)
}

func TestTooLargeArgsAreRefusedHereToo(t *testing.T) {
	t.Parallel()
	failure := fails(t, func(t testing.TB) {
		workerstest.Work(t, testdb.Tx(t), bundleOf(nothing), thumbArgs{Image: string(make([]byte, 100_000))}, nil)
	})
	require.Contains(t, failure, "args too large")
}

func nothing(context.Context, *river.Job[thumbArgs]) error { return nil }

func TestBundleMustKnowTheJob(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	require.Contains(t, fails(t, func(t testing.TB) { workerstest.Work(t, tx, bundleOf(nothing), nextArgs{}, nil) }),
		`work a job of kind "workerstest_next": the bundle has no worker for type workerstest_test.nextArgs`)
	require.Contains(t, fails(t, func(t testing.TB) { workerstest.Work(t, tx, bundleOf(nothing), impostorArgs{}, nil) }),
		`the bundle has no worker for type workerstest_test.impostorArgs`)
}

func TestTwice(t *testing.T) {
	t.Parallel()
	snapshot := workerstest.Query(`SELECT image, size FROM thumb ORDER BY image, size`)
	insertOrUpdate := func(ctx context.Context, job *river.Job[thumbArgs]) error {
		return effect(ctx, `WITH gone AS (DELETE FROM thumb WHERE image = $1) INSERT INTO thumb VALUES ($1, 64)`, job.Args.Image)
	}
	for name, test := range map[string]struct {
		work     work
		snapshot workerstest.Snapshot
		runs     int
		failure  []string
	}{
		"idempotent": {insertOrUpdate, snapshot, 2, nil},
		"not idempotent": {
			func(ctx context.Context, job *river.Job[thumbArgs]) error {
				return effect(ctx, `INSERT INTO thumb VALUES ($1, 64)`, job.Args.Image)
			},
			snapshot, 2,
			[]string{
				`job of kind "workerstest_thumb" is not idempotent`, "after the first run:  [cat | 64]\n", "after the second run: [cat | 64 cat | 64]",
			},
		},
		"keyed by its attempt": {
			func(ctx context.Context, job *river.Job[thumbArgs]) error {
				return effect(ctx, `INSERT INTO thumb VALUES ($1, $2)`, job.Args.Image, job.Attempt)
			},
			snapshot, 2,
			[]string{"not idempotent", "[cat | 1 cat | 2]"},
		},
		"exactly once": {
			func(ctx context.Context, job *river.Job[thumbArgs]) error {
				return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
					_, err := tx.Exec(ctx, `INSERT INTO thumb VALUES ($1, 64)`, job.Args.Image)
					return err
				})
			},
			snapshot, 1, nil,
		},
		"fails at once": {
			func(context.Context, *river.Job[thumbArgs]) error { return errors.New("no disk") },
			snapshot, 1,
			[]string{"run 1: no disk"},
		},
		"fails the second time": {
			func(_ context.Context, job *river.Job[thumbArgs]) error {
				if job.Attempt == 2 {
					return errors.New("it is there already")
				}
				return nil
			},
			snapshot, 2,
			[]string{"run 2: it is there already"},
		},
		"snapshot fails": {
			nothing, func(context.Context, pgx.Tx) (any, error) { return nil, errors.New("no view") }, 1,
			[]string{"take a snapshot: no view"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx := withTable(t)
			runs := 0
			counted := func(ctx context.Context, job *river.Job[thumbArgs]) error {
				runs++
				return test.work(ctx, job)
			}
			failure := fails(t, func(t testing.TB) {
				result := workerstest.Twice(t, tx, bundleOf(counted), thumbArgs{Image: "cat"}, nil, test.snapshot)
				if test.failure == nil {
					require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
				}
			})
			require.Equal(t, test.runs, runs)
			if test.failure == nil {
				require.Empty(t, failure)
			}
			for _, want := range test.failure {
				require.Contains(t, failure, want)
			}
		})
	}
}

// fakeT notes a failure instead of failing.
type fakeT struct {
	testing.TB
	failure string
}

func (t *fakeT) Helper()                        {}
func (t *fakeT) Errorf(format string, a ...any) { t.failure += fmt.Sprintf(format, a...) }

func (t *fakeT) FailNow() { panic(t) }

func (t *fakeT) Fatal(a ...any) {
	t.failure += fmt.Sprint(a...)
	t.FailNow()
}

func (t *fakeT) Fatalf(format string, a ...any) {
	t.Errorf(format, a...)
	t.FailNow()
}

// fails runs something that may fail a test and returns how it did.
func fails(t *testing.T, run func(t testing.TB)) string {
	t.Helper()
	fake := &fakeT{TB: t}
	func() {
		defer func() {
			if thrown := recover(); thrown != nil && thrown != any(fake) {
				panic(thrown)
			}
		}()
		run(fake)
	}()
	return fake.failure
}
