package ticker_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/internal/ticker"
)

// base is when the tests' clock begins: far from now, so that nothing of the real one gets in.
var base = time.Date(2031, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a database with a clock of the test's own.
type rig struct {
	t    *testing.T
	pool *pgxpool.Pool

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{t: t, pool: testdb.Pool(t), now: base}
}

func (r *rig) set(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
}

func (r *rig) clock(context.Context) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now, nil
}

func (r *rig) leader() *ticker.Leader {
	return ticker.NewLeader(ticker.Config{Pool: r.pool, Logger: slog.New(slog.DiscardHandler), Clock: r.clock})
}

func (r *rig) step(l *ticker.Leader) {
	r.t.Helper()
	_, err := l.Step(r.t.Context())
	require.NoError(r.t, err)
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err, sql)
}

// put defines a schedule that begins at the test's beginning.
func (r *rig) put(name, expression, more string) {
	r.t.Helper()
	r.exec(`SELECT towpath.put_schedule($1, $2, 'job'`+more+`)`, name, expression)
	r.exec(`UPDATE towpath.schedule SET after = $2, watched_since = $2, next_tick = NULL, next_due = NULL, settled = false WHERE name = $1`, name, base)
}

func one[T any](t *testing.T, db *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return value
}

// runs writes down the runs of a schedule: the minute of the tick, how many ticks it stands for, why it was skipped.
func (r *rig) runs(name string) string {
	r.t.Helper()
	return one[string](r.t, r.pool, `SELECT coalesce(string_agg(round(extract(epoch FROM tick - $2) / 60)::text || CASE WHEN ticks > 1 THEN '(' || ticks || ')' ELSE '' END
		|| CASE WHEN outcome = 'skipped' THEN ' ' || note ELSE '' END, ', ' ORDER BY n), '') FROM towpath.schedule_runs WHERE schedule = $1`, name, base)
}

// end ends the jobs of a schedule's open runs.
func (r *rig) end(name, state string) {
	r.t.Helper()
	r.exec(`WITH j AS (DELETE FROM towpath.river_job WHERE metadata ->> 'towpath:schedule' = $1 RETURNING *)
		INSERT INTO towpath.job_history (id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
		SELECT id, args, 1, $3::timestamptz, ARRAY['client-1'], created_at, CASE WHEN $2 = 'discarded' THEN ARRAY['{"error": "it broke"}'::jsonb] END,
			$3::timestamptz + interval '2 seconds', kind, max_attempts, metadata, priority, queue, $2::towpath.river_job_state, scheduled_at, tags FROM j`, name, state, r.now)
}

// Five minutes without a leader, and what each policy makes of the ticks.
func TestPoliciesAfterAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	policies := map[string][2]string{
		"coalesce":       {``, "1, 7(6)"},
		"catch up":       {`, missed => 'catch_up'`, "1, 2, 3, 4, 5, 6, 7"},
		"skip":           {`, missed => 'skip'`, "1, 6(5) missed, 7"},
		"skip after":     {`, missed => 'skip', skip_after => '2 minutes'`, "1, 5(4) missed, 6, 7"},
		"overlap skip":   {`, overlap => 'skip'`, "1, 7(6) overlap"},
		"overlap queue":  {`, overlap => 'queue'`, "1"},
		"queue catch up": {`, overlap => 'queue', missed => 'catch_up'`, "1"},
	}
	for name, policy := range policies {
		r.put(name, "* * * * *", policy[0])
	}
	first := r.leader()
	r.step(first)
	r.set(base.Add(time.Minute))
	r.step(first)
	r.set(base.Add(7*time.Minute + 10*time.Second))
	second := r.leader()
	for range 3 {
		r.step(second) // deciding again changes nothing
	}
	for name, policy := range policies {
		require.Equal(t, policy[1], r.runs(name), name)
	}
	require.Equal(t, 17, one[int](t, r.pool, `SELECT count(*) FROM towpath.river_job`))

	// The jobs end, and those that waited for it go on, one after the other.
	r.end("overlap queue", "completed")
	r.step(second)
	require.Equal(t, "1, 7(6)", r.runs("overlap queue"))
	for last := 2; last <= 7; last++ {
		r.end("queue catch up", "completed")
		r.step(second)
		require.Equal(t, 1, one[int](t, r.pool, `SELECT open_runs FROM towpath.schedule WHERE name = 'queue catch up'`))
	}
	require.Equal(t, "1, 2, 3, 4, 5, 6, 7", r.runs("queue catch up"))
}

