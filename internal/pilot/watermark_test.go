package pilot_test

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/pilot"
)

// watermarked is an actor whose fetch goes from the watermark on, with the probes in the test's hands.
func (r *rig) watermarked(t *testing.T) *actor {
	t.Helper()
	a := r.actor(t, "a")
	pilot.HoldProbes(a.state)
	pilot.SetSlowFront(a.state, 0)
	return a
}

func (a *actor) probe(t failer, kinds ...string) {
	t.Helper()
	require.NoError(t, pilot.Probe(t.Context(), a.state, a.exec, a.fetchParams(1, kinds...)))
}

// claimUpTo moves the marks: it claims a job of the priority that was due at the time.
func (a *actor) claimUpTo(t failer, p int, when time.Time) {
	t.Helper()
	id := a.insertOne(t, priority(p), at(when))
	pilot.SetSlow(a.state, false)
	for _, row := range a.fetch(t, 1000) {
		if row.ID == id {
			continue
		}
		a.end(t, handedBack(row))
	}
	a.end(t, completed(id))
	pilot.SetSlow(a.state, true)
}

// TestWatermarkSeesNothingBeforeItself: in watermark mode the fetch begins at the marks, and the probe brings the rest.
func TestWatermarkSeesNothingBeforeItself(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	now := time.Now()
	a.claimUpTo(t, 1, now.Add(-10*time.Second))
	a.claimUpTo(t, 2, now.Add(-10*time.Second))

	old := a.insertOne(t, at(now.Add(-time.Minute)))               // scheduled long ago
	within := a.insertOne(t, at(now.Add(-10500*time.Millisecond))) // out of order, but not by much
	fresh := a.insertOne(t)
	later := a.insertOne(t, priority(2))
	laterOld := a.insertOne(t, priority(2), at(now.Add(-time.Minute)))
	unmarked := a.insertOne(t, priority(3), at(now.Add(-time.Hour))) // nothing was claimed at its priority yet
	require.Equal(t, []int64{within, fresh, later, unmarked}, ids(a.fetch(t, 100)))
	require.Empty(t, a.fetch(t, 100))

	a.probe(t)
	again := a.insertOne(t)
	require.Equal(t, []int64{old, again, laterOld}, ids(a.fetch(t, 100)))
	require.Empty(t, a.fetch(t, 100))
}

// TestWatermarkLimit: what the rows above take is left out below, and late jobs that found no room come next time.
func TestWatermarkLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	now := time.Now()
	a.claimUpTo(t, 1, now.Add(-time.Second))
	a.claimUpTo(t, 2, now.Add(-time.Second))
	late1 := a.insert(t, jobs(3, at(now.Add(-time.Hour)))...)
	late2 := a.insert(t, jobs(3, priority(2), at(now.Add(-2*time.Hour)))...)
	fresh1 := a.insert(t, jobs(2)...)
	fresh2 := a.insert(t, jobs(2, priority(2))...)
	a.probe(t)
	require.Equal(t, late1[:2], ids(a.fetch(t, 2)))
	require.Equal(t, []int64{late1[2], fresh1[0]}, ids(a.fetch(t, 2)), "late jobs never jump priorities")
	require.Equal(t, []int64{fresh1[1], late2[0], late2[1]}, ids(a.fetch(t, 3)))
	require.Equal(t, []int64{late2[2], fresh2[0], fresh2[1]}, ids(a.fetch(t, 10)))
}

// TestWatermarkLateCommit: a transaction that inserts early and commits late.
func TestWatermarkLateCommit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	results, err := a.tryInsertTx(t.Context(), tx, job(at(time.Now().Add(-5*time.Second))))
	require.NoError(t, err)
	a.claimUpTo(t, 1, time.Now())
	a.probe(t)
	require.Empty(t, a.fetch(t, 10))
	require.NoError(t, tx.Commit(t.Context()))
	a.probe(t)
	require.Equal(t, []int64{results[0].Job.ID}, ids(a.fetch(t, 10)))
}

// TestWatermarkRetry: a job that fails comes back with a time that may lie before the marks.
func TestWatermarkRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	id := a.insertOne(t, at(time.Now().Add(-time.Minute)))
	require.Equal(t, id, a.fetchOne(t).ID)
	a.claimUpTo(t, 1, time.Now())
	a.end(t, failedAvailable(id, time.Now().Add(-30*time.Second)))
	require.Empty(t, a.fetch(t, 10))
	a.probe(t)
	require.Equal(t, id, a.fetchOne(t).ID)
}

