package crash

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A worker that was away for so long that it was given up, and whose jobs others have finished or are running, changes
// nothing about them when it comes back: neither its handlers nor its client can finish what is no longer theirs. It
// notices by itself, and works on.
func TestWorkerPaused(t *testing.T) {
	t.Parallel()
	// The test run's server would not do: to create or drop a database, Postgres waits for all its backends, and one that
	// writes to a paused client does not listen.
	r := newRigWithPostgres(t)
	away := r.startWorker(nil) // leads
	r.leader()
	gone := append(some(5, holdArgs{Gates: []int{1, 0}, Tx: true}), some(5, holdArgs{Gates: []int{1, 0}})...)
	gone = append(gone, some(5, holdArgs{Gates: []int{1, 0}, Tx: true, Stubborn: true})...)
	taken := append(some(2, holdArgs{Gates: []int{1, 2}, Tx: true}), some(2, holdArgs{Gates: []int{1, 2}})...)
	taken = append(taken, some(1, holdArgs{Gates: []int{1, 2}, Tx: true, Stubborn: true})...)
	finished, running := r.enqueue(gone...), r.enqueue(taken...) // the slots of the queue, together
	r.awaitHeld(away, len(finished)+len(running))
	other := r.startWorker(nil)
	producers := r.startProducers(2, load(100)...)
	r.awaitWorking(away, other)

	stopped := time.Now()
	away.pause()
	r.awaitTrue(rescueLimit, "the paused worker is given up", "SELECT EXISTS (SELECT FROM towpath.process WHERE client_id = $1 AND dead_at IS NOT NULL)", away.id)
	r.awaitTrue(patience, "the other finishes its jobs",
		"SELECT count(*) = $2 FROM crash.finished WHERE id = ANY($1) AND client = $3 AND attempt = 2", finished, len(finished), other.id)
	r.awaitHeld(other, len(running))
	t.Logf("the other had its jobs %s after the pause began", time.Since(stopped).Round(100*time.Millisecond))
	if *longFlag {
		<-time.After(time.Until(stopped.Add(90 * time.Second)))
	}
	r.openGate(1)
	away.proceed()

	r.awaitTrue(patience, "the handlers of the paused worker return", "SELECT NOT EXISTS (SELECT FROM crash.attempt WHERE client = $1 AND outcome IS NULL)", away.id)
	// What its completer had from those handlers, it has written before it completes what came after them.
	r.awaitWorking(away)
	require.Len(t, r.strings(`SELECT id::text FROM towpath.river_job
		WHERE id = ANY($1) AND state = 'running' AND attempt = 2 AND attempted_by[array_upper(attempted_by, 1)] = $2`, running, other.id), len(running))
	outcomes := r.strings(`SELECT outcome FROM crash.attempt JOIN towpath.river_job ON id = job_id WHERE client = $1 AND (args->>'tx')::boolean`, away.id)
	require.Len(t, outcomes, 3)
	for _, outcome := range outcomes {
		require.True(t, strings.Contains(outcome, "attempt is over") || strings.Contains(outcome, "context canceled"), outcome)
	}
	require.Equal(t, []string{"1"}, r.strings(
		"SELECT count(*)::text FROM towpath.process WHERE client_id = $1 AND dead_at IS NULL AND stopped_at IS NULL", away.id), "it has begun a new epoch")
	r.openGate(2)
	stopProducers(t, producers)
	r.conclude(patience)
	require.Empty(t, r.strings("SELECT format('%s by %s', job_id, client) FROM crash.effect WHERE kind = 'crash.hold' AND client <> $1", other.id))
	require.Empty(t, r.strings("SELECT format('%s: attempt %s by %s', id, attempt, client) FROM crash.finished WHERE kind = 'crash.hold' AND (attempt, client) <> (2, $1)", other.id))
	require.Len(t, r.strings("SELECT job_id::text FROM crash.effect WHERE kind = 'crash.hold'"), 13)
}
