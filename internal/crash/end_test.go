package crash

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A worker that is told to end lets jobs finish within the grace time and hands the others back: they are there for the
// next one at once, as if they had never been begun.
func TestWorkerTerminated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	short := map[string]string{"TOWPATH_GRACE": "1s"}
	first := r.startWorker(short)
	held := r.enqueue(append(some(10, holdArgs{Gates: []int{1}, Tx: true}), some(10, holdArgs{Gates: []int{1}})...)...)
	producers := r.startProducers(2, load(200)...)
	r.awaitHeld(first, len(held))
	r.awaitWorking(first)

	first.terminate()
	require.Zero(t, first.cmd.ProcessState.ExitCode())
	requireHandedBack(r, first, held)
	require.Len(t, r.strings("SELECT client_id FROM towpath.process WHERE client_id = $1 AND stopped_at IS NOT NULL", first.id), 1)

	second := r.startWorker(short)
	r.awaitHeld(second, len(held))
	// Under load a second time, by the time somebody else is there to go on.
	third := r.startWorker(nil)
	r.awaitWorking(second, third)
	second.terminate()
	require.Zero(t, second.cmd.ProcessState.ExitCode())
	r.openGate(1)
	stopProducers(t, producers)
	r.conclude(patience)
	require.Empty(t, r.strings("SELECT format('%s: %s', id, attempt) FROM crash.finished WHERE id = ANY($1) AND attempt <> 1", held))
}

// Handlers that do not listen are left behind, and their jobs are handed back all the same; the exit code tells.
func TestStubbornWorkerTerminated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.startWorker(map[string]string{"TOWPATH_GRACE": "1s"})
	held := r.enqueue(append(some(5, holdArgs{Gates: []int{1}, Tx: true, Stubborn: true}), some(5, holdArgs{Gates: []int{1}, Stubborn: true})...)...)
	r.awaitHeld(first, len(held))
	first.terminate()
	require.Equal(t, 1, first.cmd.ProcessState.ExitCode())
	requireHandedBack(r, first, held)
	r.openGate(1)
	r.startWorker(nil)
	r.conclude(patience)
	require.Empty(t, r.strings("SELECT format('%s: %s', id, attempt) FROM crash.finished WHERE id = ANY($1) AND attempt <> 1", held))
}

// requireHandedBack looks at jobs that an ended worker held, and at all others that it may have run.
func requireHandedBack(r *rig, ended *process, held []int64) {
	r.t.Helper()
	require.Empty(r.t, r.strings(`SELECT format('%s %s', id, kind) FROM towpath.river_job
		WHERE state = 'running' AND attempted_by[array_upper(attempted_by, 1)] = $1`, ended.id))
	require.Len(r.t, r.strings(`SELECT id::text FROM towpath.river_job
		WHERE id = ANY($1) AND state = 'available' AND attempt = 0 AND errors IS NULL AND scheduled_at <= clock_timestamp()`, held), len(held))
}

// What is enqueued by transactions that do not commit is never seen by anybody: not when it is rolled back, and not when
// its producer is killed, with several producers at work at once.
func TestRolledBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.startWorker(nil)
	abandoning := r.startProducers(2, "--abandon")
	for _, p := range abandoning {
		r.awaitSaid(p, openSays)
	}
	producers := r.startProducers(4, "--rollback", "50", "--jobs", "400")
	victims := r.startProducers(2, "--rollback", "50")
	for _, p := range producers {
		p.awaitEnd(patience)
		require.Zero(t, p.cmd.ProcessState.ExitCode(), "exit code of %s", p.id)
	}
	for _, p := range append(abandoning, victims...) {
		p.kill()
	}
	r.awaitTrue(patience, "Postgres rolls back", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'crash' AND datname = current_database())")
	r.conclude(patience)
	require.GreaterOrEqual(t, len(r.strings("SELECT job_id::text FROM crash.expected")), 4*400)
}

// awaitSaid waits until a process has said something.
func (r *rig) awaitSaid(p *process, text string) {
	r.t.Helper()
	limit := time.After(patience)
	for !strings.Contains(p.said(r.t), text) {
		require.True(r.t, p.running(), "%s has ended", p.id)
		select {
		case <-limit:
			require.Fail(r.t, "a process does not say what it should", "%s: %s", p.id, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// The processes end when the tests do, however that is: the kernel closes the pipe.
func TestNobodyOutlivesTheTests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.startWorker(nil)
	require.NoError(t, p.input.Close())
	p.awaitEnd(patience)
	require.Equal(t, 3, p.cmd.ProcessState.ExitCode())
}
