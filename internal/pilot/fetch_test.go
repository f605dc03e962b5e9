package pilot_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

func TestFetchOrderAndLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	past := time.Now().Add(-time.Hour)
	id := a.insert(t,
		job(priority(2), at(past)), job(priority(1), at(past.Add(time.Second))), job(priority(1), at(past)),
		job(priority(4), at(past.Add(-time.Hour))), job(priority(1), at(past)), job(at(time.Now().Add(time.Hour))),
		job(func(j *riverdriver.JobInsertFastParams) { j.Queue = "another" }),
	)
	require.Equal(t, []int64{id[2], id[4]}, ids(a.fetch(t, 2)))
	rows := a.fetch(t, 10)
	require.Equal(t, []int64{id[1], id[0], id[3]}, ids(rows))
	require.Empty(t, a.fetch(t, 10))
	require.Empty(t, a.fetch(t, 0))
	for _, row := range rows {
		require.Equal(t, rivertype.JobStateRunning, row.State)
		require.Equal(t, 1, row.Attempt)
		require.Equal(t, []string{"a"}, row.AttemptedBy)
		require.Equal(t, row, r.get(t, row.ID))
	}
}

// TestFetchersShare: fetches at once neither wait for each other nor take a job twice.
func TestFetchersShare(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	const n, fetchers = 600, 6
	a.insert(t, jobs(n)...)
	var (
		mu  sync.Mutex
		got []int64
	)
	actors := make([]*actor, fetchers)
	for i := range actors {
		actors[i] = r.actor(t, fmt.Sprintf("fetcher %d", i))
	}
	atOnce(t, fetchers, func(side int) error {
		for {
			f := actors[side]
			result, err := f.pilot.JobGetAvailable(t.Context(), f.exec, f.state, f.fetchParams(17))
			if err != nil || len(result.Jobs) == 0 {
				return err
			}
			mu.Lock()
			got = append(got, ids(result.Jobs)...)
			mu.Unlock()
		}
	})
	require.Len(t, got, n)
	slices.Sort(got)
	require.Len(t, slices.Compact(got), n)
	require.Equal(t, map[string]int{"started": n}, r.counters(t, "default"))
}

// TestFetchSkipsWhatIsLocked: somebody who looks at a row with a lock holds up nobody else.
func TestFetchSkipsWhatIsLocked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insert(t, jobs(3)...)
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), `SELECT 1 FROM towpath.river_job WHERE id = $1 FOR UPDATE`, id[0])
	require.NoError(t, err)
	require.Equal(t, id[1:], ids(a.fetch(t, 10)))
}

func TestFetchOnlyKnownKinds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insert(t, job(kind("known")), job(kind("unknown")), job(kind("known, too")))
	require.Equal(t, []int64{id[0], id[2]}, ids(a.fetch(t, 10, "known", "known, too")))
	require.Equal(t, []int64{id[1]}, ids(a.fetch(t, 10)))

	a.insertOne(t)
	params := a.fetchParams(10)
	params.Kind = []string{} // a client that knows no kind
	result, err := a.pilot.JobGetAvailable(t.Context(), a.exec, a.state, params)
	require.NoError(t, err)
	require.Empty(t, result.Jobs)
}

func TestAttemptedByIsCapped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "newest")
	id := a.insertOne(t)
	for _, former := range []int{0, 1, 98, 99, 100, 101, 250} {
		r.run(t, `UPDATE towpath.river_job SET attempted_by = nullif(ARRAY(SELECT 'former ' || n FROM generate_series(1, $1::int) n), '{}')`, former)
		row := a.fetchOne(t)
		require.Len(t, row.AttemptedBy, min(former+1, 100))
		require.Equal(t, "newest", row.AttemptedBy[len(row.AttemptedBy)-1])
		if former > 0 {
			require.Equal(t, fmt.Sprintf("former %d", former), row.AttemptedBy[len(row.AttemptedBy)-2])
		}
		a.end(t, handedBack(row))
	}
	a.fetchOne(t)
	a.end(t, completed(id))
	require.Len(t, r.get(t, id).AttemptedBy, 100, "in history, too")
}

