package pilot

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestProcessRowTellsOfTheProcess(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := unregisteredProcess(t, pool, "barge-1", Config{Process: Process{
		Host: "lock-keeper", PID: 7, Version: "v1", Roles: []string{"worker"}, Slots: map[string]int{testQueue: 5}, NeverLeads: true,
	}})
	p.register()
	_, _, err := p.ProducerInit(t.Context(), p.exec, &riverpilot.ProducerInitParams{ClientID: p.clientID, Queue: "other", Schema: testSchema})
	require.NoError(t, err)
	insertMany(t, pool, 2)
	require.Len(t, p.fetch(2), 2)
	p.beat()

	show := func() (line string) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT concat_ws('|', client_id, host, pid, version, roles::text, queues::text, kinds::text,
			running, beat, stopped_at IS NOT NULL, dead_at IS NOT NULL) FROM towpath.process`).Scan(&line))
		return line
	}
	require.Equal(t, `barge-1|lock-keeper|7|v1|{worker}|{"locks": 5, "other": 0}|{tow}|2|2|f|f`, show(), "one row for both queues")
	var (
		mayLead, near bool
		connections   int32
	)
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT may_lead, max_conns, clock_ahead BETWEEN interval '-1 minute' AND interval '1 second'
		FROM towpath.process`).Scan(&mayLead, &connections, &near))
	require.False(t, mayLead)
	require.Equal(t, pool.Config().MaxConns, connections)
	require.True(t, near, "both clocks are this machine's")

	require.NoError(t, p.ProducerShutdown(t.Context(), p.exec, &riverpilot.ProducerShutdownParams{Queue: "other", Schema: testSchema}))
	p.beat()
	require.Equal(t, `barge-1|lock-keeper|7|v1|{worker}|{"locks": 5}|{tow}|2|3|f|f`, show())

	shutdown := &riverpilot.ProducerShutdownParams{Queue: testQueue, Schema: testSchema}
	require.NoError(t, p.ProducerShutdown(t.Context(), p.exec, shutdown))
	require.NoError(t, p.ProducerShutdown(t.Context(), p.exec, shutdown), "River may ask twice")
	p.beat()
	require.Equal(t, `barge-1|lock-keeper|7|v1|{worker}|{"locks": 5}|{tow}|2|3|t|f`, show(), "the last queue stops it, and the beats")

	p.register()
	require.Equal(t, 2, number(t, pool, `SELECT count(*) FROM towpath.process`), "a new start is a new row")
}

