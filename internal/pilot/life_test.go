package pilot_test

import (
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/pilot"
)

// The properties say a lot with few cases; -rapid.checks asks for more.
func init() {
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
}

// attempt is one fetch of a job by a client, whether or not it still is the job's.
type attempt struct {
	by     *actor
	id     int64
	token  time.Time
	number int
	slot   bool // the handler is at work
	over   bool // its end was written by EndAttempt
}

// snapshot is a job as the tables have it.
type snapshot struct {
	state   string
	attempt int
	token   time.Time
	live    bool
	cancel  bool // a cancellation was asked for
}

// life is a random history of a queue's jobs. It runs without River's loops and without waiting: what is due is due
// already.
type life struct {
	r        *rig
	queue    string
	clients  []*actor
	attempts []*attempt
	now      map[int64]snapshot
	// What the counters are compared with.
	received int
	gone     map[string]int // finished jobs deleted or revived, by state
}

var lives atomic.Int64

func newLife(t *rapid.T, pool *rig) *life {
	l := &life{r: pool, queue: fmt.Sprintf("life %d", lives.Add(1)), now: map[int64]snapshot{}, gone: map[string]int{}}
	for i := range 2 {
		r := rigOn(pool.pool) // each in a process of its own
		a := &actor{rig: r, name: fmt.Sprintf("client %d", i), queue: l.queue, schema: schema, pilot: r.driver.PluginPilot(), exec: r.exec}
		a.init(t)
		pilot.HoldProbes(a.state)
		l.clients = append(l.clients, a)
	}
	return l
}

// TestLife runs random histories. After every step each job is in one place, has gone a legal way, and the counters tell
// exactly what the tables have.
func TestLife(t *testing.T) {
	t.Parallel()
	pool := newRig(t)
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t, pool)
		t.Repeat(map[string]func(*rapid.T){
			"":             l.check,
			"insert":       l.insert,
			"fetch":        l.fetch,
			"finish":       l.finish,
			"finishMany":   l.finishMany,
			"finishTx":     l.finishTx,
			"endAttempt":   l.endAttempt,
			"return":       l.handlerReturns,
			"cancel":       l.cancel,
			"retry":        l.retry,
			"delete":       l.remove,
			"deleteMany":   l.removeMany,
			"schedule":     l.schedule,
			"rescue":       l.rescue,
			"update":       l.update,
			"keep":         l.keepInPlace,
			"housekeeping": l.housekeeping,
		})
	})
}

// read takes a snapshot and requires that each job is in one place.
func (l *life) read(t *rapid.T) map[int64]snapshot {
	rows, err := l.r.pool.Query(t.Context(), `
		SELECT id, state::text, attempt, attempted_at, true, metadata ? 'cancel_attempted_at' FROM towpath.river_job WHERE queue = $1
		UNION ALL
		SELECT id, state::text, attempt, attempted_at, false, metadata ? 'cancel_attempted_at' FROM towpath.job_history WHERE queue = $1`, l.queue)
	require.NoError(t, err)
	jobs := make(map[int64]snapshot)
	var (
		id    int64
		s     snapshot
		token *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&id, &s.state, &s.attempt, &token, &s.live, &s.cancel}, func() error {
		require.NotContains(t, jobs, id, "job %d is in two places", id)
		if s.token = (time.Time{}); token != nil {
			s.token = *token
		}
		jobs[id] = s
		return nil
	})
	require.NoError(t, err)
	return jobs
}

func final(state string) bool {
	return slices.Contains([]string{"completed", "cancelled", "discarded"}, state)
}

var waitingStates = []string{"available", "pending", "retryable", "scheduled"}

// legal are the ways that a job may go in one step.
func legal(from, to snapshot) bool {
	waits := func(state string) bool { return slices.Contains(waitingStates, state) }
	switch {
	case from.state == to.state:
		return from.live || !to.live // history is left by a revival only
	case from.state == "running":
		return final(to.state) || waits(to.state) && to.state != "pending"
	case waits(from.state) && to.state == "running":
		return from.state == "available" && to.live && to.attempt == from.attempt+1
	case waits(from.state):
		return to.state == "available" || to.state == "cancelled" || to.state == "discarded"
	default: // finished
		return to.state == "available" && to.live && to.attempt == from.attempt
	}
}

