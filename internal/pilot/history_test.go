package pilot_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/uniquestates"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

// TestEveryColumnSurvives sends a row that has something in each column through every way into history.
func TestEveryColumnSurvives(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "worker-7")
	due := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	for name, ending := range map[string]func(id int64) *setState{
		"completed": completed, "completed with metadata": func(id int64) *setState { return completedWith(id, `{}`) },
		"discarded": discarded, "cancelled": cancelled,
	} {
		id := a.insert(t, &riverdriver.JobInsertFastParams{
			EncodedArgs: []byte(`{"b": 2.50, "a": "<&>é\u2028"}`), Kind: "full", MaxAttempts: 7, Metadata: []byte(`{"k": {"deep": [1, null]}}`),
			Priority: 3, Queue: "default", ScheduledAt: &due, State: rivertype.JobStateAvailable, Tags: []string{"one", "two-x"},
			UniqueKey: []byte("\x00key\xff" + name), UniqueStates: whileUnfinished,
		})[0]
		a.fetchOne(t)
		a.end(t, failedAvailable(id, due))
		a.fetchOne(t)
		columns := func(table string) (row string) {
			r.queryRow(t, `SELECT to_jsonb(j) - 'state' - 'finalized_at' - 'errors' - 'archived_at' FROM towpath.`+table+` j WHERE id = $1`, id)(&row)
			return row
		}
		before, was := columns("river_job"), r.get(t, id)
		ended := a.end(t, ending(id))
		require.Equal(t, before, columns("job_history"), name)

		row := r.get(t, id)
		require.NotNil(t, row.FinalizedAt, name)
		require.Equal(t, was.Errors[0], row.Errors[0], name)
		require.Equal(t, 2, row.Attempt)
		require.Equal(t, []string{"worker-7", "worker-7"}, row.AttemptedBy)
		require.Equal(t, uniquestates.UniqueBitmaskToStates(whileUnfinished), row.UniqueStates)
		require.Equal(t, row, ended, "%s: the row of the event is the row of the table", name)
		want := *was
		want.State, want.FinalizedAt, want.Errors = row.State, row.FinalizedAt, row.Errors
		require.Equal(t, &want, row, name)
	}
}

// TestEventRowIsTheTablesRow: a hook may rewrite the arguments in memory, to decrypt them for example; the event of the
// job's end must not show that.
func TestEventRowIsTheTablesRow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insertOne(t)
	row := a.fetchOne(t)
	row.EncodedArgs = []byte(`{"secret": "in the clear"}`)
	require.JSONEq(t, `{"n": 1}`, string(a.end(t, completed(id)).EncodedArgs))
}

// TestUniqueKeyIsHeld: a row whose unique key is to be held in its final state stays where the unique index is.
func TestUniqueKeyIsHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	cases := []struct {
		states byte
		ending func(int64) *setState
		place  string
	}{
		{evenFinished, completed, "live"},
		{evenFinished, discarded, "history"},
		{evenFinished, cancelled, "history"},
		{whileUnfinished, completed, "history"},
		{0b11111101, discarded, "live"},
		{0b11110111, cancelled, "live"},
	}
	for i, c := range cases {
		key := fmt.Sprintf("key %d", i)
		id := a.insertOne(t, unique(key, c.states))
		a.fetchOne(t)
		a.end(t, c.ending(id))
		require.Equal(t, c.place, r.place(t, id), "case %d", i)
		again := a.insertOne(t, unique(key, c.states))
		require.Equal(t, c.place == "live", again == id, "case %d: the key is held", i)
		r.run(t, `DELETE FROM towpath.river_job`)
	}
	require.Equal(t, map[string]int{"started": 6, "completed": 2, "discarded": 2, "cancelled": 2}, r.counters(t, "default"))
}

// TestCompleteTxThenReport: after JobCompleteTx River's executor reports the end once more, with what the handler wanted
// recorded; the answer makes the event.
func TestCompleteTxThenReport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	for _, states := range []byte{0, evenFinished} {
		id := a.insertOne(t, unique("key", states))
		a.fetchOne(t)
		require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			rows, err := a.finishTx(t.Context(), tx, completedWith(id, `{"early": 1}`))
			require.Len(t, rows, 1)
			require.Equal(t, rivertype.JobStateCompleted, rows[0].State)
			return err
		}))
		row := a.end(t, completedWith(id, `{"river:log": [], "output": {"sum": 3}}`))
		require.Equal(t, rivertype.JobStateCompleted, row.State)
		require.JSONEq(t, `{"early": 1, "river:log": [], "output": {"sum": 3}}`, string(row.Metadata))
		require.Equal(t, row, r.get(t, id))

		// And after an error that the handler returned too late.
		id = a.insertOne(t)
		a.fetchOne(t)
		require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := a.finishTx(t.Context(), tx, completed(id))
			return err
		}))
		row = a.end(t, failed(id, time.Now()))
		require.Equal(t, rivertype.JobStateCompleted, row.State)
		require.Empty(t, row.Errors)
	}
	require.Zero(t, pilot.HeldCount(a.pilot))
	require.Equal(t, map[string]int{"started": 4, "completed": 4}, r.counters(t, "default"))
}