func TestDeadProcessesJobsComeBack(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	dead, observer := newProcess(t, pool, "dead"), newProcess(t, pool, "observer")
	insertMany(t, pool, 1)
	jobs := dead.fetch(1)
	var (
		plain     = jobs[0].ID
		running   = job{state: "running", attempt: 2, attemptedBy: "dead", attemptedAt: 0}
		foreign   = running
		last      = running
		cancelled = running
		holding   = running
		finish    []int64
	)
	last.maxAttempts, cancelled.metadata = 2, `{"cancel_attempted_at": "2026-01-01T00:00:00Z", "a": 1}`
	holding.maxAttempts, holding.uniqueKey, holding.uniqueStates = 2, []byte("key"), "11111111"
	foreign.attemptedBy = "a plain River client"
	for _, j := range []job{last, cancelled, holding, foreign} {
		finish = append(finish, insert(t, pool, j))
	}
	told := heard(t, pool)

	observer.live(20 * time.Second)
	require.Equal(t, 0, number(t, pool, `SELECT count(*) FROM towpath.process WHERE dead_at IS NOT NULL`), "seen first at 5 s, silent for 15 s")
	observer.live(5 * time.Second)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.process WHERE dead_at IS NOT NULL AND client_id = 'dead'`))

	back, ok := live(t, pool, plain)
	require.True(t, ok)
	require.Equal(t, "available", back.State)
	require.Equal(t, 1, back.Attempt, "the attempt is used up")
	require.LessOrEqual(t, back.ScheduledIn, time.Duration(0), "and the next may begin at once")
	require.Len(t, back.Errors, 1)
	require.Equal(t, 1, back.Errors[0].Attempt)
	require.Regexp(t, `^process dead on host .* went silent and left the attempt running$`, back.Errors[0].Error)
	require.WithinDuration(t, time.Now(), back.Errors[0].At, time.Minute)
	require.InDelta(t, 1, back.Metadata["river:rescue_count"], 0)

	end, ok := finished(t, pool, finish[0])
	require.True(t, ok, "no attempt is left: it ends and moves")
	require.Equal(t, "discarded", end.State)
	require.True(t, end.Finalized)
	end, ok = finished(t, pool, finish[1])
	require.True(t, ok)
	require.Equal(t, "cancelled", end.State, "a cancellation that was asked for holds")
	require.InDelta(t, 1, end.Metadata["a"], 0)
	end, ok = live(t, pool, finish[2])
	require.True(t, ok, "its unique key is held in every state, so it stays")
	require.Equal(t, "discarded", end.State)
	left, ok := live(t, pool, finish[3])
	require.True(t, ok)
	require.Equal(t, "running", left.State, "whoever has no row is not given up")

	require.Equal(t, map[string]int{"started": 1, "retried": 1, "discarded": 2, "cancelled": 1}, events(t, pool))
	require.JSONEq(t, `{"queue": "locks"}`, told())
	require.Len(t, observer.fetch(10), 1)
}

func TestBeatWinsOverDeclaration(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	slow, observer := newProcess(t, pool, "slow"), newProcess(t, pool, "observer")
	for range 4 {
		observer.clock.advance(5 * time.Second)
		observer.beat()
	}
	observer.clock.advance(5 * time.Second)
	seen := observer.beat()
	require.Len(t, seen.silent, 1)
	slow.beat()
	dead, err := observer.fleet.declare(t.Context(), home{pool, testSchema}, seen.silent)
	require.NoError(t, err)
	require.Empty(t, dead, "the sign of life came in between")
	require.True(t, slow.fleet.mayFetch())
	slow.beat()
	require.NotEqual(t, int64(0), slow.fleet.epoch)
	require.Equal(t, 2, number(t, pool, `SELECT count(*) FROM towpath.process`), "nobody had to register anew")
}

func TestObserverThatWasAwayForgets(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	newProcess(t, pool, "paused too")
	observer := newProcess(t, pool, "observer")
	observer.live(20 * time.Second)
	observer.clock.advance(time.Hour) // the whole machine slept
	observer.fleet.attendTo(t.Context(), observer.beat())
	observer.live(15 * time.Second)
	require.Equal(t, 0, number(t, pool, `SELECT count(*) FROM towpath.process WHERE dead_at IS NOT NULL`))
	observer.live(5 * time.Second)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.process WHERE dead_at IS NOT NULL`), "twenty seconds of its own later")
}

func TestPausedProcessIsFenced(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	paused, observer := newProcess(t, pool, "paused"), newProcess(t, pool, "observer")
	insertMany(t, pool, 2)
	mine := paused.fetch(2)
	require.Len(t, mine, 2)
	taken := mine[0].ID
	require.True(t, paused.fleet.mayFetch())

	paused.clock.advance(time.Minute)
	require.False(t, paused.fleet.mayFetch(), "it has to find out first what became of it")
	require.Empty(t, paused.fetch(2))
	observer.live(25 * time.Second)
	got := observer.fetch(1)
	require.Equal(t, taken, got[0].ID)

	old := paused.fleet.epoch
	paused.beat() // finds its tombstone
	require.Greater(t, paused.fleet.epoch, old)
	require.True(t, paused.fleet.mayFetch(), "it lives on under a new epoch")
	paused.live(5 * time.Second)
	over, err := paused.exec.JobGetCancelRequested(t.Context(), &riverdriver.JobGetCancelRequestedParams{
		ID: []int64{mine[0].ID, mine[1].ID}, Schema: testSchema,
	})
	require.NoError(t, err)
	require.ElementsMatch(t, []int64{mine[0].ID, mine[1].ID}, over, "the contexts of what it lost are cancelled")

	rows, err := paused.JobSetStateIfRunningMany(t.Context(), paused.exec, complete(mine[0].ID))
	require.NoError(t, err)
	require.Empty(t, rows, "and it cannot finish what another works on")
	now, ok := live(t, pool, taken)
	require.True(t, ok)
	require.Equal(t, "running", now.State)
	require.True(t, got[0].AttemptedAt.Equal(*now.Token))

	none, err := observer.exec.JobGetCancelRequested(t.Context(), &riverdriver.JobGetCancelRequestedParams{ID: []int64{taken}, Schema: testSchema})
	require.NoError(t, err)
	require.Empty(t, none)
	rows, err = observer.JobSetStateIfRunningMany(t.Context(), observer.exec, complete(taken))
	require.NoError(t, err)
	require.Len(t, rows, 1)
}

