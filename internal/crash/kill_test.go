package crash

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"
)

// load are the flags of producers that go on until they are told to end.
func load(rate int) []string { return []string{"--rate", fmt.Sprint(rate)} }

// stopProducers ends producers in good order.
func stopProducers(t *testing.T, producers []*process) {
	t.Helper()
	for _, p := range producers {
		p.terminate()
		require.Zero(t, p.cmd.ProcessState.ExitCode(), "exit code of %s", p.id)
	}
}

// some is n jobs with the same args.
func some(n int, args river.JobArgs) []river.JobArgs { return slices.Repeat([]river.JobArgs{args}, n) }

// Workers that are killed with jobs in their hands are missed within half a minute, and others work those jobs, while
// everything else goes on.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.startWorker(nil)
	victim := r.startWorker(map[string]string{"TOWPATH_LEAD": "off"})
	r.enqueue(some(40, holdArgs{Gates: []int{1, 0}, Tx: true})...) // more than the slots of one worker
	producers := r.startProducers(2, load(100)...)
	r.awaitHeld(victim, 20)
	r.awaitWorking(victim, first)
	victim.kill()
	r.startWorker(nil)
	r.awaitRescue(victim)
	r.openGate(1)
	stopProducers(t, producers)
	r.conclude(patience)
	require.Len(t, r.strings("SELECT job_id::text FROM crash.attempt WHERE client = $1 AND outcome IS NULL", victim.id), 20)
}

// The leader is a worker like any other, and somebody else takes its place: jobs that are scheduled, or retried, go on
// becoming available.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	leader := r.startWorker(nil)
	require.Equal(t, leader, r.leader())
	r.enqueue(some(20, holdArgs{Gates: []int{0}})...)
	other := r.startWorker(nil)
	producers := r.startProducers(2, load(100)...)
	r.awaitWorking(leader, other)
	leader.kill()
	died := time.Now()
	require.Equal(t, other, r.leader())
	t.Logf("%s led %s after that", other.id, time.Since(died).Round(100*time.Millisecond))
	var later []river.JobArgs
	for range 10 {
		later = append(later, laterArgs{Salt: r.dice.Uint64() | 1, Due: time.Now().Add(time.Second)})
	}
	ids := r.enqueue(later...)
	r.awaitTrue(patience, "scheduled jobs are worked", "SELECT count(*) = $2 FROM crash.effect WHERE job_id = ANY($1)", ids, len(ids))
	r.awaitRescue(leader)
	stopProducers(t, producers)
	r.conclude(patience)
}

// Workers live through the death of Postgres, whether a moment long or longer than they may go without a sign of life.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	r := newRigWithPostgres(t)
	workers := []*process{r.startWorker(nil), r.startWorker(nil)}
	producers := r.startProducers(2, load(150)...)
	r.awaitWorking(workers...)
	outages := []time.Duration{0, 12 * time.Second}
	if *longFlag {
		outages = append(outages, 30*time.Second, 2*time.Minute)
	}
	for _, outage := range outages {
		r.killPostgres(outage)
		r.awaitWorking(workers...)
		r.killBackend()
		r.awaitWorking(workers...)
	}
	stopProducers(t, producers)
	r.conclude(patience)
}
