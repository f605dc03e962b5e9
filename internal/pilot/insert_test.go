package pilot_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

var errRollBack = errors.New("roll back")

// listen returns a function that tells what was notified since it was last called, in order.
func (r *rig) listen(t *testing.T) func() []string {
	t.Helper()
	conn, err := r.pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Release)
	_, err = conn.Exec(t.Context(), `LISTEN "towpath.river_insert"`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `LISTEN "test.done"`)
	require.NoError(t, err)
	return func() []string {
		t.Helper()
		r.run(t, `SELECT pg_notify('test.done', '')`)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		var heard []string
		for {
			n, err := conn.Conn().WaitForNotification(ctx)
			require.NoError(t, err)
			if n.Channel == "test.done" {
				return heard
			}
			heard = append(heard, n.Payload)
		}
	}
}

func inQueue(queue string) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.Queue = queue }
}

// TestInsertNotifies: each insert that brings work notifies its queues once, in River's bytes, when it commits.
func TestInsertNotifies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	heard := r.listen(t)

	a.insertOne(t)
	require.Equal(t, []string{`{"queue": "default"}`}, heard())
	a.insertOne(t)
	require.Equal(t, []string{`{"queue": "default"}`}, heard(), "the next one as well, at once")
	a.insert(t, job(), job(inQueue("second")), job(), job(inQueue("second")))
	require.ElementsMatch(t, []string{`{"queue": "default"}`, `{"queue": "second"}`}, heard(), "each queue once")
	a.insertOne(t, scheduled(time.Now().Add(time.Hour)))
	a.insertOne(t, func(j *riverdriver.JobInsertFastParams) { j.State = rivertype.JobStatePending })
	require.Empty(t, heard(), "no work yet")

	require.ErrorIs(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := a.tryInsertTx(t.Context(), tx, job())
		require.NoError(t, err)
		return errRollBack
	}), errRollBack)
	require.Empty(t, heard(), "nothing was inserted")

	// Beside River's own notification of the same queue, Postgres makes one of the two.
	require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := a.tryInsertTx(t.Context(), tx, job())
		require.NoError(t, err)
		return riverpgxv5.New(nil).UnwrapExecutor(tx).NotifyMany(t.Context(), &riverdriver.NotifyManyParams{
			Topic: "river_insert", Payload: []string{`{"queue": "default"}`}, Schema: schema,
		})
	}))
	require.Equal(t, []string{`{"queue": "default"}`}, heard())

	// What River sends after an insert is left out, since the insert did it; other topics pass.
	require.NoError(t, a.exec.NotifyMany(t.Context(), &riverdriver.NotifyManyParams{
		Topic: "river_insert", Payload: []string{`{"queue": "default"}`}, Schema: schema,
	}))
	require.Empty(t, heard())
}

// TestBellRate: past its rate the bell leaves notifications out, by queue, and recovers.
func TestBellRate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	heard := r.listen(t)
	begun := time.Now()
	const n = 120
	for range n {
		a.insertOne(t)
	}
	took := time.Since(begun)
	rung := len(heard())
	require.GreaterOrEqual(t, rung, min(n, 20), "a burst")
	require.LessOrEqual(t, rung, min(n, 20+int(100*took.Seconds())+1))
	a.insertOne(t, inQueue("quiet"))
	require.Equal(t, []string{`{"queue": "quiet"}`}, heard(), "another queue has its own bell")
	require.Eventually(t, func() bool {
		a.insertOne(t)
		return len(heard()) == 1
	}, soon, tick)
}

// TestCopyNotifies: COPY tells the queues as well, once each.
func TestCopyNotifies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	heard := r.listen(t)
	n, err := r.exec.JobInsertFastManyNoReturning(t.Context(), &riverdriver.JobInsertFastManyParams{
		Jobs: []*riverdriver.JobInsertFastParams{job(), job(inQueue("second")), job(), job(inQueue("third"), scheduled(time.Now().Add(time.Hour)))}, Schema: schema,
	})
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.ElementsMatch(t, []string{`{"queue": "default"}`, `{"queue": "second"}`}, heard())
	require.ErrorIs(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := r.driver.UnwrapExecutor(tx).JobInsertFastManyNoReturning(t.Context(), &riverdriver.JobInsertFastManyParams{Jobs: jobs(3), Schema: schema})
		require.NoError(t, err)
		return errRollBack
	}), errRollBack)
	require.Empty(t, heard())
}

// TestInsertedRow: what comes back is what is there.
func TestInsertedRow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	when := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	own := int64(4_000_000)
	params := []*riverdriver.JobInsertFastParams{
		job(),
		{
			ID: &own, CreatedAt: &when, EncodedArgs: []byte(`{"z":1,"a":[]}`), Kind: "other", MaxAttempts: 25, Metadata: []byte(`{"m":true}`), Priority: 4,
			Queue: "second", ScheduledAt: &when, State: rivertype.JobStateScheduled, Tags: []string{"a", "b-c"}, UniqueKey: []byte("k\x00"), UniqueStates: evenFinished,
		},
		job(unique("other key", 0)),
	}
	var results []*riverdriver.JobInsertFastResult
	require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) (err error) {
		results, err = a.tryInsertTx(t.Context(), tx, params...)
		return err
	}))
	require.Len(t, results, 3)
	require.Equal(t, own, results[1].Job.ID)
	for i, result := range results {
		require.False(t, result.UniqueSkippedAsDuplicate)
		row := r.get(t, result.Job.ID)
		require.JSONEq(t, string(params[i].EncodedArgs), string(row.EncodedArgs))
		require.JSONEq(t, string(result.Job.EncodedArgs), string(row.EncodedArgs))
		require.JSONEq(t, string(result.Job.Metadata), string(row.Metadata))
		result.Job.EncodedArgs, result.Job.Metadata = row.EncodedArgs, row.Metadata // jsonb spells them its own way
		require.Equal(t, row, result.Job)
	}
}

