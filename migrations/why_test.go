package migrations_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// reasons is the answer of why, with the times cut out: reason, explanation, then what else is to be known.
func reasons(t *testing.T, db querier, id int64) []string {
	t.Helper()
	answer := rows(t, db, `SELECT state, reason, regexp_replace(explanation, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d', 'T', 'g') FROM towpath.why($1)`, id)
	require.Len(t, answer, 1, "one row, whatever the number")
	also := all[string](t, db, `SELECT regexp_replace(a, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+\d\d', 'T', 'g') FROM unnest((SELECT also FROM towpath.why($1))) a`, id)
	return append(answer, also...)
}

func TestWhyNotRunning(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	worked := func(t *testing.T, tx pgx.Tx) {
		process(t, tx, "a", `{"default": 2}`, "mail.send")
		lead(t, tx, "a")
	}
	inLine := "it is in line since T with priority 1"
	first := "no job of the queue is ahead of it"
	tests := []struct {
		name  string
		given func(t *testing.T, tx pgx.Tx) int64
		want  []string
	}{
		{"Scheduled", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			return put(t, tx, "scheduled", "scheduled_at", "now() + interval '90 minutes'")
		}, []string{"scheduled|scheduled|it is scheduled for T, in 01:30:00"}},
		{"Retry", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			return put(t, tx, "retryable", "scheduled_at", "now() + interval '5 minutes'", "attempt", "3",
				"errors", `ARRAY['{"error": "old"}'::jsonb, '{"error": "connection refused\nat line 5"}'::jsonb]`)
		}, []string{"retryable|retry|attempt 3 of 25 failed; the next one is at T, in 00:05:00. The error: connection refused"}},
		{"Pending", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			return put(t, tx, "pending")
		}, []string{"pending|pending|it is pending: whatever enqueued it has to release it"}},
		{"Due", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			return put(t, tx, "scheduled")
		}, []string{"scheduled|due|it is due, and the leader makes it available within a few seconds"}},
		{
			"DueWithoutLeader", func(t *testing.T, tx pgx.Tx) int64 { return put(t, tx, "retryable") },
			[]string{"retryable|no_leader|it is due, but there is no leader to make it available: no process that works a queue is alive", "no live process works queue default"},
		},
		{"UniqueKeyHeld", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			put(t, tx, "available", "id", "100", "unique_key", heldKey, "unique_states", "B'11110101'")
			return put(t, tx, "retryable", "scheduled_at", "now() + interval '5 minutes'", "unique_key", heldKey, "unique_states", "B'11010101'")
		}, []string{
			"retryable|retry|attempt 1 of 25 failed; the next one is at T, in 00:05:00",
			"job 100 holds its unique key; it will be discarded when it is due, unless that one is gone by then",
		}},
		{"Paused", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			exec(t, tx, `INSERT INTO towpath.river_queue (name) VALUES ('default')`)
			exec(t, tx, `SET LOCAL towpath.actor = 'alice'`)
			exec(t, tx, `SELECT * FROM towpath.pause_queue('default', 'too hot')`)
			return put(t, tx, "available")
		}, []string{"available|paused|queue default is paused since T by alice: too hot", inLine, first}},
		{"PausedByRiver", func(t *testing.T, tx pgx.Tx) int64 {
			exec(t, tx, `INSERT INTO towpath.river_queue (name, paused_at) VALUES ('default', now())`)
			return put(t, tx, "available")
		}, []string{"available|paused|queue default is paused since T", "no live process works queue default", inLine, first}},
		{"NoProcess", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			exec(t, tx, `UPDATE towpath.process SET beat_at = now() - interval '31 seconds'`)
			return put(t, tx, "available")
		}, []string{"available|no_process|no live process works queue default", inLine, first}},
		{"OtherQueuesOnly", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			return put(t, tx, "available", "queue", "'mail'")
		}, []string{"available|no_process|no live process works queue mail", inLine, first}},
		{"UnknownKind", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			process(t, tx, "b", `{"mail": 2}`, "other.kind")
			return put(t, tx, "available", "kind", "'other.kind'")
		}, []string{"available|unknown_kind|no live process that works queue default has a worker for kind other.kind", inLine, first}},
		{"Busy", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			put(t, tx, "running")
			put(t, tx, "running", "kind", "'other.kind'")
			put(t, tx, "available", "priority", "1", "scheduled_at", "now() - interval '3 hours'")
			return put(t, tx, "available")
		}, []string{"available|busy|all 2 slots of queue default are busy", inLine, "1 job of the queue is ahead of it"}},
		{"SlotsUnknown", func(t *testing.T, tx pgx.Tx) int64 {
			process(t, tx, "a", `{"default": 0}`, "mail.send")
			put(t, tx, "running")
			return put(t, tx, "available")
		}, []string{"available|in_line|" + inLine, first}},
		{"InLine", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			put(t, tx, "available", "scheduled_at", "now() - interval '3 hours'")
			put(t, tx, "available", "scheduled_at", "now() - interval '3 hours'")
			put(t, tx, "available", "priority", "2", "scheduled_at", "now() - interval '4 hours'")
			return put(t, tx, "available")
		}, []string{"available|in_line|" + inLine, "2 jobs of the queue are ahead of it"}},
		{"Running", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			return put(t, tx, "running", "attempted_at", "now()", "attempted_by", "ARRAY['a']", "metadata", `'{"cancel_attempted_at": "x"}'`)
		}, []string{"running|running|it is running since T, attempt 1 of 25, on host host-of-a (pid 42)", "its worker was told to stop"}},
		{"RunningElsewhere", func(t *testing.T, tx pgx.Tx) int64 {
			return put(t, tx, "running", "attempted_at", "now()", "attempted_by", "ARRAY['plain-river']")
		}, []string{"running|running|it is running since T, attempt 1 of 25, by client plain-river"}},
		{"OwnerLost", func(t *testing.T, tx pgx.Tx) int64 {
			worked(t, tx)
			exec(t, tx, `UPDATE towpath.process SET dead_at = now()`)
			return put(t, tx, "running", "attempted_at", "now()", "attempted_by", "ARRAY['a']")
		}, []string{"running|owner_lost|it is running since T, attempt 1 of 25, on host host-of-a (pid 42), which gives no sign of life; the job comes back within half a minute"}},
		{"Finished", func(t *testing.T, tx pgx.Tx) int64 {
			return put(t, tx, "discarded", "attempt", "25", "errors", `ARRAY['{"error": "refused"}'::jsonb]`)
		}, []string{"discarded|finished|it was discarded at T after 25 of 25 attempts. The last error: refused"}},
		{"CancelledEarly", func(t *testing.T, tx pgx.Tx) int64 {
			return put(t, tx, "cancelled", "attempt", "0")
		}, []string{"cancelled|finished|it was cancelled at T without an attempt"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			savepoint(t, tx, func(tx pgx.Tx) {
				id := test.given(t, tx)
				require.Equal(t, test.want, reasons(t, tx, id))

				// The view says the same of all jobs that wait.
				listed := rows(t, tx, `SELECT state, reason FROM towpath.waiting WHERE id = $1`, id)
				if state, _, _ := strings.Cut(test.want[0], "|"); state == "running" || strings.Contains(test.want[0], "|finished|") {
					require.Empty(t, listed)
				} else {
					require.Len(t, listed, 1)
					require.True(t, strings.HasPrefix(test.want[0], listed[0]+"|"), listed[0])
				}
			})
		})
	}
}

func TestWhyNotThere(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	gone := enqueue(t, pool, map[string]any{"kind": "mail.send"}).ID
	exec(t, pool, `SELECT * FROM towpath.delete_job($1)`, gone)
	nowhere := "not_found|there is no such job: the transaction that enqueued it has not committed yet or was rolled back, the job was deleted, or its history is past its time"
	require.Equal(t, []string{nowhere, "no open transaction has written to the queue"}, reasons(t, pool, gone))

	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	pending := enqueue(t, tx, map[string]any{"kind": "mail.send"}).ID
	require.Equal(t, []string{nowhere, "1 open transaction has written to the queue"}, reasons(t, pool, pending))
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, []string{
		fmt.Sprintf("not_found|there is no such job; the highest number so far is %d", pending), "no open transaction has written to the queue",
	}, reasons(t, pool, pending+1))
}