// A clock that goes back an hour fires nothing twice; one that jumps ahead a day leaves it to the policy, and none floods.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("coalesce", "* * * * *", ``)
	r.put("skip", "* * * * *", `, missed => 'skip'`)
	r.put("catch up", "* * * * *", `, missed => 'catch_up'`)
	l := r.leader()
	for minute := range 3 {
		r.set(base.Add(time.Duration(minute) * time.Minute))
		r.step(l)
	}
	for _, back := range []time.Duration{-58 * time.Minute, -30 * time.Minute, 2 * time.Minute} {
		r.set(base.Add(back))
		r.step(l)
		r.step(r.leader())
		require.Equal(t, "1, 2", r.runs("coalesce"))
		require.Equal(t, "1, 2", r.runs("catch up"))
	}
	r.set(base.Add(24 * time.Hour))
	r.step(l)
	require.Equal(t, "1, 2, 1440(1438)", r.runs("coalesce"))
	require.Equal(t, "1, 2, 1439(1437) missed, 1440", r.runs("skip"))
	require.Equal(t, 100, one[int](t, r.pool, `SELECT open_runs FROM towpath.schedule WHERE name = 'catch up'`), "no more at once than may be unfinished")
	require.Equal(t, 100, one[int](t, r.pool, `SELECT count(*) FROM towpath.schedule_run WHERE schedule = 'catch up' AND outcome = 'waiting'`))
	require.Equal(t, time.Minute*1441, one[time.Time](t, r.pool, `SELECT next_tick FROM towpath.schedule WHERE name = 'coalesce'`).Sub(base))
}

// Two that both lead fire each tick once.
func TestTwoLeaders(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 20 {
		r.put(fmt.Sprintf("s%d", i), "* * * * * *", `, missed => 'catch_up'`)
	}
	leaders := []*ticker.Leader{r.leader(), r.leader(), r.leader()}
	const ticks = 50
	for tick := range ticks {
		r.set(base.Add(time.Duration(tick+1) * time.Second))
		var group errgroup.Group
		for _, l := range leaders {
			group.Go(func() error {
				_, err := l.Step(t.Context())
				return err
			})
		}
		require.NoError(t, group.Wait())
	}
	r.step(leaders[0]) // for what one of them passed over because another held it
	require.Equal(t, 20*ticks, one[int](t, r.pool, `SELECT count(*) FROM towpath.schedule_run`))
	require.Equal(t, 20*ticks, one[int](t, r.pool, `SELECT count(DISTINCT (metadata ->> 'towpath:schedule', metadata ->> 'towpath:tick')) FROM towpath.river_job`))
	require.Equal(t, 20*ticks, one[int](t, r.pool, `SELECT count(*) FROM towpath.river_job`))
}