// check looks at the whole after a step.
func (l *life) check(t *rapid.T) {
	after := l.read(t)
	for id, to := range after {
		if from, ok := l.now[id]; ok {
			require.True(t, legal(from, to), "job %d went from %+v to %+v", id, from, to)
		}
		require.True(t, to.live || final(to.state), "job %d is in history and %s", id, to.state)
	}
	l.now = after

	rows, finished := map[string]int{}, 0
	for _, s := range after {
		rows[s.state]++
	}
	n := l.r.counters(t, l.queue)
	require.Equal(t, rows["running"], n["started"]-n["completed"]-n["retried"]-n["snoozed"]-n["interrupted"]-n["cancelled"]-n["discarded"],
		"running: %v", n)
	for _, state := range []string{"completed", "cancelled", "discarded"} {
		require.Equal(t, rows[state]+l.gone[state], n[state]+n[state+"_waiting"], "%s: %v", state, n)
		finished += n[state] + n[state+"_waiting"]
	}
	live := rows["running"]
	for _, state := range waitingStates {
		live += rows[state]
	}
	require.Equal(t, l.received, finished-n["revived"]+n["deleted"]+live, "received: %v", n)
}

// pick draws one of the jobs that there are, or skips the step.
func (l *life) pick(t *rapid.T, which func(snapshot) bool) int64 {
	var found []int64
	for id, s := range l.now {
		if which(s) {
			found = append(found, id)
		}
	}
	if len(found) == 0 {
		t.Skip("no such job")
	}
	slices.Sort(found)
	return rapid.SampledFrom(found).Draw(t, "job")
}

func anyJob(snapshot) bool { return true }

func (l *life) client(t *rapid.T) *actor { return rapid.SampledFrom(l.clients).Draw(t, "client") }

func past() time.Time { return time.Now().Add(-time.Minute) }

func (l *life) insert(t *rapid.T) {
	params := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) *riverdriver.JobInsertFastParams {
		j := job(inQueue(l.queue), maxAttempts(rapid.IntRange(1, 3).Draw(t, "max attempts")), priority(rapid.IntRange(1, 4).Draw(t, "priority")), at(past()))
		j.State = rapid.SampledFrom([]rivertype.JobState{"available", "available", "available", "scheduled", "pending"}).Draw(t, "state")
		return j
	}), 1, 3).Draw(t, "jobs")
	if rapid.IntRange(0, 2).Draw(t, "unique") == 0 {
		states := rapid.SampledFrom([]byte{whileUnfinished, evenFinished, 0b11111111}).Draw(t, "states")
		unique(l.queue+rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"), states)(params[0])
	}
	commit := rapid.IntRange(0, 4).Draw(t, "commit") > 0
	a, added := l.client(t), 0
	err := pgx.BeginFunc(t.Context(), l.r.pool, func(tx pgx.Tx) error {
		results, err := a.tryInsertTx(t.Context(), tx, params...)
		require.NoError(t, err)
		for _, result := range results {
			if !result.UniqueSkippedAsDuplicate {
				added++
			}
		}
		if !commit {
			return errRollBack
		}
		return nil
	})
	if commit {
		require.NoError(t, err)
		l.received += added
	}
}

func (l *life) fetch(t *rapid.T) {
	a := l.client(t)
	pilot.SetSlow(a.state, rapid.Bool().Draw(t, "from the watermark"))
	before := l.read(t)
	for _, row := range a.fetch(t, rapid.IntRange(1, 4).Draw(t, "limit")) {
		require.Equal(t, "available", before[row.ID].state)
		require.Equal(t, before[row.ID].attempt+1, row.Attempt)
		require.False(t, slices.ContainsFunc(l.attempts, func(x *attempt) bool { return x.by == a && x.id == row.ID && x.slot }),
			"a client must not work a job twice at once")
		l.attempts = append(l.attempts, &attempt{by: a, id: row.ID, token: *row.AttemptedAt, number: row.Attempt, slot: true})
	}
	// Jobs that came back to a client that holds them wait for a moment; there is no waiting here.
	l.r.run(t, `UPDATE towpath.river_job SET scheduled_at = now() - interval '1 minute' WHERE queue = $1 AND state = 'available' AND scheduled_at > now()`, l.queue)
}

// holding draws an attempt whose handler is at work, stale or not.
func (l *life) holding(t *rapid.T) *attempt {
	var held []*attempt
	for _, x := range l.attempts {
		if x.slot {
			held = append(held, x)
		}
	}
	if len(held) == 0 {
		t.Skip("nobody works")
	}
	return held[rapid.IntRange(0, len(held)-1).Draw(t, "attempt")]
}

// current reports whether an attempt is still the job's.
func (l *life) current(x *attempt) bool {
	s := l.now[x.id]
	return s.state == "running" && s.token.Equal(x.token)
}

