package pilot_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

// take inserts a job and fetches it, in a schema that the driver knows by then.
func (a *actor) take(t *testing.T, change ...func(*riverdriver.JobInsertFastParams)) *rivertype.JobRow {
	t.Helper()
	id := a.insertOne(t, change...)
	row := a.fetchOne(t)
	require.Equal(t, rivertype.JobStateRunning, a.rig.get(t, id).State)
	return row
}

// failPromptly hands over the end of an attempt that has failed for good, and returns when it was tried to be written.
func (a *actor) failPromptly(t *testing.T, id int64, state rivertype.JobState, metadata string) {
	t.Helper()
	var raw []byte
	if metadata != "" {
		raw = []byte(metadata)
	}
	p := a.pilot.(*pilot.Pilot) //nolint:forcetypeassert // of our driver
	p.FailPromptly(a.schema, id, state, rivertype.AttemptError{Attempt: 1, Error: "promptly", Trace: "here"}, raw)
	require.NoError(t, pilot.Tried(t.Context(), a.pilot, a.schema))
}

// A failure is written once: River's completer, which comes with the same end in other words, gets what was written.
func TestFailPromptly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, state := range []rivertype.JobState{rivertype.JobStateDiscarded, rivertype.JobStateCancelled} {
		for metadata, merged := range map[string]string{"": `{}`, `{"output": 3}`: `{"output": 3}`} {
			a := r.actor(t, "a")
			id := a.take(t).ID
			before := r.counters(t, "default")
			a.failPromptly(t, id, state, metadata)
			r.requireIn(t, "history", state, id)
			row := r.get(t, id)
			require.JSONEq(t, merged, string(row.Metadata))
			require.Len(t, row.Errors, 1)
			require.Equal(t, "promptly", row.Errors[0].Error)
			require.Equal(t, "here", row.Errors[0].Trace)
			require.Equal(t, 1, row.Errors[0].Attempt)
			require.False(t, row.Errors[0].At.After(*row.FinalizedAt))

			late := discarded(id)
			if state == rivertype.JobStateCancelled {
				late = cancelled(id)
			}
			answered := a.end(t, late)
			require.Equal(t, state, answered.State)
			require.Equal(t, row.FinalizedAt.UTC(), answered.FinalizedAt.UTC())
			require.Equal(t, row.Errors, answered.Errors)
			require.JSONEq(t, merged, string(answered.Metadata))
			require.Equal(t, row, r.get(t, id))
			after := r.counters(t, "default")
			require.Equal(t, before[string(state)]+1, after[string(state)])
			require.Zero(t, pilot.HeldCount(a.pilot))
		}
	}
}

// A row that its unique key holds stays where the key is.
func TestFailPromptlyKeepsUniqueRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.take(t, unique("key", 0xff)).ID
	a.failPromptly(t, id, rivertype.JobStateDiscarded, "")
	r.requireIn(t, "live", rivertype.JobStateDiscarded, id)
	require.Equal(t, "promptly", a.end(t, discarded(id)).Errors[0].Error)
	require.Equal(t, 1, r.counters(t, "default")["discarded"])
}

// An attempt whose job was taken from it writes nothing, ahead of River's completer or with it.
func TestFailPromptlyOfAStaleAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, meanwhile := range map[string]func(t *testing.T, a *actor, row *rivertype.JobRow){
		"rescued":     func(t *testing.T, _ *actor, row *rivertype.JobRow) { t.Helper(); r.takeAway(t, row.ID, true) },
		"handed back": func(t *testing.T, _ *actor, row *rivertype.JobRow) { t.Helper(); r.takeAway(t, row.ID, false) },
		"worked by another": func(t *testing.T, _ *actor, row *rivertype.JobRow) {
			t.Helper()
			r.takeAway(t, row.ID, false)
			r.actor(t, "other").fetchOne(t)
		},
		"completed by another": func(t *testing.T, _ *actor, row *rivertype.JobRow) {
			t.Helper()
			r.takeAway(t, row.ID, true)
			other := r.actor(t, "other")
			other.fetchOne(t)
			other.end(t, completed(row.ID))
		},
		"cancelled": func(t *testing.T, _ *actor, row *rivertype.JobRow) {
			t.Helper()
			r.takeAway(t, row.ID, true)
			_, err := r.exec.JobCancel(t.Context(), &riverdriver.JobCancelParams{
				ID: row.ID, CancelAttemptedAt: time.Now(), ControlTopic: "river_control", Schema: schema,
			})
			require.NoError(t, err)
		},
		"stuck": func(t *testing.T, a *actor, row *rivertype.JobRow) {
			t.Helper()
			p := a.pilot.(*pilot.Pilot) //nolint:forcetypeassert // of our driver
			ended, err := p.EndAttempt(t.Context(), a.exec, schema, *row.AttemptedAt, failed(row.ID, time.Now().Add(time.Hour)))
			require.NoError(t, err)
			require.True(t, ended)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.actor(t, "a")
			row := a.take(t)
			id := row.ID
			meanwhile(t, a, row)
			before, counters := r.get(t, id), r.counters(t, "default")
			a.failPromptly(t, id, rivertype.JobStateDiscarded, `{"stale": true}`)
			require.Equal(t, before, r.get(t, id))
			for _, answered := range a.finish(t, discarded(id)) { // what was cancelled while nobody had it is nobody else's end
				require.Equal(t, rivertype.JobStateCancelled, answered.State)
			}
			a.freeSlot(id)
			require.Equal(t, before, r.get(t, id))
			require.Equal(t, counters, r.counters(t, "default"))
			require.Zero(t, pilot.HeldCount(a.pilot))
			r.run(t, `DELETE FROM towpath.river_job`)
		})
	}
}

