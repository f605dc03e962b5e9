package pilot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestFoldersCountEverythingOnce(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	const appends = 20_000
	done := make(chan struct{})
	var writers, folders sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range appends / 4 / 100 {
				_, err := pool.Exec(t.Context(), `INSERT INTO towpath.counter_delta (at, queue, kind, event, bucket, n, seconds)
					SELECT now() - g % 3 * interval '1 minute', 'q' || g % 7, 'k' || g % 5, 'completed', g % 10, 1, 0.5 FROM generate_series($1::int, $1 + 99) AS g`, w*1_000_000+i*100)
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		folders.Go(func() {
			for stopping := false; ; {
				_, err := p.executor().foldOnce(t.Context(), testSchema)
				if err != nil && !outrun(err) {
					t.Error(err)
					return
				}
				if stopping && err == nil {
					return
				}
				select {
				case <-done:
					stopping = true
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	folders.Wait()
	require.Equal(t, 0, number(t, pool, `SELECT count(*) FROM towpath.counter_delta`))
	for _, table := range []string{"counter", "counter_minute"} {
		require.Equal(t, appends, number(t, pool, `SELECT sum(n)::int FROM towpath.`+table), table)
		require.Equal(t, appends/2, number(t, pool, `SELECT sum(seconds)::int FROM towpath.`+table), table)
	}
}

func TestFoldRestsWhenThereIsNothing(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	var pauses []time.Duration
	for range 5 {
		pause, err := p.upkeep.fold(t.Context(), p.executor(), testSchema)
		require.NoError(t, err)
		pauses = append(pauses, pause)
	}
	require.Equal(t, []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second}, pauses)
	insertMany(t, pool, 1)
	p.fetch(1)
	pause, err := p.upkeep.fold(t.Context(), p.executor(), testSchema)
	require.NoError(t, err)
	require.Less(t, pause, 10*time.Second)
	require.Equal(t, map[string]int{"started": 1}, events(t, pool))
}

func TestPruning(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	exec(t, pool, `INSERT INTO towpath.counter_minute SELECT now() - h * interval '1 hour', 'q', 'k', 'completed', 0, 1, 0 FROM unnest('{1, 47, 49}'::int[]) AS h`)
	exec(t, pool, `INSERT INTO towpath.process (client_id, started_at, stopped_at, dead_at) VALUES
		('stopped', now() - interval '3 days', now() - interval '2 days', NULL), ('dead', now() - interval '3 days', NULL, now() - interval '2 days'),
		('owner', now() - interval '3 days', NULL, now() - interval '2 days'), ('young', now() - interval '3 days', now() - interval '2 hours', NULL)`)
	insert(t, pool, job{state: "running", attempt: 1, attemptedBy: "owner", attemptedAt: 60 * time.Hour})
	_, err := p.upkeep.prune(t.Context(), p.executor(), testSchema)
	require.NoError(t, err)
	require.Equal(t, 2, number(t, pool, `SELECT count(*) FROM towpath.counter_minute`))
	var left []string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT array_agg(client_id ORDER BY client_id) FROM towpath.process`).Scan(&left))
	require.Equal(t, []string{"owner", "p", "young"}, left, "a tombstone stays while it owns a running job")
}

func TestQueueDepthIsRefreshedWhereThereIsACache(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	exec(t, pool, `DROP FUNCTION IF EXISTS towpath.refresh_queue_depth()`)
	refresh := func() time.Duration {
		t.Helper()
		pause, err := p.upkeep.refreshDepth(t.Context(), p.executor(), testSchema)
		require.NoError(t, err)
		return pause
	}
	require.Equal(t, depthLook, refresh())
	exec(t, pool, `CREATE SEQUENCE towpath.refreshed`)
	exec(t, pool, `CREATE FUNCTION towpath.refresh_queue_depth() RETURNS void LANGUAGE sql AS $$ SELECT nextval('towpath.refreshed') $$`)
	require.Equal(t, depthLook, refresh(), "it looks but rarely")
	p.upkeep.depth.looked = time.Now().Add(-depthLook)
	require.Less(t, refresh(), depthLook)
	refresh()
	require.Equal(t, 2, number(t, pool, `SELECT last_value FROM towpath.refreshed`))
}

// deleteBefore is what River's cleaner asks for with these periods.
func deleteBefore(period time.Duration) *riverdriver.JobDeleteBeforeParams {
	horizon := time.Now().Add(-period)
	return &riverdriver.JobDeleteBeforeParams{
		CancelledDoDelete: true, CancelledFinalizedAtHorizon: horizon, CompletedDoDelete: true, CompletedFinalizedAtHorizon: horizon,
		DiscardedDoDelete: true, DiscardedFinalizedAtHorizon: horizon, Max: 1000, Schema: testSchema,
	}
}

func TestCleanerDeletesAsRiverWithoutRetentionOfOurs(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	var old, young []int64
	for _, state := range []string{"completed", "cancelled", "discarded"} {
		old = append(old, insert(t, pool, job{state: state, finalizedAt: 25 * time.Hour}))
		young = append(young, insert(t, pool, job{state: state, finalizedAt: 23 * time.Hour}))
	}
	waiting := insert(t, pool, job{})
	params := deleteBefore(24 * time.Hour)
	params.QueuesExcluded = []string{testQueue}
	n, err := p.JobDeleteBefore(t.Context(), p.exec, params)
	require.NoError(t, err)
	require.Equal(t, 0, n)
	params.QueuesExcluded, params.DiscardedDoDelete = nil, false
	n, err = p.JobDeleteBefore(t.Context(), p.exec, params)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for _, id := range append(young, waiting, old[2]) {
		_, ok := live(t, pool, id)
		require.True(t, ok)
	}
	require.Equal(t, 0, number(t, pool, `SELECT count(*) FROM towpath.job_history`))
	require.Empty(t, events(t, pool), "finished jobs were counted when they ended")
	require.Equal(t, period(0), p.upkeep.keep().discarded, "which River keeps for ever")
	require.InDelta(t, 24, time.Duration(p.upkeep.keep().completed).Hours(), 0.1)
}

func TestCleanerMovesWhatOurRetentionKeeps(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := unregisteredProcess(t, pool, "p", Config{Retention: Retention{Completed: 72 * time.Hour}})
	p.register()
	unique := job{state: "completed", finalizedAt: 25 * time.Hour, uniqueKey: []byte("key"), uniqueStates: "11111111"}
	kept := insert(t, pool, unique)
	cancelled := insert(t, pool, job{state: "cancelled", finalizedAt: 25 * time.Hour})
	tooOld := insert(t, pool, job{state: "completed", finalizedAt: 73 * time.Hour})
	n, err := p.JobDeleteBefore(t.Context(), p.exec, deleteBefore(24*time.Hour))
	require.NoError(t, err)
	require.Equal(t, 3, n)
	_, ok := finished(t, pool, kept)
	require.True(t, ok, "its key is free again and the job is kept")
	for _, id := range []int64{cancelled, tooOld} {
		_, ok = finished(t, pool, id)
		require.False(t, ok)
	}
	require.Equal(t, 0, number(t, pool, `SELECT count(*) FROM towpath.river_job`))
}

func TestTidyMovesStrays(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	stray := insert(t, pool, job{state: "completed", finalizedAt: time.Hour})
	holding := insert(t, pool, job{state: "completed", uniqueKey: []byte("key"), uniqueStates: "11110101"})
	free := insert(t, pool, job{state: "discarded", uniqueKey: []byte("key"), uniqueStates: "11110101"})
	expired := insert(t, pool, job{state: "cancelled", finalizedAt: 25 * time.Hour})
	waiting := insert(t, pool, job{})
	tidy := func() {
		t.Helper()
		_, err := p.upkeep.tidy(t.Context(), p.executor(), testSchema)
		require.NoError(t, err)
	}
	p.upkeep.begun = time.Now()
	tidy()
	_, ok := live(t, pool, stray)
	require.True(t, ok, "before River has said how long it keeps jobs")
	p.upkeep.ask(deleteBefore(24 * time.Hour))
	tidy()
	for _, id := range []int64{stray, free} {
		_, ok = finished(t, pool, id)
		require.True(t, ok)
	}
	for _, id := range []int64{holding, expired, waiting} {
		_, ok = live(t, pool, id)
		require.True(t, ok)
	}
	require.Empty(t, events(t, pool))

	fresh, older := insert(t, pool, job{state: "completed"}), insert(t, pool, job{state: "completed", finalizedAt: time.Hour})
	tidy()
	_, ok = finished(t, pool, fresh)
	require.True(t, ok)
	_, ok = live(t, pool, older)
	require.True(t, ok, "a pass looks at what is new")
	p.upkeep.tidiedFully = time.Now().Add(-2 * tidyFully)
	tidy()
	_, ok = finished(t, pool, older)
	require.True(t, ok, "and now and then at everything")
}

func TestRiversRescuerSeesOnlyWhatIsItsBusiness(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	stuck := job{state: "running", attempt: 2, attemptedBy: "plain River", attemptedAt: 2 * time.Hour}
	plain := insert(t, pool, stuck)
	young := stuck
	young.attemptedAt = time.Minute
	insert(t, pool, young)
	unknown := stuck
	unknown.kind = "somebody else's"
	insert(t, pool, unknown)
	alive := stuck
	alive.attemptedBy = "p"
	insert(t, pool, alive)
	dead := stuck
	dead.maxAttempts = 2
	last := insert(t, pool, dead)

	params := &riverdriver.JobGetStuckParams{Max: 10, Schema: testSchema, StuckHorizon: time.Now().Add(-time.Hour)}
	jobs, err := p.JobGetStuck(t.Context(), p.exec, params)
	require.NoError(t, err)
	require.Len(t, jobs, 2)
	require.Equal(t, []int64{plain, last}, []int64{jobs[0].ID, jobs[1].ID})
	params.AfterID = plain
	jobs, err = p.JobGetStuck(t.Context(), p.exec, params)
	require.NoError(t, err)
	require.Len(t, jobs, 1)

	now := time.Now()
	errData := []byte(`{"at": "2026-03-01T12:00:00Z", "attempt": 2, "error": "Stuck job rescued by JobRescuer", "trace": ""}`)
	_, err = p.JobRescueMany(t.Context(), p.exec, &riverdriver.JobRescueManyParams{
		ID: []int64{plain, last, 999_999}, Error: [][]byte{errData, errData, errData}, FinalizedAt: []*time.Time{nil, &now, nil},
		ScheduledAt: []time.Time{now.Add(time.Hour), now, now}, Schema: testSchema,
		State: []string{string(rivertype.JobStateRetryable), string(rivertype.JobStateDiscarded), string(rivertype.JobStateRetryable)}, StuckHorizon: params.StuckHorizon,
	})
	require.NoError(t, err)
	r, ok := live(t, pool, plain)
	require.True(t, ok)
	require.Equal(t, "retryable", r.State)
	require.InDelta(t, time.Hour.Seconds(), r.ScheduledIn.Seconds(), 60)
	require.Equal(t, "Stuck job rescued by JobRescuer", r.Errors[0].Error)
	require.InDelta(t, 1, r.Metadata["river:rescue_count"], 0)
	r, ok = finished(t, pool, last)
	require.True(t, ok)
	require.Equal(t, "discarded", r.State)
	require.Equal(t, map[string]int{"retried": 1, "discarded": 1}, events(t, pool))
}

// day makes a partition of a day so many days ago and returns its name.
func day(t *testing.T, p *process, table string, ago int) string {
	t.Helper()
	var name string
	require.NoError(t, p.pool.QueryRow(t.Context(), `SELECT $1 || to_char((now() AT TIME ZONE 'UTC')::date - $2::int, '_YYYYMMDD')`, table, ago).Scan(&name))
	var from, to string
	require.NoError(t, p.pool.QueryRow(t.Context(), `SELECT ((now() AT TIME ZONE 'UTC')::date - $1::int)::text || ' 00:00:00+00',
		((now() AT TIME ZONE 'UTC')::date - $1::int + 1)::text || ' 00:00:00+00'`, ago).Scan(&from, &to))
	exec(t, p.pool, fmt.Sprintf(`CREATE TABLE towpath.%s PARTITION OF towpath.%s FOR VALUES FROM ('%s') TO ('%s')`, name, table, from, to))
	return name
}

func exists(t *testing.T, p *process, table string) bool {
	t.Helper()
	return number(t, p.pool, `SELECT count(to_regclass('towpath.' || $1))`, table) == 1
}

func TestPartitionsAreMadeAhead(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	leaders := []*process{newProcess(t, pool, "p"), newProcess(t, pool, "q")}
	makeAll := func() {
		var wg sync.WaitGroup
		for _, p := range leaders {
			wg.Go(func() {
				for { // the one that comes second may lose patience, and comes again as the service does
					_, err := p.upkeep.makePartitions(t.Context(), p.executor(), testSchema)
					var pgErr *pgconn.PgError
					if errors.As(err, &pgErr) && pgErr.Code == "55P03" {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					return
				}
			})
		}
		wg.Wait()
	}
	days := func(table string) int {
		return number(t, pool, `SELECT count(*) FROM pg_inherits WHERE inhparent = ('towpath.' || $1)::regclass`, table)
	}
	var tomorrow string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT to_char((now() AT TIME ZONE 'UTC')::date + 1, '"job_event_"YYYYMMDD')`).Scan(&tomorrow))
	exec(t, pool, `DROP TABLE towpath.`+tomorrow)
	makeAll() // those that may be needed soon
	require.Equal(t, 4, days("job_event"))
	makeAll()
	require.Equal(t, 15, days("job_history_completed"))
	require.Equal(t, 15, days("job_event"))
}

func TestPartitionsRetire(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := unregisteredProcess(t, pool, "p", Config{Retention: Retention{Completed: 48 * time.Hour, Cancelled: 24 * time.Hour, Discarded: 30 * 24 * time.Hour}})
	p.register()
	over := []string{day(t, p, "job_history_completed", 4), day(t, p, "job_history_cancelled", 3), day(t, p, "job_event", 32)}
	kept := []string{day(t, p, "job_history_completed", 2), day(t, p, "job_history_discarded", 30), day(t, p, "job_event", 30)}
	detached := day(t, p, "job_history_completed", 9)
	exec(t, pool, `ALTER TABLE towpath.job_history_completed DETACH PARTITION towpath.`+detached)
	_, err := p.upkeep.retirePartitions(t.Context(), p.executor(), testSchema)
	require.NoError(t, err)
	for _, name := range over {
		require.False(t, exists(t, p, name), name)
	}
	for _, name := range append(kept, detached) {
		require.True(t, exists(t, p, name), name)
	}
}

func TestPartitionsStayUntilRiverHasSpoken(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	p.upkeep.begun = time.Now()
	name, endless := day(t, p, "job_history_completed", 4), day(t, p, "job_history_discarded", 400)
	events := day(t, p, "job_event", 400)
	_, err := p.upkeep.retirePartitions(t.Context(), p.executor(), testSchema)
	require.NoError(t, err)
	require.True(t, exists(t, p, name))
	params := deleteBefore(24 * time.Hour)
	params.DiscardedDoDelete = false
	p.upkeep.ask(params)
	_, err = p.upkeep.retirePartitions(t.Context(), p.executor(), testSchema)
	require.NoError(t, err)
	require.False(t, exists(t, p, name))
	require.True(t, exists(t, p, endless))
	require.True(t, exists(t, p, events), "as long as any job")
}

func TestRetiringWaitsForReadersAndIsFinishedLater(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := unregisteredProcess(t, pool, "p", Config{Retention: Retention{Completed: time.Hour, Cancelled: time.Hour, Discarded: time.Hour}})
	p.register()
	name := day(t, p, "job_history_completed", 4)
	reader, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = reader.Rollback(context.Background()) }()
	_, err = reader.Exec(t.Context(), `SELECT count(*) FROM towpath.job_history`)
	require.NoError(t, err)

	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = p.upkeep.retirePartitions(short, p.executor(), testSchema)
	require.Error(t, err)
	require.True(t, exists(t, p, name))
	pending := `SELECT count(*) FROM pg_inherits WHERE inhdetachpending`
	require.Equal(t, 1, number(t, pool, pending))
	insertMany(t, pool, 1)
	rows, err := p.JobSetStateIfRunningMany(t.Context(), p.exec, complete(p.fetch(1)[0].ID))
	require.NoError(t, err)
	require.Len(t, rows, 1, "finishing goes on meanwhile")

	require.NoError(t, reader.Commit(t.Context()))
	require.Eventually(t, func() bool { // the cancelled statement may need a moment to give way
		_, err = p.upkeep.retirePartitions(t.Context(), p.executor(), testSchema)
		return err == nil && !exists(t, p, name)
	}, 20*time.Second, 50*time.Millisecond)
	require.Equal(t, 0, number(t, pool, pending))
}

func TestClosedDaysAreFrozenOnce(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	name := day(t, p, "job_history_completed", 1)
	exec(t, pool, `INSERT INTO towpath.job_history (id, args, attempt, created_at, finalized_at, kind, max_attempts, metadata, priority, queue, state,
		scheduled_at, tags, archived_at) SELECT g, '{}', 1, now(), now(), 'tow', 1, '{}', 1, 'q', 'completed', now(), '{}',
		(now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC' - interval '1 hour' FROM generate_series(1, 500) AS g`)
	vacuumed := func() (at *time.Time) {
		t.Helper()
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT pg_stat_get_last_vacuum_time(to_regclass('towpath.' || $1))`, name).Scan(&at))
		return at
	}
	run := func() {
		t.Helper()
		_, err := p.upkeep.vacuumClosed(t.Context(), p.executor(), testSchema)
		require.NoError(t, err)
	}
	leaves, err := p.executor().leaves(t.Context(), testSchema)
	require.NoError(t, err)
	if leaves[0].age < closedFor {
		t.Skip("just past midnight in UTC, the day is not over for long enough")
	}
	run()
	first := vacuumed()
	require.NotNil(t, first)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM pg_class WHERE oid = to_regclass('towpath.' || $1) AND relallvisible = relpages AND relpages > 0`, name))
	require.Equal(t, 1, number(t, pool, `SELECT count(*) WHERE pg_stat_get_last_analyze_time('towpath.job_history'::regclass) IS NOT NULL`))
	run()
	require.Equal(t, first, vacuumed(), "another leader finds it done")
	require.Equal(t, 0, number(t, pool, `SELECT count(*) FROM pg_stat_all_tables WHERE schemaname = 'towpath' AND last_vacuum IS NOT NULL AND relname LIKE 'job_history%' AND relname <> $1`, name), "days that go on are left to autovacuum")
}

func TestUpkeepRunsOnTheLeader(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	insertMany(t, pool, 1)
	p.fetch(1)
	p.upkeep.calm = time.Millisecond
	require.NoError(t, p.upkeep.Start(t.Context()))
	require.Eventually(t, func() bool {
		return number(t, pool, `SELECT count(*) FROM towpath.counter`) == 1 &&
			number(t, pool, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'towpath.job_event'::regclass`) == 15
	}, 20*time.Second, 20*time.Millisecond)
	p.upkeep.Stop()
	p.due.mu.Lock()
	defer p.due.mu.Unlock()
	require.False(t, p.due.leads)
}