// TestInsertDuplicates: a job whose key is taken comes back as the one that has it.
func TestInsertDuplicates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	long := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) // in some zones so long ago that they were not yet whole hours away
	first := a.insertOne(t, unique("key", evenFinished), kind("first"), func(j *riverdriver.JobInsertFastParams) { j.ScheduledAt = &long })
	insert := func() []*riverdriver.JobInsertFastResult {
		var results []*riverdriver.JobInsertFastResult
		require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `SET LOCAL bytea_output = 'escape'; SET LOCAL TimeZone = 'Europe/Amsterdam'; SET LOCAL DateStyle = 'German'`)
			require.NoError(t, err)
			results, err = a.tryInsertTx(t.Context(), tx, job(), job(unique("key", evenFinished), kind("second")), job(unique("new", evenFinished)))
			return err
		}))
		require.Len(t, results, 3)
		require.False(t, results[0].UniqueSkippedAsDuplicate)
		require.True(t, results[1].UniqueSkippedAsDuplicate)
		require.Equal(t, r.get(t, first), results[1].Job)
		return results
	}
	require.False(t, insert()[2].UniqueSkippedAsDuplicate)
	a.fetch(t, 10)
	a.end(t, riverdriver.JobSetStateErrorRetryable(first, time.Now().Add(-time.Second), attemptError("o'clock"), nil))
	require.Equal(t, "o'clock", insert()[1].Job.Errors[0].Error)
	_, err := r.exec.JobSchedule(t.Context(), &riverdriver.JobScheduleParams{Max: 10, Schema: "towpath"})
	require.NoError(t, err)
	a.fetch(t, 10)
	a.end(t, completed(first))
	require.Equal(t, rivertype.JobStateCompleted, insert()[1].Job.State)
	require.True(t, insert()[2].UniqueSkippedAsDuplicate)
}

// TestInsertManyIsWhole: an error in one job is an error for all of them, and nothing is told.
func TestInsertManyIsWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	heard := r.listen(t)
	for _, bad := range []*riverdriver.JobInsertFastParams{
		job(priority(9)), job(kind("")), job(func(j *riverdriver.JobInsertFastParams) { j.EncodedArgs = []byte(`{"a": "\u0000"}`) }),
	} {
		err := pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			_, err := a.tryInsertTx(t.Context(), tx, job(), bad, job())
			return err
		})
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr)
	}
	require.Empty(t, a.list(t, "true"))
	require.Empty(t, heard())
	require.Empty(t, a.insert(t))
}

// TestClocks: the times that an insert leaves open are the database's, so that a client whose clock runs ahead does not
// keep its jobs waiting. River stamps nothing before the driver, so a client's clock shows only where it names a time.
func TestClocks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	tx, err := r.pool.Begin(t.Context()) // long before the insert
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	var begun time.Time
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT now()`).Scan(&begun))
	ways := map[string]func() error{
		"insert": func() error {
			_, err := a.tryInsertTx(t.Context(), tx, job(), job())
			return err
		},
		"copy": func() error {
			_, err := r.driver.UnwrapExecutor(tx).JobInsertFastManyNoReturning(t.Context(), &riverdriver.JobInsertFastManyParams{Jobs: jobs(2), Schema: schema})
			return err
		},
	}
	for name, insert := range ways {
		var before, after, least, most time.Time
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&before))
		require.NoError(t, insert())
		require.NoError(t, tx.QueryRow(t.Context(), `
			SELECT clock_timestamp(), least(min(created_at), min(scheduled_at)), greatest(max(created_at), max(scheduled_at)) FROM towpath.river_job`).Scan(&after, &least, &most))
		require.False(t, least.Before(before), name)
		require.False(t, most.After(after), name)
		_, err := tx.Exec(t.Context(), `DELETE FROM towpath.river_job`)
		require.NoError(t, err)
	}
	_, err = a.tryInsertTx(t.Context(), tx, jobs(3)...)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()))
	require.Len(t, a.fetch(t, 10), 3)
}

// TestInsertBig: batches of any size arrive in their order.
func TestInsertBig(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	big := jobs(5000)
	for i := range big {
		big[i].EncodedArgs = fmt.Appendf(nil, `{"i": %d}`, i)
	}
	for i, id := range a.insert(t, big...) {
		if i%500 == 0 {
			require.JSONEq(t, fmt.Sprintf(`{"i": %d}`, i), string(r.get(t, id).EncodedArgs))
		}
	}
}
