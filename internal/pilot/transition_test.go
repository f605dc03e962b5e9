package pilot_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

func (a *actor) cancel(ctx context.Context, id int64) (*rivertype.JobRow, error) {
	return a.pilot.JobCancel(ctx, a.exec, &riverdriver.JobCancelParams{
		ID: id, CancelAttemptedAt: time.Now(), ControlTopic: "river_control", Schema: a.schema,
	})
}

func (a *actor) retry(ctx context.Context, id int64) (*rivertype.JobRow, error) {
	return a.pilot.JobRetry(ctx, a.exec, &riverdriver.JobRetryParams{ID: id, Schema: a.schema})
}

func (a *actor) remove(ctx context.Context, id int64) (*rivertype.JobRow, error) {
	return a.pilot.(*pilot.Pilot).JobDelete(ctx, a.exec, &riverdriver.JobDeleteParams{ID: id, Schema: a.schema})
}

func (a *actor) update(ctx context.Context, exec riverdriver.Executor, id int64, metadata string) (*rivertype.JobRow, error) {
	return exec.JobUpdate(ctx, &riverdriver.JobUpdateParams{ID: id, MetadataDoMerge: true, Metadata: []byte(metadata), Schema: a.schema})
}

// waitingJobs inserts a job in each state in which it waits.
func waitingJobs(t *testing.T, a *actor) map[rivertype.JobState]int64 {
	t.Helper()
	failedOnce := a.insertOne(t)
	a.fetchOne(t)
	a.end(t, failed(failedOnce, time.Now().Add(time.Hour)))
	return map[rivertype.JobState]int64{
		rivertype.JobStateRetryable: failedOnce,
		rivertype.JobStateAvailable: a.insertOne(t),
		rivertype.JobStateScheduled: a.insertOne(t, scheduled(time.Now().Add(time.Hour))),
		rivertype.JobStatePending:   a.insertOne(t, func(j *riverdriver.JobInsertFastParams) { j.State = rivertype.JobStatePending }),
	}
}

func TestCancelWaiting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	for state, id := range waitingJobs(t, a) {
		row, err := a.cancel(t.Context(), id)
		require.NoError(t, err, state)
		require.Equal(t, rivertype.JobStateCancelled, row.State)
		require.Contains(t, string(row.Metadata), "cancel_attempted_at")
		r.requireIn(t, "history", rivertype.JobStateCancelled, id)
		require.Equal(t, row, r.get(t, id))
		again, err := a.cancel(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, row, again, "a finished job is returned as it is")
	}
	held := a.insertOne(t, unique("held", 0b11110111)) // even when cancelled
	_, err := a.cancel(t.Context(), held)
	require.NoError(t, err)
	r.requireIn(t, "live", rivertype.JobStateCancelled, held)
	again, err := a.cancel(t.Context(), held)
	require.NoError(t, err)
	require.Equal(t, r.get(t, held), again)
	require.Equal(t, map[string]int{"started": 1, "retried": 1, "cancelled_waiting": 5}, r.counters(t, "default"))

	_, err = a.cancel(t.Context(), held+1000)
	require.ErrorIs(t, err, rivertype.ErrNotFound)
}

// TestCancelRunning: whatever would bring the job back ends it; what ends it anyway stays what it is.
func TestCancelRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	for name, c := range map[string]struct {
		ending func(int64) *setState
		state  rivertype.JobState
	}{
		"retry":     {func(id int64) *setState { return failed(id, time.Now().Add(time.Hour)) }, rivertype.JobStateCancelled},
		"retry now": {func(id int64) *setState { return failedAvailable(id, time.Now()) }, rivertype.JobStateCancelled},
		"snooze": {func(id int64) *setState {
			return riverdriver.JobSetStateSnoozed(id, time.Now().Add(time.Hour), 0, []byte(`{"snoozes": 1}`))
		}, rivertype.JobStateCancelled},
		"hand back": {func(id int64) *setState { return riverdriver.JobSetStateInterrupted(id, time.Now(), 0, nil) }, rivertype.JobStateCancelled},
		"completed": {completed, rivertype.JobStateCompleted},
		"discarded": {discarded, rivertype.JobStateDiscarded},
	} {
		id := a.insertOne(t)
		was := a.fetchOne(t)
		row, err := a.cancel(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateRunning, row.State)
		require.Contains(t, string(row.Metadata), "cancel_attempted_at")
		row = a.end(t, c.ending(id))
		require.Equal(t, c.state, row.State, name)
		require.Equal(t, 1, row.Attempt, name)
		require.Equal(t, was.ScheduledAt, row.ScheduledAt, name)
		require.NotNil(t, row.FinalizedAt)
		r.requireIn(t, "history", c.state, id)
	}
	require.Equal(t, map[string]int{"started": 6, "cancelled": 4, "completed": 1, "discarded": 1}, r.counters(t, "default"))
}

func TestRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	for state, id := range waitingJobs(t, a) {
		row, err := a.retry(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateAvailable, row.State, state)
		require.LessOrEqual(t, time.Since(row.ScheduledAt), soon)
	}
	a.fetch(t, 10)
	for _, row := range a.list(t, "state = 'running'") {
		same, err := a.retry(t.Context(), row.ID)
		require.NoError(t, err)
		require.Equal(t, row, same, "a running job is left alone")
		a.end(t, completed(row.ID))
	}

	last := a.insertOne(t, maxAttempts(1))
	a.fetchOne(t)
	_, err := a.cancel(t.Context(), last)
	require.NoError(t, err)
	ended := a.end(t, discarded(last))
	row, err := a.retry(t.Context(), last)
	require.NoError(t, err)
	r.requireIn(t, "live", rivertype.JobStateAvailable, last)
	require.Equal(t, 2, row.MaxAttempts, "one more than were used")
	require.Nil(t, row.FinalizedAt)
	require.NotContains(t, string(row.Metadata), "cancel_attempted_at", "or the next attempt would be cancelled")
	require.Equal(t, ended.Errors, row.Errors)
	require.Equal(t, ended.CreatedAt, row.CreatedAt)
	require.Equal(t, last, a.fetchOne(t).ID)
	require.Equal(t, rivertype.JobStateRetryable, a.end(t, failed(last, time.Now().Add(time.Hour))).State)

	held := a.insertOne(t, unique("held", evenFinished))
	a.fetchOne(t)
	a.end(t, completed(held))
	r.requireIn(t, "live", rivertype.JobStateCompleted, held)
	_, err = a.retry(t.Context(), held)
	require.NoError(t, err)
	r.requireIn(t, "live", rivertype.JobStateAvailable, held)
	require.Equal(t, 2, r.counters(t, "default")["revived"])

	_, err = a.retry(t.Context(), held+1000)
	require.ErrorIs(t, err, rivertype.ErrNotFound)
}

// TestRetryOfATakenKey: a unique key that another job holds by now keeps the finished one where it is, with River's error.
func TestRetryOfATakenKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	first := a.insertOne(t, unique("key", whileUnfinished))
	a.fetchOne(t)
	a.end(t, completed(first))
	second := a.insertOne(t, unique("key", whileUnfinished))
	require.NotEqual(t, first, second)
	_, err := a.retry(t.Context(), first)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "23505", pgErr.Code)
	require.Equal(t, "river_job_unique_idx", pgErr.ConstraintName)
	r.requireIn(t, "history", rivertype.JobStateCompleted, first)
	require.Zero(t, r.counters(t, "default")["revived"])
	_, err = a.remove(t.Context(), second)
	require.NoError(t, err)
	_, err = a.retry(t.Context(), first)
	require.NoError(t, err)
}

func TestDelete(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	for state, id := range waitingJobs(t, a) {
		want := r.get(t, id)
		row, err := a.remove(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, row, state)
		require.Equal(t, "nowhere", r.place(t, id))
	}
	require.Equal(t, 4, r.counters(t, "default")["deleted"])

	id := a.insertOne(t)
	a.fetchOne(t)
	_, err := a.remove(t.Context(), id)
	require.ErrorIs(t, err, rivertype.ErrJobRunning)
	a.end(t, completed(id))
	row, err := a.remove(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, row.State)
	_, err = a.remove(t.Context(), id)
	require.ErrorIs(t, err, rivertype.ErrNotFound)

	id = a.insertOne(t, unique("held", evenFinished))
	a.fetchOne(t)
	a.end(t, completed(id))
	_, err = a.remove(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 4, r.counters(t, "default")["deleted"], "finished jobs were counted when they finished")
}