// The words of a status come and go, each change is one event, and listeners are told.
func TestStatusAndEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	conn, err := pgx.ConnectConfig(t.Context(), r.pool.Config().ConnConfig)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), `LISTEN "towpath.schedule_event"`)
	require.NoError(t, err)
	r.put("s", "*/10 * * * *", `, grace => '3 minutes', longest => '5 minutes'`)
	l := r.leader()
	at := func(after time.Duration, want string) {
		t.Helper()
		r.set(base.Add(after))
		r.step(l)
		require.Equal(t, want, one[string](t, r.pool, `SELECT status FROM towpath.schedule WHERE name = 's'`), after)
	}
	run := func(after time.Duration) {
		r.exec(`UPDATE towpath.river_job SET state = 'running', attempt = 1, attempted_by = '{client-1}', attempted_at = $1 WHERE state = 'available'`, base.Add(after))
	}
	at(0, "ok")
	at(10*time.Minute, "ok")
	at(10*time.Minute+9*time.Second, "ok")
	at(10*time.Minute+10*time.Second, "late")
	at(13*time.Minute, "missed")
	run(14 * time.Minute)
	at(14*time.Minute, "ok")
	at(19*time.Minute, "too_long")
	r.end("s", "discarded")
	at(19*time.Minute+time.Second, "failed")
	at(20*time.Minute, "failed")
	run(20 * time.Minute)
	r.end("s", "completed")
	at(20*time.Minute+5*time.Second, "ok")
	r.exec(`SELECT towpath.pause_schedule('s', 'because')`)
	at(21*time.Minute, "paused")
	r.exec(`SELECT towpath.resume_schedule('s')`)
	at(22*time.Minute, "ok")

	want := []string{"late", "missed", "ok", "too_long", "failed", "ok", "paused", "ok"}
	require.Equal(t, strings.Join(want, " "), one[string](t, r.pool, `SELECT string_agg(status, ' ' ORDER BY id) FROM towpath.schedule_events WHERE schedule = 's'`))
	for _, status := range want {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		n, err := conn.WaitForNotification(ctx)
		cancel()
		require.NoError(t, err)
		require.Contains(t, n.Payload, `"schedule" : "s", "status" : "`+status+`"`)
	}
	require.Equal(t, "failed client-1 it broke 2", one[string](t, r.pool, `SELECT concat_ws(' ', outcome, process, note, extract(epoch FROM duration)::integer) FROM towpath.schedule_runs WHERE n = 1`))
	require.Equal(t, 2*time.Second, one[time.Duration](t, r.pool, `SELECT usual_duration FROM towpath.schedules`))
}

// Nobody leads: the view says so all the same.
func TestStatusWithoutLeader(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("s", "@hourly", ``)
	for overdue, want := range map[string]string{"1 second": "ok", "1 minute": "late", "6 minutes": "missed"} {
		r.exec(`UPDATE towpath.schedule SET next_tick = clock_timestamp() - $1::text::interval, next_due = clock_timestamp() - $1::text::interval`, overdue)
		require.Equal(t, want, one[string](t, r.pool, `SELECT status FROM towpath.schedules`), overdue)
	}
	// What a leader saw last is not made better by it.
	r.exec(`UPDATE towpath.schedule SET status = 'missed', next_due = clock_timestamp() - interval '1 minute'`)
	require.Equal(t, "missed", one[string](t, r.pool, `SELECT status FROM towpath.schedules`))

	// Nor does a tick count less that was fired before the leader went, and did not begin.
	for overdue, want := range map[string]string{"1 second": "ok", "1 minute": "late", "6 minutes": "missed"} {
		r.exec(`UPDATE towpath.schedule SET status = 'ok', next_due = clock_timestamp() + interval '50 minutes', watched_since = '2000-01-01', overdue_since = clock_timestamp() - $1::text::interval`, overdue)
		require.Equal(t, want, one[string](t, r.pool, `SELECT status FROM towpath.schedules`), overdue)
	}
}

// A schedule that this program cannot read shows its problem and holds up no other; so does one whose job the database
// refuses.
func TestProblems(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("good", "* * * * *", ``)
	r.put("bad zone", "* * * * *", ``)
	r.put("bad job", "* * * * *", ``)
	r.exec(`UPDATE towpath.schedule SET edited = jsonb_set(edited, '{zone}', '"Mars/Olympus"') WHERE name = 'bad zone'`)
	r.exec(`UPDATE towpath.schedule SET edited = jsonb_set(edited, '{queue}', '"No Queue"') WHERE name = 'bad job'`)
	l := r.leader()
	r.step(l)
	r.set(base.Add(time.Minute))
	r.step(l)
	require.Equal(t, "1", r.runs("good"))
	require.Contains(t, one[string](t, r.pool, `SELECT problem FROM towpath.schedules WHERE name = 'bad zone'`), `zone "Mars/Olympus" is not known`)
	require.Contains(t, one[string](t, r.pool, `SELECT problem FROM towpath.schedules WHERE name = 'bad job'`), `queue "No Queue"`)
	require.Equal(t, "missed", one[string](t, r.pool, `SELECT status FROM towpath.schedules WHERE name = 'bad zone'`))

	r.exec(`SELECT towpath.put_schedule('bad zone', '* * * * *', 'job')`)
	r.exec(`UPDATE towpath.schedule SET after = $1 WHERE name = 'bad zone'`, r.now)
	r.step(l)
	r.set(base.Add(2 * time.Minute))
	r.step(l)
	require.Equal(t, "2", r.runs("bad zone"))
}