// TestWatermarkManyLate: where more come late than a probe brings, the scan goes back to the first of them.
func TestWatermarkManyLate(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	now := time.Now()
	a.claimUpTo(t, 1, now)
	late := a.insert(t, jobs(1500, at(now.Add(-time.Minute)))...)
	a.insert(t, jobs(10, at(now.Add(-30*time.Second)))...)
	a.probe(t)
	require.Equal(t, late[:1200], ids(a.fetch(t, 1200)))
	require.Len(t, a.fetch(t, 1200), 310)
}

// TestWatermarkWindows: a probe that goes over a long front in parts finds what is near first, and in the end everything.
func TestWatermarkWindows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	now := time.Now()
	a.claimUpTo(t, 1, now)
	near := a.insertOne(t, at(now.Add(-30*time.Second)))
	hour := a.insertOne(t, at(now.Add(-time.Hour)))
	ages := a.insertOne(t, at(now.AddDate(-20, 0, 0)))
	pilot.SetWindow(a.state, time.Minute)
	a.probe(t)
	require.True(t, pilot.Slow(a.state))
	require.Equal(t, []int64{near}, ids(a.fetch(t, 10)))
	var found []int64
	probed := func(n int) func() bool {
		return func() bool {
			a.probe(t)
			found = append(found, ids(a.fetch(t, 10))...)
			return len(found) == n
		}
	}
	require.Eventually(t, probed(2), soon, time.Millisecond)
	require.Equal(t, []int64{hour, ages}, found, "from the marks back")
	nearer := a.insertOne(t, at(now.Add(-10*time.Second)))
	require.Eventually(t, probed(3), soon, time.Millisecond)
	require.Equal(t, nearer, found[2])
}

// TestWatermarkFollows: the scan begins a thousand jobs before the newest that was claimed, also among jobs of one moment.
func TestWatermarkFollows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	moment := time.Now()
	all := a.insert(t, jobs(2500, at(moment))...)
	pilot.SetSlow(a.state, true)
	fetched := a.fetch(t, 1600)
	require.Equal(t, all[:1600], ids(fetched))
	back := []int64{all[0], all[598], all[599], all[1599]}
	for _, row := range fetched {
		if slices.Contains(back, row.ID) {
			a.end(t, handedBack(row))
		}
	}
	r.run(t, `UPDATE towpath.river_job SET scheduled_at = $2 WHERE id = ANY($1)`, back, fetched[0].ScheduledAt)
	require.Equal(t, []int64{all[599], all[1599], all[1600]}, ids(a.fetch(t, 3)), "the first two lie before the mark")
	a.probe(t)
	require.Equal(t, []int64{all[0], all[598], all[1601]}, ids(a.fetch(t, 3)))
}

// TestWatermarkUnknownKinds: jobs that this client does not work do not hide those that it does.
func TestWatermarkUnknownKinds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	a.claimUpTo(t, 1, time.Now())
	a.insert(t, jobs(1500, kind("unknown"), at(time.Now().Add(-time.Hour)))...)
	known := a.insertOne(t, at(time.Now().Add(-time.Minute)))
	a.probe(t, "proof")
	require.Equal(t, []int64{known}, ids(a.fetch(t, 10, "proof")))
}

// TestWatermarkMode: many dead entries that vacuum may not remove make the front slow, the fetch begins behind them, and
// with them the mode goes.
func TestWatermarkMode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	pilot.HoldProbes(a.state)
	r.run(t, `ALTER TABLE towpath.river_job SET (autovacuum_enabled = false)`)
	open, err := r.pool.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	defer open.Rollback(t.Context())
	_, err = open.Exec(t.Context(), `SELECT`)
	require.NoError(t, err)

	quick := func() bool { // sooner or later, on a machine that has much else to do
		a.probe(t)
		return !pilot.Slow(a.state)
	}
	require.Eventually(t, quick, soon, tick)
	r.run(t, `INSERT INTO towpath.river_job (args, kind, max_attempts, scheduled_at)
		SELECT '{}', 'proof', 5, now() - interval '1 minute' + n * interval '1 microsecond' FROM generate_series(1, 150000) n`)
	r.run(t, `DELETE FROM towpath.river_job`)
	first := a.insertOne(t, at(time.Now().Add(-5*time.Second)))
	require.Equal(t, first, a.fetchOne(t).ID)
	full := r.buffers(t, a)
	a.probe(t)
	require.True(t, pilot.Slow(a.state), "150,000 dead entries take longer than 5 ms")

	second := a.insertOne(t)
	require.Equal(t, second, a.fetchOne(t).ID)
	require.Less(t, r.buffers(t, a), full/10)
	late := a.insertOne(t, at(time.Now().Add(-30*time.Second)))
	require.Empty(t, a.fetch(t, 1))
	require.Eventually(t, func() bool { // on a slow machine the probe goes over the front in windows
		a.probe(t)
		rows := a.fetch(t, 1)
		return len(rows) == 1 && rows[0].ID == late
	}, soon, tick)

	require.NoError(t, open.Rollback(t.Context()))
	r.run(t, `VACUUM towpath.river_job`)
	require.Eventually(t, quick, soon, tick)
}

