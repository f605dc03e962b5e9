package pilot_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

// TestStaleAttemptOnPool covers the completer: an attempt that was taken away finishes nothing, whatever it wants to
// write, whether or not its number was used again.
func TestStaleAttemptOnPool(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	endings := map[string]func(id int64) *setState{
		"completed":               completed,
		"completed with metadata": func(id int64) *setState { return completedWith(id, `{"stale": true}`) },
		"failed":                  func(id int64) *setState { return failed(id, time.Now().Add(time.Hour)) },
		"discarded":               discarded,
		"cancelled":               cancelled,
		"snoozed": func(id int64) *setState {
			return riverdriver.JobSetStateSnoozed(id, time.Now().Add(time.Hour), 0, []byte(`{"snoozes": 1}`))
		},
	}
	for name, ending := range endings {
		for used, title := range map[bool]string{true: "attempt used", false: "attempt handed back"} {
			t.Run(name+"/"+title, func(t *testing.T) {
				first, second, third, current := r.actor(t, "first"), r.actor(t, "second"), r.actor(t, "third"), r.actor(t, "current")
				id := first.insertOne(t)
				writesNothing := func(stale *actor) {
					t.Helper()
					before := r.get(t, id)
					require.Empty(t, stale.finish(t, ending(id)))
					require.Equal(t, before, r.get(t, id))
				}

				// While nobody has it.
				first.fetchOne(t)
				r.takeAway(t, id, used)
				writesNothing(first)

				// While another works it.
				old := second.fetchOne(t)
				r.takeAway(t, id, used)
				row := current.fetchOne(t)
				require.Equal(t, used, row.Attempt != old.Attempt)
				writesNothing(second)

				// After another ended its attempt, and then the job.
				current.end(t, failed(id, time.Now().Add(time.Hour)))
				writesNothing(second)
				r.run(t, `UPDATE towpath.river_job SET state = 'available', scheduled_at = now() WHERE id = $1`, id)
				third.fetchOne(t)
				r.takeAway(t, id, used)
				current.fetchOne(t)
				current.end(t, completed(id))
				writesNothing(third)
				r.requireIn(t, "history", rivertype.JobStateCompleted, id)
			})
		}
	}
}

// TestStaleAttemptInTx covers JobCompleteTx: the stale attempt gets an error and what its handler wrote rolls back.
func TestStaleAttemptInTx(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.run(t, `CREATE TABLE towpath.effect (job_id bigint)`)
	stale, current := r.actor(t, "stale"), r.actor(t, "current")
	id := stale.insertOne(t)
	stale.fetchOne(t)
	work := func(a *actor) error {
		return pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `INSERT INTO towpath.effect VALUES ($1)`, id); err != nil {
				return err
			}
			_, err := a.finishTx(t.Context(), tx, completed(id))
			return err
		})
	}
	effects := func() (n int) {
		r.queryRow(t, `SELECT count(*) FROM towpath.effect`)(&n)
		return n
	}

	r.takeAway(t, id, false)
	require.ErrorIs(t, work(stale), pilot.ErrAttemptOver)
	require.Zero(t, effects())

	row := current.fetchOne(t)
	require.Equal(t, 1, row.Attempt, "handed back, the attempt comes again with its number")
	require.ErrorIs(t, work(stale), pilot.ErrAttemptOver)
	require.Zero(t, effects())

	require.NoError(t, work(current))
	require.Equal(t, 1, effects())
	require.ErrorIs(t, work(stale), pilot.ErrAttemptOver)
	require.Equal(t, 1, effects())
	require.ErrorIs(t, work(current), pilot.ErrAttemptOver, "a second time for the same attempt")
	require.Equal(t, 1, effects())
}

// TestUnheldFinish covers callers that never fetched, such as River's test helpers: River's behaviour holds.
func TestUnheldFinish(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fetcher, other := r.actor(t, "fetcher"), r.actor(t, "other")
	id := fetcher.insertOne(t)
	fetcher.fetchOne(t)
	rows := other.finish(t, completedWith(id, `{"by": "other"}`))
	require.Len(t, rows, 1)
	require.Equal(t, rivertype.JobStateCompleted, rows[0].State)
	r.requireIn(t, "history", rivertype.JobStateCompleted, id)

	require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		rows, err := other.finishTx(t.Context(), tx, completedWith(id, `{"again": 1}`))
		require.Len(t, rows, 1)
		require.JSONEq(t, `{"by": "other", "again": 1}`, string(rows[0].Metadata))
		return err
	}))
	require.Empty(t, other.finish(t, completed(id+1000)), "a job that does not exist")
}

// TestFinishAnswersAgain: each finish is answered with the rows that it asks for and no others, since River's completer
// panics over one that it does not know; and again when it comes again, with what became of the attempt.
func TestFinishAnswersAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	all := a.insert(t, jobs(8)...)
	a.fetch(t, 8)
	rows := a.finish(t, completed(all[0]), completedWith(all[1], `{"x": 1}`), failed(all[2], time.Now()), discarded(all[3]))
	require.ElementsMatch(t, all[:4], ids(rows))
	rows = a.finish(t, completed(all[0]), completedWith(all[1], `{"x": 1}`), failed(all[2], time.Now()), discarded(all[3]), completed(all[4]))
	require.ElementsMatch(t, all[:5], ids(rows))
	for _, row := range rows {
		require.Equal(t, row.ID == all[2], row.State == rivertype.JobStateRetryable, "as its attempt left it")
	}
}

