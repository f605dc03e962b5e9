package crash

import (
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is one of the application's.
type process struct {
	rig   *rig
	id    string // of its client
	works bool
	cmd   *exec.Cmd
	log   string
	input io.Closer // its end is the process's
	ended chan struct{}

	killed bool // by us

	mu          sync.Mutex
	death       time.Time // when it ended
	steadySince time.Time // since when it runs and is not paused; zero while it is paused
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) said(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(p.log)
	require.NoError(t, err)
	return string(raw)
}

// kill kills the process at once and waits for its end.
func (p *process) kill() {
	p.rig.t.Helper()
	p.killed = true
	require.NoError(p.rig.t, syscall.Kill(p.cmd.Process.Pid, syscall.SIGKILL))
	<-p.ended
	p.rig.t.Logf("%s was killed", p.id)
}

// pause stops the process from outside; it notices nothing.
func (p *process) pause() {
	p.rig.t.Helper()
	p.mu.Lock()
	p.steadySince = time.Time{}
	p.mu.Unlock()
	require.NoError(p.rig.t, syscall.Kill(p.cmd.Process.Pid, syscall.SIGSTOP))
	p.rig.t.Logf("%s is paused", p.id)
}

// proceed lets a paused process go on.
func (p *process) proceed() {
	p.rig.t.Helper()
	require.NoError(p.rig.t, syscall.Kill(p.cmd.Process.Pid, syscall.SIGCONT))
	p.mu.Lock()
	p.steadySince = time.Now()
	p.mu.Unlock()
	p.rig.t.Logf("%s goes on", p.id)
}

// terminate tells the process to end, and waits for that.
func (p *process) terminate() {
	p.rig.t.Helper()
	if !p.running() {
		require.FailNow(p.rig.t, "a process ended by itself", "%s, with code %d, saying\n%s", p.id, p.cmd.ProcessState.ExitCode(), p.said(p.rig.t))
	}
	require.NoError(p.rig.t, syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM))
	p.awaitEnd(patience)
	p.rig.t.Logf("%s was told to end and did, with code %d", p.id, p.cmd.ProcessState.ExitCode())
}

func (p *process) awaitEnd(limit time.Duration) {
	p.rig.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(limit):
		require.Fail(p.rig.t, "a process does not end", p.id)
	}
}

// dead tells since when the process has been dead, if it is.
func (p *process) dead() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.death, !p.death.IsZero()
}

// steady tells since when the process has been able to watch others.
func (p *process) steady() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.steadySince, p.works && p.running() && !p.steadySince.IsZero()
}