func complete(id int64) *riverdriver.JobSetStateIfRunningManyParams {
	now := time.Now()
	return &riverdriver.JobSetStateIfRunningManyParams{
		ID: []int64{id}, Attempt: []*int{nil}, ErrData: [][]byte{nil}, FinalizedAt: []*time.Time{&now}, MetadataDoMerge: []bool{false},
		MetadataUpdates: [][]byte{nil}, ScheduledAt: []*time.Time{nil}, Schema: testSchema, State: []rivertype.JobState{rivertype.JobStateCompleted},
	}
}

func TestAttemptThatIsStillOurOwnIsNotRevoked(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	insertMany(t, pool, 1)
	id := p.fetch(1)[0].ID
	exec(t, pool, `DELETE FROM towpath.process`) // an operator's mistake
	p.live(10 * time.Second)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.process`))
	ids, err := p.exec.JobGetCancelRequested(t.Context(), &riverdriver.JobGetCancelRequestedParams{ID: []int64{id}, Schema: testSchema})
	require.NoError(t, err)
	require.Empty(t, ids, "a cancellation would become the job's end")
	rows, err := p.JobSetStateIfRunningMany(t.Context(), p.exec, complete(id))
	require.NoError(t, err)
	require.Len(t, rows, 1)
}

func TestEpochsTellReusedClientIDsApart(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	first := newProcess(t, pool, "worker-0")
	insertMany(t, pool, 2)
	old := first.fetch(1)[0].ID
	second := newProcess(t, pool, "worker-0") // after a kill -9
	young := second.fetch(1)[0].ID

	second.live(25 * time.Second)
	back, _ := live(t, pool, old)
	require.Equal(t, "available", back.State)
	mine, _ := live(t, pool, young)
	require.Equal(t, "running", mine.State, "the dead epoch does not own the living one's job")

	second.clock.advance(time.Hour)
	observer := newProcess(t, pool, "observer")
	observer.live(25 * time.Second)
	mine, _ = live(t, pool, young)
	require.Equal(t, "available", mine.State)
}

func TestEpochsAreSweptOneByOne(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	exec(t, pool, `INSERT INTO towpath.process (epoch, client_id, started_at, stopped_at, dead_at) VALUES
		(1000, 'a', now() - interval '3 hours', NULL, now()), (1001, 'b', now() - interval '2 hours', now(), NULL),
		(1002, 'b', now() - interval '1 hour', NULL, now())`)
	running := job{state: "running", attempt: 1, attemptedBy: "b", attemptedAt: 90 * time.Minute}
	finishing := insert(t, pool, running)
	running.attemptedAt = time.Minute
	lost := insert(t, pool, running)
	_, err := p.executor().rescueAll(t.Context(), testSchema, []int64{1000, 1002})
	require.NoError(t, err)
	r, _ := live(t, pool, finishing)
	require.Equal(t, "running", r.State, "the epoch before the dead one has only just stopped")
	r, _ = live(t, pool, lost)
	require.Equal(t, "available", r.State)
}

func TestStoppedProcessLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p, observer := newProcess(t, pool, "p"), newProcess(t, pool, "observer")
	insertMany(t, pool, 1)
	id := p.fetch(1)[0].ID
	require.NoError(t, p.fleet.unregister(t.Context(), testQueue))
	observer.live(10 * time.Second)
	r, _ := live(t, pool, id)
	require.Equal(t, "running", r.State, "its finish may be on the way")
	exec(t, pool, `UPDATE towpath.process SET stopped_at = stopped_at - interval '21 seconds' WHERE client_id = 'p'`)
	observer.live(5 * time.Second)
	r, _ = live(t, pool, id)
	require.Equal(t, "available", r.State)
	require.Contains(t, r.Errors[0].Error, "stopped and left the attempt running")
}

func TestRescuersShareTheWork(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	dead := newProcess(t, pool, "dead")
	a, b := newProcess(t, pool, "a"), newProcess(t, pool, "b")
	const n = 2500
	insertMany(t, pool, n)
	require.Len(t, dead.fetch(n), n)
	exec(t, pool, `UPDATE towpath.process SET dead_at = now() WHERE client_id = 'dead'`)

	results := make([]rescued, 2)
	var wg sync.WaitGroup
	for i, p := range []*process{a, b} {
		wg.Go(func() {
			var err error
			results[i], err = p.executor().rescueAll(t.Context(), testSchema, []int64{dead.fleet.epoch})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, n, results[0].total()+results[1].total())
	require.Equal(t, n, events(t, pool)["retried"], "each job once")
	require.Equal(t, n, number(t, pool, `SELECT count(*) FROM towpath.river_job WHERE state = 'available' AND array_length(errors, 1) = 1`))
}

func TestRescueLeavesLockedJobsToTheirTransaction(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	dead, observer := newProcess(t, pool, "dead"), newProcess(t, pool, "observer")
	insertMany(t, pool, 1)
	id := dead.fetch(1)[0].ID
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	rows, err := dead.JobSetStateIfRunningMany(t.Context(), inTransaction(dead, tx), complete(id))
	require.NoError(t, err)
	require.Len(t, rows, 1)

	observer.live(30 * time.Second)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.process WHERE dead_at IS NOT NULL`))
	require.NoError(t, tx.Commit(t.Context()), "the handler finished after all")
	observer.live(30 * time.Second)
	_, ok := finished(t, pool, id)
	require.True(t, ok)
	require.Equal(t, 0, events(t, pool)["retried"])
}

