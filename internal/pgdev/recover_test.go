package pgdev_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
)

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp4", address)
	require.NoError(t, err)
	return listener
}

// The next start neither waits for a person nor gets in the way of the watchdog
// that is still ending the old server.
func TestOwnerKilledThenStartedAtOnce(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, helperTask{Dir: dir})
	execute(t, h.URL(), `CREATE TABLE kept AS SELECT 7 AS n`)
	h.signal(t, syscall.SIGKILL)
	h.end(t)

	server := start(t, pgdev.Options{Dir: dir})
	require.False(t, running(h.PID))
	require.Equal(t, 7, query[int](t, server.URL(), `SELECT n FROM kept`))
}

func TestNothingOutlivesTheOwner(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"kill": syscall.SIGKILL, "terminal closed": syscall.SIGHUP, "ctrl-c": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHelper(t, helperTask{Ephemeral: true})
			h.signal(t, sig)
			h.end(t)
			requireGone(t, h.PID, "postgres")
			requireGone(t, h.Watchdog, "the watchdog")
			require.NoDirExists(t, h.Dir)
		})
	}
	t.Run("panic", func(t *testing.T) {
		t.Parallel()
		h := startHelper(t, helperTask{Ephemeral: true, Then: "panic"})
		h.end(t)
		require.Equal(t, 2, h.cmd.ProcessState.ExitCode())
		requireGone(t, h.PID, "postgres")
		requireGone(t, h.Watchdog, "the watchdog")
		require.NoDirExists(t, h.Dir)
	})
}

// Ctrl-C reaches every process of the terminal's group. Postgres is not one of
// them: it still answers while we drain, and ends when we say so.
func TestInterruptIsOursToHandle(t *testing.T) {
	t.Parallel()
	h := startHelper(t, helperTask{Ephemeral: true, Then: "signal"})
	h.signal(t, syscall.SIGINT)
	require.Equal(t, "stopped in good order", h.end(t))
	require.False(t, running(h.PID))
}

func TestOwnerAndWatchdogKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, helperTask{Dir: dir})
	execute(t, h.URL(), `CREATE TABLE kept AS SELECT 7 AS n`)
	require.NoError(t, syscall.Kill(h.Watchdog, syscall.SIGKILL))
	requireGone(t, h.Watchdog, "the watchdog")
	h.signal(t, syscall.SIGKILL)
	h.end(t)
	require.True(t, running(h.PID), "nobody was left to end it")

	server := start(t, pgdev.Options{Dir: dir})
	require.False(t, running(h.PID))
	require.NotEqual(t, h.PID, server.PID)
	require.Equal(t, 7, query[int](t, server.URL(), `SELECT n FROM kept`))
}

func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	server := start(t, pgdev.Options{Dir: dir})
	execute(t, server.URL(), `CREATE TABLE kept AS SELECT 7 AS n`)

	killed := server.PID
	require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
	<-server.Done()
	_, err := pgdev.Find(dir)
	require.ErrorIs(t, err, pgdev.ErrNotRunning)

	address := server.URL()
	require.NoError(t, server.Restart(t.Context()))
	require.NotEqual(t, killed, server.PID)
	require.Equal(t, 7, query[int](t, address, `SELECT n FROM kept`), "the same address works again")
	found, err := pgdev.Find(dir)
	require.NoError(t, err)
	require.Equal(t, server.PID, found.PID)

	require.NoError(t, syscall.Kill(server.PID, syscall.SIGKILL))
	<-server.Done()
	require.NoError(t, server.Stop(t.Context()))
	again := start(t, pgdev.Options{Dir: dir})
	require.Equal(t, 7, query[int](t, again.URL(), `SELECT n FROM kept`))
}

// After a reboot the process id in postmaster.pid may be anybody's.
func TestStalePostmasterPID(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := start(t, pgdev.Options{Dir: dir})
	require.NoError(t, first.Stop(t.Context()))
	stale := filepath.Join(dir, "data", "postmaster.pid")
	require.NoError(t, os.WriteFile(stale, fmt.Appendf(nil, "%d\n%s\n", os.Getpid(), filepath.Join(dir, "data")), 0o600))

	server := start(t, pgdev.Options{Dir: dir})
	require.Equal(t, 1, query[int](t, server.URL(), `SELECT 1`))
}

func TestInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data.new-1234", "base"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data.new-1234", "PG_VERSION"), []byte("15\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), []byte("1234567\n"), 0o600))

	server := start(t, pgdev.Options{Dir: dir})
	require.Equal(t, 1, query[int](t, server.URL(), `SELECT 1`))
	require.NoDirExists(t, filepath.Join(dir, "data.new-1234"))
}

// slowInstallation is one whose initdb tells that it has begun and then hangs.
func slowInstallation(t *testing.T) (bin, begun string) {
	t.Helper()
	bin = newDir(t)
	begun = bin + "-begun"
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.Mkdir(begun, 0o777))
	require.NoError(t, os.Chmod(begun, 0o777))
	for name, script := range map[string]string{
		"postgres": "echo 'postgres (PostgreSQL) 15.0'",
		"initdb":   "echo $$ >" + begun + "/pid.new; mv " + begun + "/pid.new " + begun + "/pid; sleep 600; exit 0",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	return bin, filepath.Join(begun, "pid")
}

func TestStartGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	bin, begun := slowInstallation(t)
	dir := newDir(t)
	opts := pgdev.Options{Dir: dir, Fast: true}
	opts.SearchIn(bin, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan error, 1)
	go func() {
		_, err := pgdev.Start(ctx, opts)
		started <- err
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(begun)
		return err == nil
	}, 30*time.Second, 5*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-started, context.Canceled)
	raw, err := os.ReadFile(begun)
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(string(raw), &pid)
	require.NoError(t, err)
	requireGone(t, pid, "initdb")
	entries, err := filepath.Glob(filepath.Join(dir, "data*"))
	require.NoError(t, err)
	require.Empty(t, entries)
	start(t, pgdev.Options{Dir: dir})
}

// Until hands the server to another process: who started it may go.
func TestUntil(t *testing.T) {
	t.Parallel()
	other := exec.CommandContext(t.Context(), "sleep", "600")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill() })
	dir := newDir(t)
	h := startHelper(t, helperTask{Dir: dir, Ephemeral: true, Until: other.Process.Pid, Then: "exit"})
	h.end(t)

	require.Equal(t, 1, query[int](t, h.URL(), `SELECT 1`))
	_, err := pgdev.Start(t.Context(), pgdev.Options{Dir: dir})
	require.ErrorIs(t, err, pgdev.ErrInUse)
	require.ErrorContains(t, err, strconv.Itoa(other.Process.Pid))

	require.NoError(t, other.Process.Kill())
	require.Error(t, other.Wait())
	requireGone(t, h.PID, "postgres")
	requireGone(t, h.Watchdog, "the watchdog")
	require.NoDirExists(t, dir)
}

func TestRemoveEndsAnOrphan(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, helperTask{Dir: dir, Ephemeral: true})
	require.NoError(t, syscall.Kill(h.Watchdog, syscall.SIGKILL))
	requireGone(t, h.Watchdog, "the watchdog")
	h.signal(t, syscall.SIGKILL)
	h.end(t)
	require.NoError(t, pgdev.Remove(t.Context(), dir))
	require.False(t, running(h.PID))
	require.NoDirExists(t, dir)
}

// A directory has many names, and its server is recognized by each.
func TestOrphanIsFoundThroughALink(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	h := startHelper(t, helperTask{Dir: dir})
	link := dir + "-link"
	require.NoError(t, os.Symlink(dir, link))
	found, err := pgdev.Find(link)
	require.NoError(t, err)
	require.Equal(t, h.PID, found.PID)

	require.NoError(t, syscall.Kill(h.Watchdog, syscall.SIGKILL))
	requireGone(t, h.Watchdog, "the watchdog")
	h.signal(t, syscall.SIGKILL)
	h.end(t)
	server := start(t, pgdev.Options{Dir: link})
	require.False(t, running(h.PID))
	require.Equal(t, h.Dir, server.Dir)
}