// TestCompleteTxInOldTx: a transaction that was begun before the fetch ends the job all the same, and the report finds it.
func TestCompleteTxInOldTx(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insertOne(t)
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT now()`).Scan(new(time.Time)))
	a.fetchOne(t)
	_, err = a.finishTx(t.Context(), tx, completed(id))
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, rivertype.JobStateCompleted, a.end(t, completedWith(id, `{"output": 1}`)).State)
	require.JSONEq(t, `{"output": 1}`, string(r.get(t, id).Metadata))
}

// TestCompleteTxRolledBack: what a handler's transaction did not commit did not happen, and the attempt ends otherwise.
func TestCompleteTxRolledBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insertOne(t)
	a.fetchOne(t)
	boom := errors.New("boom")
	complete := func(end error) error {
		return pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := a.finishTx(t.Context(), tx, completed(id))
			require.NoError(t, err)
			return end
		})
	}
	require.ErrorIs(t, complete(boom), boom)
	r.requireIn(t, "live", rivertype.JobStateRunning, id)
	require.Equal(t, rivertype.JobStateRetryable, a.end(t, failed(id, time.Now().Add(-time.Second))).State)
	require.Equal(t, map[string]int{"started": 1, "retried": 1}, r.counters(t, "default"))

	r.run(t, `UPDATE towpath.river_job SET state = 'available'`)
	a.fetchOne(t)
	require.ErrorIs(t, complete(boom), boom)
	require.NoError(t, complete(nil), "the second try of the same attempt")
	a.end(t, completed(id))
	r.requireIn(t, "history", rivertype.JobStateCompleted, id)
	require.Zero(t, pilot.HeldCount(a.pilot))
	require.Equal(t, map[string]int{"started": 2, "retried": 1, "completed": 1}, r.counters(t, "default"))
}

// TestPoisonedReport: what Postgres cannot store may come after the end of the job, too.
func TestPoisonedReport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insert(t, jobs(3)...)
	a.fetch(t, 3)
	require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := a.finishTx(t.Context(), tx, completed(id[0]), completed(id[1]), completed(id[2]))
		return err
	}))
	require.Len(t, a.finish(t, completedWith(id[0], `{"output": "a\u0000b"}`), completedWith(id[1], `{"fine": 1}`), completed(id[2])), 3)
	require.JSONEq(t, `{"output": "a\ufffdb"}`, string(r.get(t, id[0]).Metadata))
	require.JSONEq(t, `{"fine": 1}`, string(r.get(t, id[1]).Metadata))
	require.Len(t, a.finish(t, completedWith(id[0], `{"output": 1e400000}`), completed(id[1])), 2)
}

// TestNothingStaysHeld runs a thousand jobs of every fate through one client.
func TestNothingStaysHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	const n = 1000
	a.insert(t, jobs(n)...)
	rows := a.fetch(t, n)
	require.Len(t, rows, n)
	require.Equal(t, n, pilot.HeldCount(a.pilot))
	var params []*setState
	for i, row := range rows {
		id := row.ID
		switch i % 7 {
		case 0:
			params = append(params, completed(id))
		case 1:
			params = append(params, completedWith(id, `{"output": 1}`))
		case 2:
			params = append(params, failed(id, time.Now().Add(time.Hour)))
		case 3:
			params = append(params, discarded(id))
		case 4:
			params = append(params, handedBack(row))
		case 5:
			params = append(params, cancelled(id))
		default:
			r.run(t, `DELETE FROM towpath.river_job WHERE id = $1`, id) // behind everybody's back
			params = append(params, completed(id))
		}
		if i%2 == 0 {
			a.freeSlot(id)
		}
	}
	a.finish(t, params...)
	require.Equal(t, n/2, pilot.HeldCount(a.pilot), "those whose handlers have not returned")
	for i, row := range rows {
		if i%2 == 1 {
			a.freeSlot(row.ID)
		}
	}
	require.Zero(t, pilot.HeldCount(a.pilot))
}

// TestHistoryRefuses: when history will not take a row, the job ends in place, and later jobs move again.
func TestHistoryRefuses(t *testing.T) {
	t.Parallel()
	refusals := map[string]struct{ refuse, accept string }{
		"no partition": {
			`DO $$ DECLARE p regclass; BEGIN FOR p IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relname LIKE 'job_history_%'
				LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END $$`,
			`SELECT towpath.ensure_partitions(1)`,
		},
		"check": {
			`ALTER TABLE towpath.job_history ADD CONSTRAINT no_proof CHECK (kind <> 'proof')`,
			`ALTER TABLE towpath.job_history DROP CONSTRAINT no_proof`,
		},
		"foreign key": {
			`CREATE TABLE towpath.order_line (job_id bigint REFERENCES towpath.river_job (id));
			INSERT INTO towpath.order_line SELECT id FROM towpath.river_job;
			ALTER TABLE towpath.order_line ADD CHECK (job_id > 0)`,
			`DROP TABLE towpath.order_line`,
		},
	}
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a := r.actor(t, "a")
			id := a.insert(t, jobs(7)...)
			r.run(t, refusal.refuse)
			a.fetch(t, 5)
			rows := a.finish(t, completed(id[0]), completedWith(id[1], `{"x": 1}`), discarded(id[2]), failed(id[3], time.Now().Add(time.Hour)))
			require.Len(t, rows, 4)
			r.requireIn(t, "live", rivertype.JobStateCompleted, id[0])
			r.requireIn(t, "live", rivertype.JobStateCompleted, id[1])
			r.requireIn(t, "live", rivertype.JobStateDiscarded, id[2])
			r.requireIn(t, "live", rivertype.JobStateRetryable, id[3])
			require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
				_, err := a.finishTx(t.Context(), tx, completed(id[4]))
				return err
			}))
			r.requireIn(t, "live", rivertype.JobStateCompleted, id[4])
			require.Equal(t, map[string]int{"started": 5, "completed": 3, "discarded": 1, "retried": 1}, r.counters(t, "default"))
			require.Equal(t, r.get(t, id[1]), a.finish(t, completedWith(id[1], `{"x": 1}`))[0], "a lost answer is given again")

			// Another process meets the refusal with a cancellation, and in a transaction.
			r2 := rigOn(r.pool)
			cancelledJob, err := r2.exec.JobCancel(t.Context(), &riverdriver.JobCancelParams{ID: id[5], ControlTopic: "river_control", CancelAttemptedAt: time.Now(), Schema: schema})
			require.NoError(t, err)
			require.Equal(t, rivertype.JobStateCancelled, cancelledJob.State)
			r.requireIn(t, "live", rivertype.JobStateCancelled, id[5])

			r3 := rigOn(r.pool)
			b := r3.actor(t, "b")
			b.fetchOne(t)
			complete := func() error {
				return pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
					_, err := b.finishTx(t.Context(), tx, completed(id[6]))
					return err
				})
			}
			if err := complete(); err != nil { // the transaction is lost, its next try is not
				require.NoError(t, complete())
			}
			r.requireIn(t, "live", rivertype.JobStateCompleted, id[6])

			r.run(t, refusal.accept)
			r4 := rigOn(r.pool) // the others try again in a minute
			c := r4.actor(t, "c")
			next := c.insertOne(t)
			c.fetchOne(t)
			c.end(t, completed(next))
			r.requireIn(t, "history", rivertype.JobStateCompleted, next)
		})
	}
}

// TestPoisonedEnd: text that JSON allows and Postgres does not must not keep this job, or any other, from ending.
func TestPoisonedEnd(t *testing.T) {
	t.Parallel()
	poison := map[string]func(id int64) *setState{
		"NUL in an error": func(id int64) *setState {
			return riverdriver.JobSetStateDiscarded(id, time.Now(), []byte(`{"at":"2026-01-02T03:04:05Z","attempt":1,"error":"a\u0000b \\u0000","trace":""}`), nil)
		},
		"NUL in metadata":                 func(id int64) *setState { return completedWith(id, `{"output": "\u0000"}`) },
		"half a pair in metadata":         func(id int64) *setState { return completedWith(id, `{"output": "\ud800"}`) },
		"number out of range in metadata": func(id int64) *setState { return completedWith(id, `{"output": 1e400000}`) },
	}
	for name, ending := range poison {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a := r.actor(t, "a")
			id := a.insert(t, jobs(3)...)
			a.fetch(t, 3)
			rows := a.finish(t, ending(id[0]), failed(id[1], time.Now().Add(time.Hour)), completedWith(id[2], `{"fine": "\u00e9"}`))
			require.ElementsMatch(t, id, ids(rows))
			require.NotNil(t, r.get(t, id[0]).FinalizedAt)
			require.JSONEq(t, `{"fine": "é"}`, string(r.get(t, id[2]).Metadata))
			r.requireIn(t, "live", rivertype.JobStateRetryable, id[1])
		})
	}
}