func TestJobsWhoseFetchGotNoAnswerAreHandedBack(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	since := time.Now().Add(-time.Hour)
	p.fleet.since = since
	lostAnswer := job{state: "running", attempt: 3, attemptedBy: "p", attemptedAt: 40 * time.Second}
	id := insert(t, pool, lostAnswer)
	lostAnswer.attemptedAt = 2 * time.Hour
	former := insert(t, pool, lostAnswer)
	lostAnswer.attemptedAt = time.Second
	fresh := insert(t, pool, lostAnswer)
	insertMany(t, pool, 1)
	heldID := p.fetch(1)[0].ID
	exec(t, pool, `UPDATE towpath.river_job SET attempted_at = clock_timestamp() - interval '1 minute' WHERE id = $1`, heldID)
	reclaim := func() { require.NoError(t, p.fleet.reclaim(t.Context(), p.executor(), testSchema, "p", since)) }

	reclaim()
	r, _ := live(t, pool, id)
	require.Equal(t, "running", r.State, "it may be between two steps here")
	reclaim()
	r, _ = live(t, pool, id)
	require.Equal(t, "running", r.State, "the second look comes a beat later")
	p.clock.advance(5 * time.Second)
	reclaim()
	r, _ = live(t, pool, id)
	require.Equal(t, "available", r.State)
	require.Equal(t, 2, r.Attempt, "the attempt is not used up")
	require.Empty(t, r.Errors)
	require.Equal(t, 1, events(t, pool)["interrupted"])
	for _, other := range []int64{former, fresh, heldID} {
		r, _ = live(t, pool, other)
		require.Equal(t, "running", r.State)
	}
}

// After a fetch that failed nobody waits for the next regular look: its jobs are back as soon as they are old enough for
// it to be sure, and a beat later.
func TestFailedFetchIsLookedAfter(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	since := time.Now().Add(-time.Hour)
	reclaim := func() { require.NoError(t, p.fleet.reclaim(t.Context(), p.executor(), testSchema, "p", since)) }
	reclaim()
	p.clock.advance(2 * time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.JobGetAvailable(ctx, p.exec, p.producer, &riverdriver.JobGetAvailableParams{
		ClientID: "p", MaxAttemptedBy: 100, MaxToLock: 1, Queue: testQueue, Schema: testSchema,
	})
	require.Error(t, err)
	p.clock.advance(26 * time.Second)
	reclaim()
	p.clock.advance(2 * time.Second) // the regular look, too early
	reclaim()
	id := insert(t, pool, job{state: "running", attempt: 3, attemptedBy: "p", attemptedAt: 40 * time.Second})
	p.clock.advance(2 * time.Second)
	reclaim()
	p.clock.advance(5 * time.Second)
	reclaim()
	r, _ := live(t, pool, id)
	require.Equal(t, "available", r.State)
}

func TestTwinsHandNothingBack(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p, twin := newProcess(t, pool, "same"), newProcess(t, pool, "same")
	exec(t, pool, `UPDATE towpath.process SET started_at = started_at - interval '1 hour'`)
	p.fleet.since = p.fleet.since.Add(-time.Hour)
	id := insert(t, pool, job{state: "running", attempt: 1, attemptedBy: "same", attemptedAt: time.Minute})
	for range 20 {
		twin.beat()
		p.live(5 * time.Second)
	}
	r, _ := live(t, pool, id)
	require.Equal(t, "running", r.State, "it is the twin's")
}