// What the handler's transaction has ended, or has not, is known once River's completer asks.
func TestFailPromptlyAfterATransaction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, end := range []error{nil, errRollBack} {
		a := r.actor(t, "a")
		id := a.take(t).ID
		require.ErrorIs(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := a.finishTx(t.Context(), tx, completed(id))
			require.NoError(t, err)
			return end
		}), end)
		before := r.get(t, id)
		a.failPromptly(t, id, rivertype.JobStateDiscarded, "")
		require.Equal(t, before, r.get(t, id))
		want := rivertype.JobStateCompleted
		if end != nil {
			want = rivertype.JobStateDiscarded
		}
		require.Equal(t, want, a.end(t, discarded(id)).State)
		require.Equal(t, 1, r.counters(t, "default")[string(want)])
	}
}

// While many jobs end, and when the database refuses, it is left to River's completer.
func TestFailPromptlyLeavesItToRiver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hinder, mend func(t *testing.T, r *rig, a *actor)
	}{
		"busy": {
			func(t *testing.T, _ *rig, a *actor) { t.Helper(); pilot.SetBusy(a.pilot, true) },
			func(t *testing.T, _ *rig, a *actor) { t.Helper(); pilot.SetBusy(a.pilot, false) },
		},
		"failing": {
			func(t *testing.T, r *rig, _ *actor) {
				t.Helper()
				r.run(t, `ALTER TABLE towpath.counter_delta RENAME TO away`)
			},
			func(t *testing.T, r *rig, _ *actor) {
				t.Helper()
				r.run(t, `ALTER TABLE towpath.away RENAME TO counter_delta`)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			a := r.actor(t, "a")
			id := a.take(t).ID
			test.hinder(t, r, a)
			a.failPromptly(t, id, rivertype.JobStateDiscarded, "")
			r.requireIn(t, "live", rivertype.JobStateRunning, id)
			test.mend(t, r, a)
			require.Equal(t, "for the last time", a.end(t, discarded(id)).Errors[0].Error)
			r.requireIn(t, "history", rivertype.JobStateDiscarded, id)
			require.Len(t, r.get(t, id).Errors, 1)
			require.Equal(t, map[string]int{"started": 1, "discarded": 1}, r.counters(t, "default"))
			require.Zero(t, pilot.HeldCount(a.pilot))
		})
	}
}

// A job may be retried as soon as its end is seen. The client that River's completer has not asked yet leaves it alone until
// then, and not for longer.
func TestRetryOfAPromptFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, other := r.actor(t, "a"), r.actor(t, "other")
	id := a.take(t).ID
	a.failPromptly(t, id, rivertype.JobStateDiscarded, "")
	_, err := r.exec.JobRetry(t.Context(), &riverdriver.JobRetryParams{ID: id, Schema: schema})
	require.NoError(t, err)
	require.Empty(t, a.fetch(t, 1))
	row := r.get(t, id)
	require.Equal(t, rivertype.JobStateAvailable, row.State)
	require.Equal(t, 300*time.Millisecond, row.ScheduledAt.Sub(*row.AttemptedAt))

	require.Equal(t, rivertype.JobStateDiscarded, a.end(t, discarded(id)).State, "the event is of the attempt that ended")
	r.requireIn(t, "live", rivertype.JobStateAvailable, id)
	require.Zero(t, pilot.HeldCount(a.pilot))
	r.run(t, `UPDATE towpath.river_job SET scheduled_at = now()`)
	require.Equal(t, 2, a.fetchOne(t).Attempt)
	a.end(t, completed(id))
	require.Empty(t, other.fetch(t, 1))
	require.Len(t, r.get(t, id).Errors, 1)
	require.Equal(t, map[string]int{
		"started": 3, "interrupted": 1, "discarded": 1, "revived": 1, "completed": 1,
	}, r.counters(t, "default"))
}

// The moment of a failure is the attempt's begin by this process's clock, as with River.
func TestFailPromptlySaysWhen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.take(t).ID
	begun := time.Now().Add(-time.Minute)
	pilot.BegunAt(a.pilot, id, begun)
	a.failPromptly(t, id, rivertype.JobStateDiscarded, "")
	var raw string
	r.queryRow(t, `SELECT errors[1]::text FROM towpath.job_history WHERE id = $1`, id)(&raw)
	var stored rivertype.AttemptError
	require.NoError(t, json.Unmarshal([]byte(raw), &stored))
	require.True(t, stored.At.Equal(begun))
	var ran float64
	r.queryRow(t, `SELECT sum(seconds) FROM towpath.counter_delta WHERE event = 'discarded'`)(&ran)
	require.GreaterOrEqual(t, ran, 60.0)
}