// buffers is how many pages a fetch of the actor's looks at.
func (r *rig) buffers(t *testing.T, a *actor) (pages int) {
	t.Helper()
	listener := r.explained(t, "ANALYZE, BUFFERS")
	_, err := a.pilot.JobGetAvailable(t.Context(), listener.Executor, a.state, a.fetchParams(1))
	require.NoError(t, err)
	for _, p := range listener.plans {
		pages += int(p.number("Shared Hit Blocks") + p.number("Shared Read Blocks"))
	}
	require.Positive(t, pages)
	return pages
}

// TestProbesBesideTheFetch: the fetch starts the probes by itself, and only while there is something to claim.
func TestProbesBesideTheFetch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	pilot.SetSlowFront(a.state, 0)
	require.Eventually(t, func() bool {
		a.insertOne(t)
		a.end(t, completed(a.fetchOne(t).ID))
		return pilot.Slow(a.state)
	}, soon, tick)
	late := a.insertOne(t, at(time.Now().Add(-time.Hour)))
	require.Eventually(t, func() bool {
		rows := a.fetch(t, 10)
		return len(rows) == 1 && rows[0].ID == late
	}, soon, tick, "an idle queue in watermark mode is probed as well")
}

// TestShutdownEndsTheProbe: a probe that hangs does not outlive its queue.
func TestShutdownEndsTheProbe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	lock, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	defer lock.Rollback(t.Context())
	begun := make(chan struct{})
	a.exec = r.interrupted(func(ctx context.Context, sql string) {
		if strings.Contains(sql, "AS late\n") || strings.HasSuffix(sql, "AS late") {
			_, err := lock.Exec(ctx, `LOCK TABLE towpath.river_job`)
			require.NoError(t, err)
			close(begun)
		}
	})
	pilot.ProbeSoon(a.state)
	a.insertOne(t)
	a.fetchOne(t)
	<-begun
	require.NoError(t, a.pilot.ProducerShutdown(t.Context(), r.exec, &riverpilot.ProducerShutdownParams{ProducerID: a.number, Queue: a.queue, Schema: schema}))
	require.True(t, pilot.ProbeOver(a.state))
}

// TestWatermarkFetchesWhatRiverWould: after a probe, the fetch from the watermark takes the same jobs in the same order as
// a scan from the front.
func TestWatermarkFetchesWhatRiverWould(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.watermarked(t)
	rapid.Check(t, func(rt *rapid.T) {
		r.run(rt, `DELETE FROM towpath.river_job`)
		a.init(rt)
		pilot.HoldProbes(a.state)
		pilot.SetSlowFront(a.state, 0)
		now := time.Now().Add(-time.Second)
		seconds := rapid.IntRange(0, 8)
		for p := 1; p <= 4; p++ {
			if rapid.Bool().Draw(rt, "marked") {
				a.claimUpTo(rt, p, now.Add(-time.Duration(seconds.Draw(rt, "mark"))*time.Second))
			}
		}
		params := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) *riverdriver.JobInsertFastParams {
			return job(priority(rapid.IntRange(1, 4).Draw(rt, "priority")), at(now.Add(-time.Duration(seconds.Draw(rt, "age"))*time.Second)))
		}), 1, 25).Draw(rt, "jobs")
		a.insert(rt, params...)
		waiting := a.list(rt, "state = 'available'")
		slices.SortStableFunc(waiting, func(x, y *rivertype.JobRow) int {
			return cmp.Or(cmp.Compare(x.Priority, y.Priority), x.ScheduledAt.Compare(y.ScheduledAt), cmp.Compare(x.ID, y.ID))
		})
		a.probe(rt)
		require.True(rt, pilot.Slow(a.state))
		var got []int64
		for len(got) < len(waiting) {
			rows := a.fetch(rt, rapid.IntRange(1, 9).Draw(rt, "limit"))
			require.NotEmpty(rt, rows, "after %d of %d", len(got), len(waiting))
			got = append(got, ids(rows)...)
		}
		require.Equal(rt, ids(waiting), got)
		for _, id := range got {
			a.freeSlot(id)
			a.finish(rt, completed(id))
		}
	})
}
