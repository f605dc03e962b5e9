package pgdev_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
)

// helperEnv makes the test binary run one helper instead of the tests, so that
// owners of a server can be killed. Its value is a helperTask.
const helperEnv = "PGDEV_TEST_HELPER"

type helperTask struct {
	Dir       string
	Ephemeral bool
	Until     int
	Then      string // what to do when the server runs: wait, exit, panic, signal
}

// helperReady is what a helper prints when its server runs.
type helperReady struct {
	pgdev.Info

	Watchdog int
}

func TestMain(m *testing.M) {
	if raw := os.Getenv(helperEnv); raw != "" {
		if err := runHelper(raw); err != nil {
			panic(err)
		}
		return
	}
	m.Run()
}

func runHelper(raw string) error {
	var task helperTask
	if err := json.Unmarshal([]byte(raw), &task); err != nil {
		return err
	}
	ctx := context.Background()
	server, err := pgdev.Start(ctx, pgdev.Options{Dir: task.Dir, Ephemeral: task.Ephemeral, Until: task.Until, Fast: true})
	if err != nil {
		return err
	}
	interrupted := make(chan os.Signal, 1)
	switch task.Then {
	case "signal":
		signal.Notify(interrupted, os.Interrupt)
	case "":
		// Tests that run in the background, or under nohup, hand down that these
		// signals are ignored; here their end is what is tested.
		signal.Notify(interrupted, os.Interrupt, syscall.SIGHUP)
		go func() {
			<-interrupted
			os.Exit(1)
		}()
	}
	if err := json.NewEncoder(os.Stdout).Encode(helperReady{server.Info, server.WatchdogPID()}); err != nil {
		return err
	}
	switch task.Then {
	case "exit":
		return nil
	case "panic":
		panic("the helper panics")
	case "signal":
		<-interrupted
		conn, err := pgx.Connect(ctx, server.URL())
		if err != nil {
			return fmt.Errorf("connect after the interrupt: %w", err)
		}
		if err := conn.Close(ctx); err != nil {
			return err
		}
		if err := server.Stop(ctx); err != nil {
			return err
		}
		fmt.Fprintln(os.Stdout, "stopped in good order")
	default:
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	return nil
}

// helper is a process that owns a server.
type helper struct {
	helperReady

	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// startHelper starts a process that starts a server, in a process group of its
// own as a shell would.
func startHelper(t *testing.T, task helperTask) *helper {
	t.Helper()
	raw, err := json.Marshal(task)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"="+string(raw))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return awaitHelper(t, cmd)
}

func awaitHelper(t *testing.T, cmd *exec.Cmd) *helper {
	t.Helper()
	errorFile, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer errorFile.Close()
	cmd.Stderr = errorFile
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	h := &helper{cmd: cmd, lines: bufio.NewScanner(out)}
	if !h.lines.Scan() {
		said, _ := os.ReadFile(errorFile.Name())
		t.Fatalf("the helper ended without a server: %s", said)
	}
	require.NoError(t, json.Unmarshal(h.lines.Bytes(), &h.helperReady))
	return h
}

// signal sends a signal to the helper's whole process group, as a terminal does.
func (h *helper) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(-h.cmd.Process.Pid, sig))
}

// end waits for the helper's end and returns what else it printed.
func (h *helper) end(t *testing.T) string {
	t.Helper()
	var said []string
	for h.lines.Scan() {
		said = append(said, h.lines.Text())
	}
	require.NoError(t, h.lines.Err())
	_ = h.cmd.Wait()
	return strings.Join(said, "\n")
}

// newDir returns a new path that any user can reach, for persistent instances.
func newDir(t *testing.T) string {
	t.Helper()
	base, err := pgdev.TempBase()
	require.NoError(t, err)
	dir, err := os.MkdirTemp(base, "towpath-pgdev-test-") //nolint:usetesting // root's t.TempDir is closed to the server's user
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "pg")
}

// start runs a server until the end of the test.
func start(t *testing.T, opts pgdev.Options) *pgdev.Server {
	t.Helper()
	opts.Fast = true
	server, err := pgdev.Start(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	return server
}

// execute runs one statement over a connection of its own.
func execute(t *testing.T, url, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), statement)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

func query[T any](t *testing.T, url, statement string) T {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	var value T
	require.NoError(t, conn.QueryRow(t.Context(), statement).Scan(&value))
	require.NoError(t, conn.Close(t.Context()))
	return value
}

// running tells whether a process runs; what has ended and waits to be reaped
// does not.
func running(pid int) bool {
	out, err := exec.CommandContext(context.Background(), "ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	state := strings.TrimSpace(string(out))
	return err == nil && state != "" && !strings.HasPrefix(state, "Z")
}

// requireGone waits until a process has ended.
func requireGone(t *testing.T, pid int, who string) {
	t.Helper()
	require.Eventually(t, func() bool { return !running(pid) }, 30*time.Second, 20*time.Millisecond, "%s (process %d) still runs", who, pid)
}
