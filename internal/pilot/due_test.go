package pilot

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestDueJobsBecomeAvailable(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	told := heard(t, pool)
	retry := insert(t, pool, job{state: "retryable", scheduledAt: -time.Second})
	scheduled := insert(t, pool, job{state: "scheduled", scheduledAt: -time.Second})
	later := insert(t, pool, job{state: "scheduled", scheduledAt: time.Hour})
	found, err := p.executor().promote(t.Context(), testSchema, nil)
	require.NoError(t, err)
	require.Equal(t, 2, found.promoted)
	require.InDelta(t, time.Hour.Seconds(), found.next.Seconds(), 60)
	require.WithinDuration(t, time.Now(), found.clock, time.Minute)
	for _, id := range []int64{retry, scheduled} {
		r, _ := live(t, pool, id)
		require.Equal(t, "available", r.State)
	}
	r, _ := live(t, pool, later)
	require.Equal(t, "scheduled", r.State)
	require.JSONEq(t, `{"queue": "locks"}`, told())
	require.Empty(t, events(t, pool), "nothing ended")
	require.Len(t, p.fetch(10), 2)
}

func TestSchedulerDiscardsWhatConflicts(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	// Of available jobs one may have the key; River's bits run from the last to the first: available, cancelled …
	unique := func(state string, at time.Duration) job {
		return job{state: state, scheduledAt: at, uniqueKey: []byte("key"), uniqueStates: "00000001"}
	}
	there := insert(t, pool, unique("available", 0))
	conflicting := insert(t, pool, unique("scheduled", -time.Minute))
	other := unique("scheduled", -time.Minute)
	other.uniqueKey = []byte("other")
	second, first := insert(t, pool, other), int64(0)
	other.scheduledAt = -time.Hour
	first = insert(t, pool, other)
	held := unique("retryable", -time.Minute)
	held.uniqueStates = "00001001" // a discarded one would keep the key as well
	covering := insert(t, pool, held)

	results, err := p.exec.JobSchedule(t.Context(), &riverdriver.JobScheduleParams{Max: 100, Schema: testSchema})
	require.NoError(t, err)
	conflicts := make(map[int64]bool)
	for _, result := range results {
		conflicts[result.Job.ID] = result.ConflictDiscarded
		state := rivertype.JobStateAvailable
		if result.ConflictDiscarded {
			state = rivertype.JobStateDiscarded
		}
		require.Equal(t, state, result.Job.State)
	}
	require.Equal(t, map[int64]bool{conflicting: true, first: false, second: true, covering: true}, conflicts)
	r, _ := live(t, pool, there)
	require.Equal(t, "available", r.State)
	r, ok := finished(t, pool, conflicting)
	require.True(t, ok)
	require.Equal(t, "scheduler_discarded", r.Metadata["unique_key_conflict"])
	_, ok = finished(t, pool, second)
	require.True(t, ok)
	_, ok = finished(t, pool, covering)
	require.True(t, ok, "it cannot hold what another holds")
	require.Equal(t, map[string]int{"discarded_waiting": 3}, events(t, pool))
}

func TestSchedulerDoesNotRunAhead(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	insert(t, pool, job{state: "scheduled", scheduledAt: 30 * time.Second})
	ahead := time.Now().Add(time.Minute)
	results, err := p.exec.JobSchedule(t.Context(), &riverdriver.JobScheduleParams{Max: 100, Now: &ahead, Schema: testSchema})
	require.NoError(t, err)
	require.Empty(t, results, "River asks for what is due before it comes by again")
}

func TestSchedulersShareTheWork(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	locked := insert(t, pool, job{state: "scheduled", scheduledAt: -time.Minute})
	free := insert(t, pool, job{state: "scheduled", scheduledAt: -time.Second})
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = tx.Exec(t.Context(), `SELECT FROM towpath.river_job WHERE id = $1 FOR UPDATE`, locked)
	require.NoError(t, err)
	found, err := p.executor().promote(t.Context(), testSchema, nil)
	require.NoError(t, err)
	require.Equal(t, 1, found.promoted)
	r, _ := live(t, pool, free)
	require.Equal(t, "available", r.State)
}

