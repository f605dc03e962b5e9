package pilot_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

const aheadSlots = 4

func fewSlots(config *river.Config) {
	config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: aheadSlots}}
}

// errands inserts jobs of one sort.
func (r *rig) errands(t *testing.T, client interface {
	InsertMany(ctx context.Context, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error)
}, n int, what string,
) {
	t.Helper()
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i].Args = errand{What: what}
	}
	_, err := client.InsertMany(t.Context(), params)
	require.NoError(t, err)
}

// mostFetched is how many of the finished jobs one statement has fetched at most.
func (r *rig) mostFetched(t *testing.T) (n int) {
	t.Helper()
	r.queryRow(t, "SELECT max(n) FROM (SELECT count(*) AS n FROM towpath.job_history WHERE state = 'completed' GROUP BY attempted_at) AS fetched")(&n)
	return n
}

func (r *rig) inState(t failer, state rivertype.JobState) (n int) {
	r.queryRow(t, "SELECT count(*) FROM towpath.river_job WHERE state = $1::text::towpath.river_job_state", string(state))(&n)
	return n
}

// Short jobs in few slots come by more than the slots at a time, each once and counted once.
func TestFetchAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const jobs = 3000
	r.errands(t, r.client(t, nil, func(c *river.Config) { c.Queues = nil }), jobs, "short")
	var done, atOnce, most atomic.Int64
	r.client(t, func(context.Context, *river.Job[errand]) error {
		if now := atOnce.Add(1); now > most.Load() {
			most.Store(now)
		}
		defer atOnce.Add(-1)
		done.Add(1)
		return nil
	}, fewSlots)
	require.Eventually(t, func() bool {
		var n int
		r.queryRow(t, "SELECT count(*) FROM towpath.job_history WHERE state = 'completed'")(&n)
		return n == jobs
	}, soon, tick)
	require.EqualValues(t, jobs, done.Load(), "none ran twice")
	require.LessOrEqual(t, most.Load(), int64(aheadSlots))
	require.Greater(t, r.mostFetched(t), 2*aheadSlots)
	counters := r.counters(t, river.QueueDefault)
	require.Equal(t, jobs, counters["completed"])
	require.Equal(t, jobs, counters["started"]-counters["interrupted"])
}

// Jobs that were fetched ahead and then find all slots taken go back, with their attempt not used up.
func TestFetchedAheadInVain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inserter := r.client(t, nil, func(c *river.Config) { c.Queues = nil })
	r.errands(t, inserter, 600, "short")
	r.errands(t, inserter, 100, "long")
	letGo := make(chan struct{})
	r.client(t, func(_ context.Context, job *river.Job[errand]) error {
		if job.Args.What == "long" {
			<-letGo
		}
		return nil
	}, fewSlots)
	settled := func() bool {
		return r.inState(t, rivertype.JobStateRunning) == aheadSlots && r.inState(t, rivertype.JobStateAvailable) == 100-aheadSlots
	}
	require.Eventually(t, settled, soon, tick)
	r.run(t, "UPDATE towpath.process SET running = -1") // as of the next beat
	require.Eventually(t, func() bool {
		var running int
		r.queryRow(t, "SELECT max(running) FROM towpath.process")(&running)
		return running == aheadSlots
	}, soon, tick)
	var used int
	r.queryRow(t, "SELECT count(*) FROM towpath.river_job WHERE state = 'available' AND attempt <> 0")(&used)
	require.Zero(t, used)
	close(letGo)
	require.Eventually(t, func() bool {
		var n, most int
		r.queryRow(t, "SELECT count(*), coalesce(max(attempt), 0) FROM towpath.job_history WHERE state = 'completed'")(&n, &most)
		require.LessOrEqual(t, most, 1)
		return n == 700
	}, soon, tick)
	counters := r.counters(t, river.QueueDefault)
	require.Equal(t, counters["started"], counters["completed"]+counters["interrupted"])
}

// A client that stops leaves nothing running, and what it had fetched ahead is as it was.
func TestStopWithJobsFetchedAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const jobs = 5000
	r.errands(t, r.client(t, nil, func(c *river.Config) { c.Queues = nil }), jobs, "short")
	var done atomic.Int64
	client := r.client(t, func(context.Context, *river.Job[errand]) error { done.Add(1); return nil }, fewSlots)
	require.Eventually(t, func() bool { return done.Load() > 300 }, soon, tick)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, client.Stop(ctx))
	require.Zero(t, r.inState(t, rivertype.JobStateRunning))
	var used int
	r.queryRow(t, "SELECT count(*) FROM towpath.river_job WHERE attempt <> 0")(&used)
	require.Zero(t, used)
	require.Equal(t, jobs-int(done.Load()), r.inState(t, rivertype.JobStateAvailable))
}

// A queue that is paused gives back what was fetched ahead.
func TestPauseWithJobsFetchedAhead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	inserter := r.client(t, nil, func(c *river.Config) { c.Queues = nil })
	const jobs = 5000
	r.errands(t, inserter, jobs, "short")
	var done atomic.Int64
	r.client(t, func(context.Context, *river.Job[errand]) error { done.Add(1); return nil }, fewSlots)
	require.Eventually(t, func() bool { return done.Load() > 300 }, soon, tick)
	require.NoError(t, inserter.QueuePause(t.Context(), river.QueueDefault, nil))
	require.Eventually(t, func() bool {
		return r.inState(t, rivertype.JobStateRunning) == 0 && r.inState(t, rivertype.JobStateAvailable) == jobs-int(done.Load())
	}, soon, tick)
	require.NoError(t, inserter.QueueResume(t.Context(), river.QueueDefault, nil))
	require.Eventually(t, func() bool { return done.Load() == jobs }, soon, tick)
}