// TestUpdateIsFenced: a handler writes to its job's metadata while the attempt is its own, and no longer.
func TestUpdateIsFenced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	elsewhere := rigOn(r.pool) // another process
	b := elsewhere.actor(t, "b")
	id := a.insertOne(t)
	a.fetchOne(t)

	row, err := a.update(t.Context(), a.exec, id, `{"step": 1}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"step": 1}`, string(row.Metadata))
	_, err = b.update(t.Context(), b.exec, id, `{"note": "from outside"}`)
	require.NoError(t, err, "who holds nothing may write")

	refused := func(when string) {
		t.Helper()
		before := r.get(t, id)
		_, err := a.update(t.Context(), a.exec, id, `{"step": 2}`)
		require.ErrorIs(t, err, pilot.ErrAttemptOver, when)
		require.ErrorIs(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := a.update(t.Context(), r.driver.UnwrapExecutor(tx), id, `{"step": 2}`)
			return err
		}), pilot.ErrAttemptOver, when)
		require.Equal(t, before, r.get(t, id), when)
	}
	r.takeAway(t, id, true)
	refused("while it waits")
	b.fetchOne(t)
	refused("while another works it")
	b.end(t, completed(id))
	refused("after another ended it")

	again := a.insertOne(t)
	a.fetchOne(t)
	a.finish(t, failedAvailable(again, time.Now().Add(time.Hour)))
	_, err = a.update(t.Context(), a.exec, again, `{"note": "between two attempts"}`)
	require.NoError(t, err, "a handler that has returned is no stale one")
	a.freeSlot(again)

	own := a.insertOne(t)
	a.fetchOne(t)
	require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := a.finishTx(t.Context(), tx, completed(own))
		return err
	}))
	row, err = a.update(t.Context(), a.exec, own, `{"after": true}`)
	require.NoError(t, err, "after its own end")
	require.JSONEq(t, `{"after": true}`, string(row.Metadata))
	row, err = b.exec.JobUpdate(t.Context(), &riverdriver.JobUpdateParams{ID: own, Schema: schema})
	require.NoError(t, err, "an update of nothing")
	require.JSONEq(t, `{"after": true}`, string(row.Metadata))
	_, err = b.update(t.Context(), b.exec, own+1000, `{}`)
	require.ErrorIs(t, err, rivertype.ErrNotFound)
}

// list lists jobs by a condition, in the order of their ids.
func (a *actor) list(t failer, where string) []*rivertype.JobRow {
	t.Helper()
	rows, err := a.exec.JobList(t.Context(), &riverdriver.JobListParams{Max: 10_000, OrderByClause: "id", WhereClause: where, Schema: a.schema})
	require.NoError(t, err)
	return rows
}

// TestChangesMeet runs the same change of one job from many sides at once: each finds the job, wherever it is by then.
func TestChangesMeet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	const sides, rounds = 6, 15
	for range rounds {
		id := a.insertOne(t)
		a.fetchOne(t)
		a.end(t, completed(id))
		atOnce(t, sides, func(int) error {
			_, err := a.retry(t.Context(), id)
			return err
		})
		require.Equal(t, rivertype.JobStateAvailable, r.get(t, id).State)

		// Some revive while others cancel: each sees either the one or the other.
		_, err := a.cancel(t.Context(), id)
		require.NoError(t, err)
		atOnce(t, sides, func(side int) error {
			if side%2 == 0 {
				_, err := a.retry(t.Context(), id)
				return err
			}
			row, err := a.cancel(t.Context(), id)
			if err == nil && row.State != rivertype.JobStateCancelled {
				return errors.New("cancelled in name only")
			}
			return err
		})
		var deleted sync.Map
		atOnce(t, sides, func(side int) error {
			_, err := a.remove(t.Context(), id)
			if errors.Is(err, rivertype.ErrNotFound) {
				return nil
			}
			deleted.Store(side, true)
			return err
		})
		n := 0
		deleted.Range(func(any, any) bool { n++; return true })
		require.Equal(t, 1, n, "deleted once")
	}
	counts := r.counters(t, "default")
	require.Equal(t, counts["revived"]+rounds, counts["completed"]+counts["cancelled_waiting"]+counts["deleted"])
}

// atOnce runs a function from so many sides at once and requires that none fails.
func atOnce(t *testing.T, sides int, do func(side int) error) {
	t.Helper()
	errs := make([]error, sides)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for side := range sides {
		wg.Go(func() {
			<-start
			errs[side] = do(side)
		})
	}
	close(start)
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
}

