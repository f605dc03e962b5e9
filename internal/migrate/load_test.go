package migrate_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/testdb"
)

// longest remembers how long the slowest of many calls took.
type longest struct{ atomic.Int64 }

func (l *longest) note(d time.Duration) {
	for {
		before := l.Load()
		if int64(d) <= before || l.CompareAndSwap(before, int64(d)) {
			return
		}
	}
}

// A queue that is in use goes on while its schema is migrated: inserts and work, with River's own client.
func TestUpDoesNotStopTheQueue(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	riverUp(t, pool, "towpath", 0)
	exec(t, pool, strings.ReplaceAll(insertJobs, "%s", "towpath")) // of a kind that nobody works
	worker := &countWorker{worked: make(chan int)}
	config := riverConfig(t, worker)
	config.Schema, config.FetchOnlyKnownKinds = "towpath", true
	config.FetchCooldown, config.FetchPollInterval = 5*time.Millisecond, 50*time.Millisecond
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	require.NoError(t, err)
	require.NoError(t, client.Start(t.Context()))

	ctx, cancel := context.WithCancel(t.Context())
	var (
		producers sync.WaitGroup
		slowest   longest
		failed    = make(chan error, 10)
	)
	for range 3 {
		producers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				start := time.Now()
				if _, err := client.Insert(ctx, countArgs{N: n}, nil); err != nil && ctx.Err() == nil {
					failed <- err
					return
				}
				slowest.note(time.Since(start))
			}
		})
	}
	work := func(n int) {
		for range n {
			select {
			case <-worker.worked:
			case err := <-failed:
				require.NoError(t, err)
			case <-time.After(testLimit):
				require.Fail(t, "the queue stands still")
			}
		}
	}
	work(50)

	m, lines := newMigrator(t, pool)
	migrated := make(chan error, 1)
	go func() { migrated <- m.Up(ctx) }()
	for done := false; !done; {
		select {
		case err := <-migrated:
			require.NoError(t, err)
			done = true
		default:
			work(1)
		}
	}
	requireCurrent(t, m)
	require.NotZero(t, reported(lines(), "built index towpath_job_available_idx"))
	work(50)
	cancel()
	go func() {
		for range worker.worked {
			continue // the last jobs are to end
		}
	}()
	producers.Wait()
	stop(t, client)
	close(worker.worked)
	require.Less(t, time.Duration(slowest.Load()), 3*migrate.LockTimeout, "no insert waited long")
}

// While a long transaction keeps a migration from its lock, those who come later do not wait behind the migration.
func TestUpMakesWay(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	exec(t, pool, `CREATE TABLE public.busy (id bigint)`)
	reader, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer reader.Rollback(context.Background())
	_, err = reader.Exec(t.Context(), `SELECT FROM public.busy`) // keeps ACCESS SHARE to its end
	require.NoError(t, err)

	m, lines := newMigrator(t, pool, migrate.WithApp(files("001_alter.up.sql", "ALTER TABLE public.busy ADD COLUMN more text")))
	migrated := make(chan error, 1)
	go func() { migrated <- m.Up(t.Context()) }()

	require.Eventually(t, func() bool {
		return scan[int](t, pool, `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
			WHERE datname = current_database() AND relation = 'public.busy'::regclass AND NOT granted`) > 0
	}, testLimit, 5*time.Millisecond, "the migration waits for its lock")
	writing, cancel := context.WithTimeout(t.Context(), 5*migrate.LockTimeout)
	defer cancel()
	_, err = pool.Exec(writing, `INSERT INTO public.busy (id) VALUES (1)`)
	require.NoError(t, err, "a writer does not wait for the reader's end")

	require.Eventually(t, func() bool { return reported(lines(), "a table is in use; trying again") > 0 }, testLimit, 10*time.Millisecond)
	require.NoError(t, reader.Rollback(t.Context()))
	require.NoError(t, <-migrated)
	requireCurrent(t, m)
}

// One who waits for another's migration says so and takes over.
func TestUpWaitsForAnother(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	holder, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer holder.Rollback(context.Background())
	_, err = holder.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtextextended('towpath migrate', 0))`)
	require.NoError(t, err)

	m, lines := newMigrator(t, pool)
	migrated := make(chan error, 1)
	go func() { migrated <- m.Up(t.Context()) }()
	require.Eventually(t, func() bool { return reported(lines(), "waiting for another process that migrates") == 1 }, testLimit, 10*time.Millisecond)
	select {
	case err := <-migrated:
		require.Fail(t, "it did not wait", "%v", err)
	default:
	}
	require.NoError(t, holder.Rollback(t.Context()))
	require.NoError(t, <-migrated)
	requireCurrent(t, m)

	_, err = pool.Exec(t.Context(), `SELECT 1`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, m.Down(ctx, migrate.DownOptions{Line: "towpath"}), context.Canceled)
}