func TestSchedulingOutlivesAHistoryThatRefuses(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	exec(t, pool, `ALTER TABLE towpath.job_history ADD CONSTRAINT no_tows CHECK (kind <> 'tow')`)
	j := job{state: "scheduled", scheduledAt: -time.Minute, uniqueKey: []byte("key"), uniqueStates: "00000001"}
	insert(t, pool, j)
	id := insert(t, pool, j)
	found, err := p.executor().promote(t.Context(), testSchema, nil)
	require.NoError(t, err)
	require.Equal(t, 2, found.promoted)
	r, ok := live(t, pool, id)
	require.True(t, ok)
	require.Equal(t, "discarded", r.State)
}

// startDue starts the due service of a process.
func startDue(t *testing.T, p *process) {
	t.Helper()
	require.NoError(t, p.due.Start(t.Context()))
	t.Cleanup(p.due.Stop)
	<-p.due.Started()
}

func TestLeaderWakesAtTheMoment(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	// With looks so rare, only the knowledge of the due time can be what wakes it.
	p.due.pace.quiet, p.due.pace.busy = time.Hour, time.Hour
	id := insert(t, pool, job{state: "scheduled", scheduledAt: 300 * time.Millisecond})
	told := heard(t, pool)
	startDue(t, p)
	p.due.lead(true)
	require.JSONEq(t, `{"queue": "locks"}`, told())
	r, _ := live(t, pool, id)
	require.Equal(t, "available", r.State)
	require.LessOrEqual(t, r.ScheduledIn, time.Duration(0))
}

func TestLeaderFindsWhatWasScheduledMeanwhile(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	p.due.pace.quiet, p.due.pace.busy = 50*time.Millisecond, 50*time.Millisecond
	insert(t, pool, job{state: "scheduled", scheduledAt: time.Hour})
	startDue(t, p)
	p.due.lead(true)
	told := heard(t, pool)
	insert(t, pool, job{state: "retryable", scheduledAt: 100 * time.Millisecond})
	require.JSONEq(t, `{"queue": "locks"}`, told())
}

func TestAnyProcessWakesForItsOwnJobs(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	startDue(t, p)
	told := heard(t, pool)
	id := insert(t, pool, job{state: "retryable", scheduledAt: 100 * time.Millisecond})
	p.due.at(time.Now().Add(100 * time.Millisecond))
	require.JSONEq(t, `{"queue": "locks"}`, told())
	r, _ := live(t, pool, id)
	require.Equal(t, "available", r.State)

	begun := time.Now()
	p.due.at(begun.Add(100*time.Millisecond), "early")
	require.JSONEq(t, `{"queue": "early"}`, told(), "a job that was made available ahead of its time is told of at its time")
	require.GreaterOrEqual(t, time.Since(begun), 100*time.Millisecond)
}

func TestShortRetriesAreToldOfAtTheirTime(t *testing.T) {
	t.Parallel()
	lost, lose := context.WithCancel(t.Context())
	lose()
	for name, calls := range map[string][]context.Context{
		"answered": {t.Context()},
		// The end is written all the same, and the completer that comes again is answered from memory.
		"the first answer lost": {lost, t.Context()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			p := newProcess(t, pool, "p")
			startDue(t, p)
			insertMany(t, pool, 1)
			fetched := p.fetch(1)[0]
			told := heard(t, pool)
			at := time.Now().Add(200 * time.Millisecond)
			for _, ctx := range calls {
				rows, err := p.JobSetStateIfRunningMany(ctx, p.exec, &riverdriver.JobSetStateIfRunningManyParams{
					ID: []int64{fetched.ID}, Attempt: []*int{nil}, ErrData: [][]byte{[]byte(`{"at": "2026-03-01T12:00:00Z", "attempt": 1, "error": "no", "trace": ""}`)},
					FinalizedAt: []*time.Time{nil}, MetadataDoMerge: []bool{false}, MetadataUpdates: [][]byte{nil}, ScheduledAt: []*time.Time{&at},
					Schema: testSchema, State: []rivertype.JobState{rivertype.JobStateAvailable},
				})
				require.ErrorIs(t, err, ctx.Err())
				require.Equal(t, err == nil, len(rows) == 1)
				require.Eventually(t, func() bool {
					r, _ := live(t, pool, fetched.ID)
					return r.State == "available"
				}, 10*time.Second, time.Millisecond)
			}
			p.producer.JobFinish(fetched)
			require.JSONEq(t, `{"queue": "locks"}`, told())
			require.False(t, time.Now().Before(at))
			require.Len(t, p.fetch(1), 1)
		})
	}
}