// TestFinishAgain: the answer to a finish may be lost, and the completer tries again.
func TestFinishAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	for name, ending := range map[string]*setState{
		"completed": completed(a.insertOne(t)), "completed with metadata": completedWith(a.insertOne(t), `{"out": [1]}`),
		"discarded": discarded(a.insertOne(t)), "cancelled": cancelled(a.insertOne(t)),
	} {
		a.fetch(t, 10)
		first := a.finish(t, ending)
		require.Len(t, first, 1, name)
		second := a.finish(t, ending)
		require.Len(t, second, 1, name)
		require.Equal(t, first[0].State, second[0].State, name)
		require.Equal(t, first[0].Errors, second[0].Errors, name)
		require.Equal(t, second[0], r.get(t, ending.ID), name)
		a.freeSlot(ending.ID)
	}
	require.Zero(t, pilot.HeldCount(a.pilot))
	counts := r.counters(t, "default")
	require.Equal(t, map[string]int{"started": 4, "completed": 2, "discarded": 1, "cancelled": 1}, counts)
}

// TestHeldTwice: a client that still works an earlier attempt of a job does not get it again.
func TestHeldTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	busy, other := r.actor(t, "busy"), r.actor(t, "other")
	id := busy.insertOne(t)
	first := busy.fetchOne(t)
	r.takeAway(t, id, false)
	fresh := busy.insertOne(t)

	rows := busy.fetch(t, 10)
	require.Equal(t, []int64{fresh}, ids(rows), "the one it holds is handed back, the other one comes")
	row := r.get(t, id)
	require.Equal(t, rivertype.JobStateAvailable, row.State)
	require.Equal(t, first.Attempt-1, row.Attempt, "no attempt is used up")
	require.Empty(t, busy.fetch(t, 10), "and for a moment nobody gets it")
	var wait float64
	r.queryRow(t, `SELECT extract(epoch FROM scheduled_at - now())::float8 FROM towpath.river_job WHERE id = $1`, id)(&wait)
	require.InDelta(t, 0.5, wait, 0.6)

	r.run(t, `UPDATE towpath.river_job SET scheduled_at = now() WHERE id = $1`, id)
	require.Equal(t, []int64{id}, ids(other.fetch(t, 10)))
	require.Empty(t, busy.finish(t, completed(id)), "the earlier attempt is over")
	busy.freeSlot(id)
	other.end(t, completed(id))
	busy.end(t, completed(fresh))
	require.Zero(t, pilot.HeldCount(busy.pilot))
	require.Equal(t, map[string]int{"started": 4, "interrupted": 1, "completed": 2}, r.countersBut(t, "default", 1))
}

// countersBut is counters where takeAway took so many running jobs away uncounted.
func (r *rig) countersBut(t failer, queue string, taken int) map[string]int {
	t.Helper()
	counts := r.counters(t, queue)
	ends := 0
	for _, event := range []string{"completed", "retried", "snoozed", "interrupted", "cancelled", "discarded"} {
		ends += counts[event]
	}
	var running int
	r.queryRow(t, `SELECT count(*) FROM towpath.river_job WHERE queue = $1 AND state = 'running'`, queue)(&running)
	require.Equal(t, counts["started"]-taken-ends, running)
	return counts
}

// TestHeldTwiceThatCannotGoBack: when handing back does not succeed, the other jobs of the fetch are worked all the same.
func TestHeldTwiceThatCannotGoBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insertOne(t)
	a.fetchOne(t)
	r.takeAway(t, id, false)
	fresh := a.insertOne(t)
	r.run(t, `CREATE FUNCTION towpath.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$`)
	r.run(t, `CREATE TRIGGER refuse BEFORE UPDATE ON towpath.river_job FOR EACH ROW WHEN (OLD.state = 'running') EXECUTE FUNCTION towpath.refuse()`)
	require.Equal(t, []int64{fresh}, ids(a.fetch(t, 10)))
}

// TestHandBackGoesByTheDatabasesClock: a job that nobody holds is due at once, whatever time its client thinks it is.
func TestHandBackGoesByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, other := r.actor(t, "a"), r.actor(t, "other")
	a.insertOne(t)
	row := a.fetchOne(t)
	require.NoError(t, pilot.HandBack(t.Context(), r.exec, schema, row))
	require.Equal(t, *row.AttemptedAt, r.get(t, row.ID).ScheduledAt)
	require.Equal(t, 1, other.fetchOne(t).Attempt)
}

// TestEndAttempt: an attempt that is ended while its handler runs is over for that handler.
func TestEndAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, other := r.actor(t, "a"), r.actor(t, "other")
	id := a.insertOne(t)
	row := a.fetchOne(t)
	own := a.pilot.(*pilot.Pilot)
	ended, err := own.EndAttempt(t.Context(), r.exec, schema, row.AttemptedAt.Add(-time.Second), failedAvailable(id, time.Now()))
	require.NoError(t, err)
	require.False(t, ended, "of another fetch")
	ended, err = own.EndAttempt(t.Context(), r.exec, schema, *row.AttemptedAt, failedAvailable(id, time.Now().Add(-time.Second)))
	require.NoError(t, err)
	require.True(t, ended)

	next := other.fetchOne(t)
	require.Equal(t, 2, next.Attempt)
	require.ErrorIs(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := a.finishTx(t.Context(), tx, completed(id))
		return err
	}), pilot.ErrAttemptOver)
	require.Equal(t, 1, pilot.HeldCount(a.pilot), "held until the handler has returned")
	require.Empty(t, a.finish(t, completedWith(id, `{"late": true}`)))
	a.freeSlot(id)
	require.Zero(t, pilot.HeldCount(a.pilot))
	other.end(t, completed(id))
	require.JSONEq(t, `{}`, string(r.get(t, id).Metadata))
}