// TestListAndDeleteManyOverBothTables sees live and finished jobs as one.
func TestListAndDeleteManyOverBothTables(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	all := a.insert(t, jobs(6)...)
	a.fetch(t, 4)
	a.finish(t, completed(all[0]), discarded(all[1]), cancelled(all[2]))
	require.Equal(t, all, ids(a.list(t, "true")))
	require.Equal(t, []int64{all[0], all[4], all[5]}, ids(a.list(t, "state IN ('completed', 'available')")))

	page, err := a.exec.JobList(t.Context(), &riverdriver.JobListParams{
		Max: 2, NamedArgs: map[string]any{"kinds": []string{"proof"}}, OrderByClause: "finalized_at DESC NULLS LAST, id DESC",
		WhereClause: "kind = any(@kinds) AND state <> 'running' AND metadata @> '{}'", Schema: schema,
	})
	require.NoError(t, err)
	require.Equal(t, []int64{all[2], all[1]}, ids(page))

	many, err := a.exec.JobGetByIDMany(t.Context(), &riverdriver.JobGetByIDManyParams{ID: []int64{all[5], all[0], all[5] + 99}, Schema: schema})
	require.NoError(t, err)
	require.Equal(t, []int64{all[0], all[5]}, ids(many))
	kinds, err := a.exec.JobGetByKindMany(t.Context(), &riverdriver.JobGetByKindManyParams{Kind: []string{"proof"}, Schema: schema})
	require.NoError(t, err)
	require.Equal(t, all, ids(kinds))
	counts, err := a.exec.JobCountByAllStates(t.Context(), &riverdriver.JobCountByAllStatesParams{Schema: schema})
	require.NoError(t, err)
	require.Equal(t, map[rivertype.JobState]int{
		"available": 2, "cancelled": 1, "completed": 1, "discarded": 1, "running": 1, "pending": 0, "retryable": 0, "scheduled": 0,
	}, counts)
	n, err := a.exec.JobCountByState(t.Context(), &riverdriver.JobCountByStateParams{State: rivertype.JobStateDiscarded, Schema: schema})
	require.NoError(t, err)
	require.Equal(t, 1, n)

	gone := a.deleteMany(t, 3, "id DESC", "true")
	require.Equal(t, []int64{all[5], all[4], all[2]}, ids(gone), "the running one is passed over")
	require.Equal(t, 2, r.counters(t, "default")["deleted"])
	gone = a.deleteMany(t, 10, "id", "state = 'discarded'")
	require.Equal(t, []int64{all[1]}, ids(gone))
	require.Empty(t, a.deleteMany(t, 10, "id", "state = 'discarded'"))
}

func (a *actor) deleteMany(t failer, limit int32, order, where string) []*rivertype.JobRow {
	t.Helper()
	rows, err := a.pilot.(*pilot.Pilot).JobDeleteMany(t.Context(), a.exec, &riverdriver.JobDeleteManyParams{
		Max: limit, OrderByClause: order, WhereClause: where, Schema: a.schema,
	})
	require.NoError(t, err)
	return rows
}

// TestDeleteManyOfWhatChanged: a job that is no longer what was to be deleted when its turn comes is not deleted.
func TestDeleteManyOfWhatChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	all := a.insert(t, jobs(4)...)
	a.fetch(t, 4)
	for _, id := range all[:3] {
		a.end(t, discarded(id))
	}
	a.end(t, failed(all[3], time.Now().Add(time.Hour)))
	slow := r.interrupted(func(ctx context.Context, sql string) {
		if strings.Contains(sql, "DELETE") {
			_, err := a.retry(ctx, all[1])
			require.NoError(t, err)
			r.run(t, `UPDATE towpath.river_job SET state = 'running', attempted_at = now() WHERE id = $1`, all[3])
		}
	})
	require.Equal(t, []int64{all[0], all[2]}, ids((&actor{pilot: a.pilot, exec: slow, schema: schema}).deleteMany(t, 100, "id", "state IN ('discarded', 'retryable')")))
	r.requireIn(t, "live", rivertype.JobStateAvailable, all[1])
}

// TestChangeMissesTheMove: between two statements of a change the job goes the other way.
func TestChangeMissesTheMove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insertOne(t)
	_, err := a.cancel(t.Context(), id)
	require.NoError(t, err)
	once := func(marker string, do func()) *actor {
		var done sync.Once
		return &actor{pilot: a.pilot, schema: schema, exec: r.interrupted(func(_ context.Context, sql string) {
			if strings.Contains(sql, marker) {
				done.Do(do)
			}
		})}
	}
	row, err := once("INSERT INTO \"towpath\".river_job", func() {
		_, err := a.retry(t.Context(), id)
		require.NoError(t, err)
	}).retry(t.Context(), id)
	require.NoError(t, err, "somebody else revived it meanwhile")
	require.Equal(t, rivertype.JobStateAvailable, row.State)

	_, err = a.cancel(t.Context(), id)
	require.NoError(t, err)
	row, err = once("LIMIT 1", func() {
		_, err := a.retry(t.Context(), id)
		require.NoError(t, err)
	}).cancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, row.State, "a job that came back meanwhile is cancelled all the same")
	r.requireIn(t, "history", rivertype.JobStateCancelled, id)
}
