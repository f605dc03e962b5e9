package migrations_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// happened appends a lifecycle event, as the pilot's statements do.
func happened(t *testing.T, db querier, event string, n int) {
	t.Helper()
	exec(t, db, `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'mail.send', $1, 0, $2)`, event, n)
}

const lifecycleOfMail = `SELECT received, started, succeeded, failed, retried, snoozed, interrupted, cancelled, discarded, revived, deleted, finished
	FROM towpath.lifecycle WHERE queue = 'default' AND kind = 'mail.send'`

func TestLifecycleAddsUp(t *testing.T) {
	t.Parallel()
	tx := testdb.Pool(t) // of its own: the size of the table matters

	require.Empty(t, rows(t, tx, `SELECT * FROM towpath.lifecycle`))
	exec(t, tx, `INSERT INTO towpath.known_kind (kind, queue) VALUES ('mail.send', 'default')`)
	require.Equal(t, "0|0|0|0|0|0|0|0|0|0|0|0", row(t, tx, lifecycleOfMail), "a known kind counts from zero")

	for event, n := range map[string]int{
		"started": 100, "completed": 50, "retried": 20, "snoozed": 10, "interrupted": 5, "cancelled": 4, "discarded": 3,
		"cancelled_waiting": 2, "discarded_waiting": 1, "deleted": 6, "revived": 7,
	} {
		happened(t, tx, event, n)
	}
	for _, state := range []string{"available", "scheduled", "retryable", "pending", "running"} {
		put(t, tx, state)
	}
	put(t, tx, "completed", "unique_key", `'\x01'::bytea`) // finished and still in the live table
	// received = 50 + 4 + 3 + 2 + 1 + 6 - 7 + 5 unfinished
	want := "64|100|50|23|20|10|5|6|4|7|6|92"
	require.Equal(t, want, row(t, tx, lifecycleOfMail))
	exec(t, tx, `INSERT INTO towpath.counter SELECT queue, kind, event, bucket, sum(n), 0 FROM towpath.counter_delta GROUP BY 1, 2, 3, 4`)
	exec(t, tx, `DELETE FROM towpath.counter_delta`)
	require.Equal(t, want, row(t, tx, lifecycleOfMail), "folded or not")
}

// Where counting would take long, received is what it was at the last count, and never falls.
func TestReceivedOfALargeTable(t *testing.T) {
	t.Parallel()
	tx := testdb.Pool(t) // of its own: the size of the table matters

	put(t, tx, "available")
	happened(t, tx, "completed", 2)
	require.True(t, one[bool](t, tx, `SELECT towpath.refresh_queue_depth()`))
	require.Equal(t, 3, one[int](t, tx, `SELECT n FROM towpath.received WHERE queue = 'default' AND kind = 'mail.send'`))
	exec(t, tx, `INSERT INTO towpath.river_job (args, kind, max_attempts, state)
		SELECT jsonb_build_object('pad', repeat(md5(n::text), 30)), 'mail.send', 25, 'available' FROM generate_series(1, 10000) n`)
	require.Greater(t, one[int](t, tx, `SELECT pg_relation_size('towpath.river_job')`), 8<<20)
	require.Equal(t, 3, one[int](t, tx, `SELECT received FROM towpath.lifecycle`))

	exec(t, tx, `UPDATE towpath.queue_depth SET took = '0'`) // as if the last count had cost nothing
	require.True(t, one[bool](t, tx, `SELECT towpath.refresh_queue_depth()`))
	require.Equal(t, 10_003, one[int](t, tx, `SELECT received FROM towpath.lifecycle`))
	exec(t, tx, `DELETE FROM towpath.river_job`) // by somebody who counts nothing
	exec(t, tx, `UPDATE towpath.queue_depth SET took = '0'`)
	require.True(t, one[bool](t, tx, `SELECT towpath.refresh_queue_depth()`))
	require.Equal(t, 10_003, one[int](t, tx, `SELECT received FROM towpath.lifecycle`))
}

func TestLease(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	take := func(holder string) bool {
		return one[bool](t, tx, `SELECT towpath.take_lease('metrics', $1, '2 minutes')`, holder)
	}
	require.True(t, take("a"))
	require.True(t, take("a"))
	require.False(t, take("b"), "it is a's")
	lead(t, tx, "c")
	require.True(t, take("c"), "the leader gets it at once")
	require.False(t, take("a"))
	exec(t, tx, `UPDATE towpath.river_leader SET expires_at = now() - interval '1 second'`)
	require.True(t, take("c"), "until it expires")
	require.False(t, take("b"))
	exec(t, tx, `UPDATE towpath.lease SET expires_at = now()`)
	require.True(t, take("b"))
	exec(t, tx, `UPDATE towpath.lease SET expires_at = now() + interval '1 minute'`)
	require.True(t, take("b"))
	require.True(t, one[bool](t, tx, `SELECT expires_at = now() + interval '2 minutes' FROM towpath.lease`), "renewed when a fourth has passed")
}

// Of many that come at once one gets it.
func TestLeaseIsOnes(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	for range 20 {
		exec(t, pool, `TRUNCATE towpath.lease`)
		var (
			all sync.WaitGroup
			got = make([]bool, 8)
		)
		for i := range got {
			all.Go(func() {
				if err := pool.QueryRow(t.Context(), `SELECT towpath.take_lease('metrics', 'p' || $1::int, '2 minutes')`, i).Scan(&got[i]); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		holders := 0
		for _, has := range got {
			if has {
				holders++
			}
		}
		require.Equal(t, 1, holders)
	}
}