// ending draws how an attempt ends, and what the job becomes if nobody asked for its cancellation.
func (l *life) ending(t *rapid.T, x *attempt) (params *setState, becomes string) {
	metadata := []byte(nil)
	if rapid.Bool().Draw(t, "metadata") {
		metadata = []byte(`{"output": 1}`)
	}
	how := rapid.SampledFrom([]string{"complete", "fail", "fail at once", "snooze", "snooze at once", "hand back", "discard", "cancel"}).Draw(t, "how")
	switch how {
	case "complete":
		return riverdriver.JobSetStateCompleted(x.id, time.Now(), metadata), "completed"
	case "fail":
		return riverdriver.JobSetStateErrorRetryable(x.id, past(), attemptError("no"), metadata), "retryable"
	case "fail at once":
		return riverdriver.JobSetStateErrorAvailable(x.id, past(), attemptError("no"), metadata), "available"
	case "snooze":
		return riverdriver.JobSetStateSnoozed(x.id, past(), x.number-1, []byte(`{"snoozes": 1}`)), "scheduled"
	case "snooze at once":
		return riverdriver.JobSetStateSnoozedAvailable(x.id, past(), x.number-1, []byte(`{"snoozes": 1}`)), "available"
	case "hand back":
		return riverdriver.JobSetStateInterrupted(x.id, past(), x.number-1, metadata), "available"
	case "discard":
		return riverdriver.JobSetStateDiscarded(x.id, time.Now(), attemptError("no"), metadata), "discarded"
	default:
		return riverdriver.JobSetStateCancelled(x.id, time.Now(), attemptError("no"), metadata), "cancelled"
	}
}

// written requires what an ending must have come to.
func (l *life) written(t *rapid.T, x *attempt, becomes string, before snapshot, wasCurrent bool) {
	after, there := l.read(t)[x.id]
	switch {
	case !wasCurrent:
		require.Equal(t, before, after, "a stale attempt changed its job")
	case before.cancel && slices.Contains(waitingStates, becomes):
		require.Equal(t, "cancelled", after.state)
	default:
		require.True(t, there)
		require.Equal(t, becomes, after.state)
	}
}

func (l *life) finish(t *rapid.T) {
	x := l.holding(t)
	params, becomes := l.ending(t, x)
	before, mine := l.now[x.id], l.current(x) && !x.over
	rows := x.by.finish(t, params)
	switch {
	case mine:
		require.Equal(t, []int64{x.id}, ids(rows))
	case len(rows) > 0: // it ended the job itself, and reports again
		require.True(t, final(before.state) && before.token.Equal(x.token))
	}
	l.written(t, x, becomes, before, mine)
	x.by.freeSlot(x.id)
	x.slot = false
}

func (l *life) finishMany(t *rapid.T) {
	a := l.client(t)
	var params []*setState
	for _, x := range l.attempts {
		if x.by == a && x.slot && rapid.Bool().Draw(t, "this one") {
			p, _ := l.ending(t, x)
			params = append(params, p)
			x.slot = false
		}
	}
	a.finish(t, params...)
	for _, p := range params {
		a.freeSlot(p.ID)
	}
}

func (l *life) finishTx(t *rapid.T) {
	x := l.holding(t)
	before, mine := l.now[x.id], l.current(x)
	commit := rapid.Bool().Draw(t, "commit")
	err := pgx.BeginFunc(t.Context(), l.r.pool, func(tx pgx.Tx) error {
		if _, err := x.by.finishTx(t.Context(), tx, completed(x.id)); err != nil {
			return err
		}
		if !commit {
			return errRollBack
		}
		return nil
	})
	switch {
	case !mine:
		require.ErrorIs(t, err, pilot.ErrAttemptOver)
	case commit:
		require.NoError(t, err)
	}
	l.written(t, x, "completed", before, mine && commit)
}

func (l *life) endAttempt(t *rapid.T) {
	x := l.holding(t)
	before, mine := l.now[x.id], l.current(x)
	becomes := rapid.SampledFrom([]string{"available", "discarded"}).Draw(t, "becomes")
	params := failedAvailable(x.id, past())
	if becomes == "discarded" {
		params = discarded(x.id)
	}
	ended, err := x.by.pilot.(*pilot.Pilot).EndAttempt(t.Context(), x.by.exec, schema, x.token, params)
	require.NoError(t, err)
	require.Equal(t, mine, ended)
	x.over = x.over || ended
	l.written(t, x, becomes, before, mine)
}

// handlerReturns frees the slot of an attempt whose end nobody writes: its finish comes to nothing.
func (l *life) handlerReturns(t *rapid.T) {
	x := l.holding(t)
	if l.current(x) {
		t.Skip("River would write its end")
	}
	x.by.freeSlot(x.id)
	x.by.finish(t, completed(x.id))
	x.slot = false
}