// A change of the times begins anew, but a tick that was due already is still fired.
func TestChangeOfTimes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.set(time.Now())
	r.exec(`SELECT towpath.put_schedule('s', '* * * * * *', 'job')`)
	l := r.leader()
	r.step(l)
	r.exec(`UPDATE towpath.schedule SET next_tick = date_trunc('second', clock_timestamp()) - interval '1 minute', next_due = date_trunc('second', clock_timestamp()) - interval '1 minute'`)
	owed := one[time.Time](t, r.pool, `SELECT next_tick FROM towpath.schedule`)
	r.exec(`SELECT towpath.put_schedule('s', '0 0 1 1 *', 'job')`)
	r.set(time.Now())
	r.step(l)
	require.Equal(t, owed, one[time.Time](t, r.pool, `SELECT tick FROM towpath.schedule_runs`), "one, and that one")
	require.Equal(t, "on the 1st of the month in January at 00:00 UTC", one[string](t, r.pool, `SELECT in_words FROM towpath.schedules`))
	require.Equal(t, 1, one[time.Time](t, r.pool, `SELECT next_run FROM towpath.schedules`).UTC().Day())
}

func TestSkipRunAndBackfill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("s", "* * * * *", ``)
	l := r.leader()
	r.step(l)
	r.exec(`SELECT towpath.skip_schedule('s')`)
	r.step(l)
	r.exec(`SELECT towpath.skip_schedule('s', $1)`, base.Add(4*time.Minute))
	r.step(l)
	r.set(base.Add(4 * time.Minute))
	r.step(l)
	actor := one[string](t, r.pool, `SELECT session_user::text`)
	require.Equal(t, "1 asked for by "+actor+", 2 asked for by "+actor+", 4", r.runs("s"))
	require.Equal(t, "ok", one[string](t, r.pool, `SELECT status FROM towpath.schedule`))

	job := one[int64](t, r.pool, `SELECT job_id FROM towpath.run_schedule('s')`)
	require.Equal(t, "manual", one[string](t, r.pool, `SELECT cause FROM towpath.schedule_runs WHERE job_id = $1`, job))
	r.end("s", "completed")

	// In order, two at once.
	r.exec(`UPDATE towpath.schedule SET paused_at = now(), next_tick = NULL, next_due = NULL`)
	past := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	id := one[int64](t, r.pool, `SELECT towpath.backfill_schedule('s', $1, $2, 2)`, past, past.Add(4*time.Minute))
	for _, fired := range []int{2, 4, 5} {
		r.step(l)
		r.step(l)
		require.Equal(t, fired, one[int](t, r.pool, `SELECT fired FROM towpath.schedule_backfills WHERE id = $1`, id))
		require.LessOrEqual(t, one[int](t, r.pool, `SELECT open_runs::integer FROM towpath.schedule_backfills WHERE id = $1`, id), 2)
		r.end("s", "completed")
	}
	r.step(l)
	require.True(t, one[bool](t, r.pool, `SELECT ended_at IS NOT NULL FROM towpath.schedule_backfills WHERE id = $1`, id))
	require.Equal(t, 5, one[int](t, r.pool, `SELECT count(*) FROM (SELECT tick, lag(tick) OVER (ORDER BY n) AS before FROM towpath.schedule_runs WHERE backfill = $1) r WHERE before IS NULL OR tick = before + interval '1 minute'`, id))
}