// scheduled is a job to insert for a time from now.
func scheduled(in time.Duration) *riverdriver.JobInsertFastParams {
	at := time.Now().Add(in)
	return &riverdriver.JobInsertFastParams{
		EncodedArgs: []byte("{}"), Kind: testKind, MaxAttempts: 25, Priority: 1, Queue: testQueue, ScheduledAt: &at, State: rivertype.JobStateScheduled,
	}
}

func (p *process) insert(jobs ...*riverdriver.JobInsertFastParams) {
	p.t.Helper()
	tx, err := p.pool.Begin(p.t.Context())
	require.NoError(p.t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = p.JobInsertMany(p.t.Context(), inTransaction(p, tx), &riverdriver.JobInsertFastManyParams{Jobs: jobs, Schema: testSchema})
	require.NoError(p.t, err)
	require.NoError(p.t, tx.Commit(p.t.Context()))
}

func TestClientThatOnlyInsertsCallsTheLeader(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	leader, inserter := newProcess(t, pool, "leader"), unregisteredProcess(t, pool, "inserter", Config{})
	leader.due.pace.quiet, leader.due.pace.busy = time.Hour, time.Hour
	startDue(t, leader)
	leader.due.lead(true)
	require.Eventually(t, func() bool { return leader.storage.looksAfterDue(testSchema) }, 20*time.Second, 5*time.Millisecond)
	told := heard(t, pool)
	listener := NewListener(&oneNotification{payload: told}, leader.storage)

	inserter.insert(scheduled(time.Hour), scheduled(100*time.Millisecond))
	n, err := listener.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Equal(t, insertPayload(leaderCall), n.Payload)
	require.JSONEq(t, `{"queue": "locks"}`, told(), "the leader looked, and woke again at the moment")

	inserter.insert(scheduled(time.Hour))
	leader.insert(scheduled(200 * time.Millisecond))
	require.JSONEq(t, `{"queue": "locks"}`, told(), "no call for what is far, nor from a process that wakes by itself")
}

// Jobs that come by SQL call the leader as those of clients do which only insert.
func TestJobFromSQLCallsTheLeader(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	leader := newProcess(t, pool, "leader")
	leader.due.pace.quiet, leader.due.pace.busy = time.Hour, time.Hour
	startDue(t, leader)
	leader.due.lead(true)
	require.Eventually(t, func() bool { return leader.storage.looksAfterDue(testSchema) }, 20*time.Second, 5*time.Millisecond)
	told := heard(t, pool)
	listener := NewListener(&oneNotification{payload: told}, leader.storage)

	exec(t, pool, `SELECT towpath.enqueue('sql', queue => 'locks', scheduled_at => clock_timestamp() + interval '100 ms')`)
	n, err := listener.WaitForNotification(t.Context())
	require.NoError(t, err)
	require.Equal(t, insertPayload(leaderCall), n.Payload)
	require.JSONEq(t, `{"queue": "locks"}`, told(), "the leader looked, and woke again at the moment")
}

// oneNotification is River's listener with what told brings.
type oneNotification struct {
	riverdriver.Listener
	payload func() string
}

func (l *oneNotification) Schema() string { return testSchema }

func (l *oneNotification) WaitForNotification(context.Context) (*riverdriver.Notification, error) {
	return &riverdriver.Notification{Topic: insertTopic, Payload: l.payload()}, nil
}

func TestRiversSchedulerRestsBesideOurLeader(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	p.due.pace.quiet, p.due.pace.busy = time.Hour, time.Hour
	schedule := func() int {
		t.Helper()
		insert(t, pool, job{state: "scheduled", scheduledAt: -time.Second})
		results, err := p.exec.JobSchedule(t.Context(), &riverdriver.JobScheduleParams{Max: 100, Schema: testSchema})
		require.NoError(t, err)
		return len(results)
	}
	require.Equal(t, 1, schedule())
	startDue(t, p)
	require.Equal(t, 1, schedule(), "it does not lead")
	p.due.lead(true)
	require.Eventually(t, func() bool { return p.storage.looksAfterDue(testSchema) }, 20*time.Second, 5*time.Millisecond)
	require.Equal(t, 0, schedule())
	p.due.mu.Lock()
	p.due.looked = time.Now().Add(-time.Minute)
	p.due.mu.Unlock()
	require.Equal(t, 2, schedule(), "its looks do not get through")
}

func TestCallsAreFewAndNear(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	p.due.at(time.Now(), "before the start")
	require.Empty(t, p.due.calls)
	p.due.setRunning(true)
	p.due.at(time.Now().Add(time.Hour), "far")
	require.Empty(t, p.due.calls, "the leader will see it long before")
	moment := time.Now().Truncate(time.Second).Add(10 * time.Second)
	for i := range 1000 {
		p.due.at(moment.Add(time.Duration(i)*10*time.Microsecond), "near")
	}
	require.Len(t, p.due.calls, 1)
}

func TestPeriodicJobsAreDurable(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	ctx := t.Context()
	next := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	upsert := func(ids ...string) {
		t.Helper()
		tx, err := pool.Begin(ctx)
		require.NoError(t, err)
		params := &riverpilot.PeriodicJobUpsertManyParams{Schema: testSchema}
		for _, id := range ids {
			params.Jobs = append(params.Jobs, &riverpilot.PeriodicJobUpsertParams{ID: id, NextRunAt: next, UpdatedAt: time.Now()})
		}
		rows, err := p.PeriodicJobUpsertMany(ctx, inTransaction(p, tx), params)
		require.NoError(t, err)
		require.Len(t, rows, len(ids))
		require.NoError(t, tx.Commit(ctx))
	}
	all := func() map[string]time.Time {
		t.Helper()
		rows, err := p.PeriodicJobGetAll(ctx, p.exec, &riverpilot.PeriodicJobGetAllParams{Schema: testSchema})
		require.NoError(t, err)
		found := make(map[string]time.Time)
		for _, r := range rows {
			found[r.ID] = r.NextRunAt
		}
		return found
	}
	upsert("hourly", "daily", "gone")
	require.Equal(t, map[string]time.Time{"hourly": next, "daily": next, "gone": next}, all())
	first := next
	next = next.Add(time.Hour)
	upsert("hourly")
	require.Equal(t, map[string]time.Time{"hourly": next, "daily": first, "gone": first}, all())

	exec(t, pool, `UPDATE towpath.periodic_job SET updated_at = now() - interval '25 hours' WHERE id IN ('daily', 'gone')`)
	kept, err := p.PeriodicJobKeepAliveAndReap(ctx, p.exec, &riverpilot.PeriodicJobKeepAliveAndReapParams{ID: []string{"daily"}, Schema: testSchema})
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.WithinDuration(t, time.Now(), kept[0].UpdatedAt, time.Minute)
	require.Equal(t, map[string]time.Time{"hourly": next, "daily": first}, all())
	_, err = p.PeriodicJobKeepAliveAndReap(ctx, p.exec, &riverpilot.PeriodicJobKeepAliveAndReapParams{Schema: testSchema})
	require.NoError(t, err)
	require.Len(t, all(), 2)
}
