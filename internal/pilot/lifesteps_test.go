package pilot_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/pilot"
)

// The steps of a life (see life_test.go) that come from outside of the workers.

func (l *life) cancel(t *rapid.T) {
	id := l.pick(t, anyJob)
	row, err := l.client(t).cancel(t.Context(), id)
	require.NoError(t, err)
	switch before := l.now[id].state; {
	case before == "running" || final(before):
		require.Equal(t, before, string(row.State))
	default:
		require.Equal(t, rivertype.JobStateCancelled, row.State)
	}
}

// taken reports whether an error says that another job has the unique key.
func taken(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "23505"
}

func (l *life) retry(t *rapid.T) {
	id := l.pick(t, anyJob)
	before := l.now[id]
	row, err := l.client(t).retry(t.Context(), id)
	switch {
	case taken(err):
		require.Equal(t, before, l.read(t)[id])
	case before.state == "running":
		require.Equal(t, rivertype.JobStateRunning, row.State)
	default:
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateAvailable, row.State)
		if final(before.state) {
			l.gone[before.state]++
		}
	}
}

func (l *life) remove(t *rapid.T) {
	id := l.pick(t, anyJob)
	_, err := l.client(t).remove(t.Context(), id)
	if l.now[id].state == "running" {
		require.ErrorIs(t, err, rivertype.ErrJobRunning)
		return
	}
	require.NoError(t, err)
	require.NotContains(t, l.read(t), id)
	if final(l.now[id].state) {
		l.gone[l.now[id].state]++
	}
}

func (l *life) removeMany(t *rapid.T) {
	state := rapid.SampledFrom([]string{"available", "completed", "cancelled", "discarded", "retryable", "running"}).Draw(t, "state")
	where := fmt.Sprintf("queue = '%s' AND state = '%s'", l.queue, state)
	for _, row := range l.client(t).deleteMany(t, 2, "id", where) {
		require.Equal(t, state, string(row.State))
		if final(state) {
			l.gone[state]++
		}
	}
}

func (l *life) schedule(t *rapid.T) {
	results, err := l.client(t).exec.JobSchedule(t.Context(), &riverdriver.JobScheduleParams{Max: 3, Schema: schema})
	if taken(err) {
		t.Skip("two of one key at once")
	}
	require.NoError(t, err)
	after := l.read(t)
	for _, result := range results {
		if s, mine := after[result.Job.ID]; mine {
			require.Equal(t, result.ConflictDiscarded, s.state == "discarded")
			require.Equal(t, string(result.Job.State), s.state)
		}
	}
}

func (l *life) rescue(t *rapid.T) {
	id := l.pick(t, func(s snapshot) bool { return s.state == "running" })
	params := &riverdriver.JobRescueManyParams{
		ID: []int64{id}, Error: [][]byte{attemptError("stuck")}, FinalizedAt: []*time.Time{nil}, ScheduledAt: []time.Time{past()},
		State: []string{"retryable"}, StuckHorizon: time.Now().Add(time.Hour), Schema: schema,
	}
	if rapid.Bool().Draw(t, "discard") {
		now := time.Now()
		params.FinalizedAt[0], params.State[0] = &now, "discarded"
	}
	a := l.client(t)
	_, err := a.pilot.(*pilot.Pilot).JobRescueMany(t.Context(), a.exec, params)
	require.NoError(t, err)
	require.Equal(t, params.State[0], l.read(t)[id].state)
}

func (l *life) update(t *rapid.T) {
	id := l.pick(t, anyJob)
	if _, err := l.client(t).update(t.Context(), l.r.exec, id, `{"note": 1}`); err != nil {
		t.Fatal(err)
	}
	x := l.holding(t)
	_, err := x.by.update(t.Context(), x.by.exec, x.id, `{"note": 2}`)
	if s, there := l.now[x.id]; there && !s.token.Equal(x.token) {
		require.ErrorIs(t, err, pilot.ErrAttemptOver)
	}
}

// keepInPlace makes a client take it that history refuses rows, or not any more.
func (l *life) keepInPlace(t *rapid.T) {
	pilot.KeepInPlace(l.client(t).pilot, rapid.Bool().Draw(t, "in place"))
}

// housekeeping changes no job's state and no sum.
func (l *life) housekeeping(t *rapid.T) {
	before := l.now
	require.NoError(t, pilot.Tidy(t.Context(), l.r.exec, schema))
	require.NoError(t, pilot.Fold(t.Context(), l.r.exec, schema))
	after := l.read(t)
	require.Len(t, after, len(before))
	for id, s := range after {
		require.Equal(t, before[id].state, s.state)
	}
}