// The deployed set of an application is that of the version that came last, as long as one of its processes lives.
func TestRollingDeployment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tell := func(fingerprint, definitions string) bool {
		t.Helper()
		return one[bool](t, r.pool, `SELECT towpath.deploy_schedules('shop', $1, 'v', $2)`, fingerprint, definitions)
	}
	expression := func() string {
		return one[string](t, r.pool, `SELECT string_agg(name || ' ' || expression, ', ' ORDER BY name) FROM towpath.schedules`)
	}
	old, newer := `{"a": {"expression": "@hourly", "kind": "job"}, "gone": {"expression": "@daily", "kind": "job"}}`, `{"a": {"expression": "@daily", "kind": "job"}}`
	require.True(t, tell("old", old))
	require.Equal(t, "a @hourly, gone @daily", expression())
	require.False(t, tell("old", old))
	require.True(t, tell("new", newer))
	for range 3 { // processes of both versions live, and restart
		require.False(t, tell("old", old))
		require.False(t, tell("new", newer))
		require.Equal(t, "a @daily", expression())
	}
	// What is edited at run time holds over both.
	r.exec(`SELECT towpath.put_schedule('a', '@weekly', 'job')`)
	require.Equal(t, "a @weekly", expression())
	require.Equal(t, "both edited", one[string](t, r.pool, `SELECT defined_in || ' ' || holds FROM towpath.schedules`))
	// The new version is taken back: its processes are not seen any more.
	r.exec(`UPDATE towpath.deployment SET seen_at = seen_at - interval '2 minutes' WHERE fingerprint = 'new'`)
	require.True(t, tell("old", old))
	require.Equal(t, "a @weekly, gone @daily", expression())
	r.exec(`SELECT towpath.revert_schedule('a')`)
	require.Equal(t, "a @hourly, gone @daily", expression())
	// And it is deployed again, though it has been there before.
	require.True(t, tell("new", newer))
	require.Equal(t, "a @daily", expression())
}

// A change made in SQL is seen at once by a leader that sleeps.
func TestLeaderIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		ticker.New(ticker.Config{Pool: r.pool, Logger: slog.New(slog.DiscardHandler), Listen: true}).Lead(ctx)
	})
	r.exec(`SELECT towpath.put_schedule('s', '* * * * * *', 'job')`)
	require.Eventually(t, func() bool {
		return one[int](t, r.pool, `SELECT count(*) FROM towpath.schedule_runs`) > 1
	}, time.Minute, 10*time.Millisecond)
}

// Ten thousand schedules with a common tick get their jobs.
func TestTenThousand(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`INSERT INTO towpath.schedule (name, edited, after) SELECT 's' || i, towpath.full_definition('{"expression": "0 * * * *", "kind": "job"}'), $1 FROM generate_series(1, 10000) i`, base)
	l := r.leader()
	r.step(l)
	require.Zero(t, one[int](t, r.pool, `SELECT count(*) FROM towpath.schedule WHERE NOT settled`))
	r.set(base.Add(time.Hour))
	begun := time.Now()
	r.step(l)
	t.Logf("fired in %s", time.Since(begun))
	require.Equal(t, 10000, one[int](t, r.pool, `SELECT count(*) FROM towpath.river_job`))
	require.Equal(t, 10000, one[int](t, r.pool, `SELECT count(*) FROM towpath.schedule WHERE next_tick = $1`, base.Add(2*time.Hour)))
}

// What is no longer kept goes.
func TestPrune(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("s", "@hourly", ``)
	r.exec(`INSERT INTO towpath.schedule_run (schedule, n, tick, due, cause, outcome) SELECT 's', n, now() + n * interval '1 second', now(), 'tick', 'succeeded' FROM generate_series(1, 1200) n`)
	r.exec(`UPDATE towpath.schedule SET runs = 1200`)
	require.Equal(t, 200, one[int](t, r.pool, `SELECT towpath.prune_schedules()`))
	require.Equal(t, 201, one[int](t, r.pool, `SELECT min(n)::integer FROM towpath.schedule_run`))
}