// TestUndecodableErrors: a row whose list of errors somebody spoilt is handed to River with the reason, beside its
// neighbours, and its attempt can end.
func TestUndecodableErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	id := a.insert(t, jobs(3)...)
	r.run(t, `UPDATE towpath.river_job SET errors = ARRAY['{"error": "first"}', NULL]::jsonb[] WHERE id = $1`, id[1])
	result, err := a.pilot.JobGetAvailable(t.Context(), a.exec, a.state, a.fetchParams(10))
	require.NoError(t, err)
	require.Equal(t, id, ids(result.Jobs))
	require.Len(t, result.DecodeErrors, 1)
	require.ErrorContains(t, result.DecodeErrors[id[1]], "decode error 1 of the job")
	rows := a.finish(t, completed(id[0]), discarded(id[1]), completed(id[2]))
	require.ElementsMatch(t, id, ids(rows))
	var errors int
	r.queryRow(t, `SELECT cardinality(errors) FROM towpath.job_history WHERE id = $1`, id[1])(&errors)
	require.Equal(t, 3, errors)
}

// TestOneClientManyQueues: the marks are a queue's own, the held jobs are the client's.
func TestOneClientManyQueues(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	b := &actor{rig: r, name: a.name, queue: "other", schema: schema, pilot: a.pilot, exec: a.exec}
	b.init(t)
	first := a.insertOne(t)
	second := a.insertOne(t, func(j *riverdriver.JobInsertFastParams) { j.Queue = "other" })
	require.Equal(t, []int64{second}, ids(b.fetch(t, 10)))
	require.Equal(t, []int64{first}, ids(a.fetch(t, 10)))
	require.Len(t, a.finish(t, completed(first), completed(second)), 2)
	require.Equal(t, map[string]int{"started": 1, "completed": 1}, r.counters(t, "other"))
}

// TestCountersOfAFetchThatFails: what is not committed is not counted.
func TestCountersOfAFetchThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	a.insert(t, jobs(2)...)
	require.Error(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		result, err := r.driver.UnwrapExecutor(tx).JobGetAvailable(t.Context(), a.fetchParams(5))
		require.NoError(t, err)
		require.Len(t, result.Jobs, 2)
		return errRollBack
	}))
	require.Empty(t, r.counters(t, "default"))
	require.Len(t, a.fetch(t, 5), 2)
}

// TestWaitIsCounted: the histogram of started holds how long the jobs waited from their time on.
func TestWaitIsCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	r.run(t, `INSERT INTO towpath.river_job (args, kind, max_attempts, scheduled_at) SELECT '{}', 'proof', 5, now() - make_interval(secs => s) FROM unnest(ARRAY[100, 100, 4000]) s`)
	a.fetch(t, 10)
	rows, err := r.pool.Query(t.Context(), `SELECT bucket, n::int FROM towpath.counter_delta WHERE event = 'started' ORDER BY bucket`)
	require.NoError(t, err)
	type counted struct {
		Bucket, N int
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[counted])
	require.NoError(t, err)
	require.Equal(t, []counted{{17, 2}, {22, 1}}, got, "2^16 ms < 100 s <= 2^17 ms")
}

// TestRunIsCounted: the histograms of ends hold how long the attempts ran by the clock of their client, which need not be
// that of the database.
func TestRunIsCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	ahead := time.Now().Add(time.Hour) // what the client takes for now
	for _, ending := range []func(id int64, end time.Time) *setState{
		func(id int64, end time.Time) *setState { return riverdriver.JobSetStateCompleted(id, end, nil) },
		func(id int64, end time.Time) *setState {
			return riverdriver.JobSetStateCompleted(id, end, []byte(`{"x": 1}`))
		},
		func(id int64, end time.Time) *setState {
			return riverdriver.JobSetStateDiscarded(id, end, attemptError("no"), nil)
		},
	} {
		id := a.insertOne(t)
		a.fetchOne(t)
		pilot.BegunAt(a.pilot, id, ahead)
		a.end(t, ending(id, ahead.Add(2*time.Second)))
	}
	var least, most float64
	r.queryRow(t, `SELECT min(seconds), max(seconds) FROM towpath.counter_delta WHERE event IN ('completed', 'discarded')`)(&least, &most)
	require.InDelta(t, 2, least, 1e-6)
	require.InDelta(t, 2, most, 1e-6)
}
