package cmd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

// testLimit is far more than anything here takes.
const testLimit = time.Minute

// process is a real process of one of our programs.
type process struct {
	*exec.Cmd

	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

// Tests that run under nohup hand down that hang-ups are ignored; a program that is started by one which handles them
// begins with the default.
func init() { signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) }

// launch starts a program with the environment added.
func launch(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err)
	p := &process{Cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, args...), ended: make(chan struct{})}
	p.Env = append(os.Environ(), append([]string{"TOWPATH_LISTEN=127.0.0.1:0", "TOWPATH_LOG_FORMAT=json"}, env...)...)
	stderr, err := p.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	go p.read(stderr)
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s %v said:\n%s", name, args, strings.Join(p.said(), "\n"))
		}
	})
	return p
}

func (p *process) read(stderr io.Reader) {
	defer close(p.ended)
	for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, scanner.Text())
		p.mu.Unlock()
	}
	_ = p.Wait()
}

func (p *process) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// line waits for a line of the log that contains a text.
func (p *process) line(t *testing.T, part string) string {
	t.Helper()
	var found string
	require.Eventually(t, func() bool {
		for _, line := range p.said() {
			if strings.Contains(line, part) {
				found = line
				return true
			}
		}
		return false
	}, testLimit, 10*time.Millisecond, "the process says %q", part)
	return found
}

// end waits for the process and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(testLimit):
		require.Fail(t, "the process does not end", strings.Join(p.said(), "\n"))
	}
	return p.ProcessState.ExitCode()
}

// shopDatabase returns a database with the shop's tables, and a client.
func shopDatabase(t *testing.T) (*pgxpool.Pool, *jobs.Client, []string) {
	t.Helper()
	pool := testdb.Pool(t)
	env := []string{"TOWPATH_DATABASE_URL=" + pool.Config().ConnString()}
	require.Zero(t, launch(t, env, "shop", "migrate", "up").end(t))
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	return pool, client, env
}

// napping waits until the process has begun with jobs, which is a moment after the database says that they run.
func (p *process) napping(t *testing.T, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		p.line(t, fmt.Sprintf(`"msg":"napping","job_id":%d,`, id))
	}
}

// enqueue inserts naps and waits until they run.
func enqueue(t *testing.T, client *jobs.Client, naps ...napArgs) []int64 {
	t.Helper()
	var ids []int64
	for _, nap := range naps {
		inserted, err := client.Insert(t.Context(), nap, nil)
		require.NoError(t, err)
		ids = append(ids, inserted.Job.ID)
	}
	for _, id := range ids {
		require.Eventually(t, func() bool { return job(t, client, id).State == rivertype.JobStateRunning }, testLimit, 10*time.Millisecond)
	}
	return ids
}

func job(t *testing.T, client *jobs.Client, id int64) *rivertype.JobRow {
	t.Helper()
	row, err := client.JobGet(t.Context(), id)
	require.NoError(t, err)
	return row
}

// Each of the signals that mean "end" lets a short job end and hands a long one back with its attempt.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			pool, client, env := shopDatabase(t)
			p := launch(t, append(env, "TOWPATH_GRACE=10s"), "shop", "worker")
			p.line(t, "towpath started")
			ids := enqueue(t, client, napArgs{Millis: 4000}, napArgs{Millis: 600_000}) // the first outlasts the signal, and not the grace time
			p.napping(t, ids...)
			require.NoError(t, p.Process.Signal(signal))
			p.line(t, `"msg":"waiting for running jobs","running":2`)

			late, err := client.Insert(t.Context(), napArgs{Millis: 1}, nil)
			require.NoError(t, err)
			require.Zero(t, p.end(t))

			require.Equal(t, rivertype.JobStateCompleted, job(t, client, ids[0]).State)
			long := job(t, client, ids[1])
			require.Equal(t, rivertype.JobStateAvailable, long.State)
			require.Zero(t, long.Attempt, "the attempt is not used up")
			require.Empty(t, long.Errors)
			require.Equal(t, rivertype.JobStateAvailable, job(t, client, late.Job.ID).State, "nothing is fetched after the signal")
			var naps int
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM shop.nap`).Scan(&naps))
			require.Equal(t, 1, naps)
			var open int
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*) FROM towpath.process WHERE stopped_at IS NULL`).Scan(&open))
			require.Zero(t, open, "it has signed off")
		})
	}
}

// A second signal does not wait for the grace time.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	_, client, env := shopDatabase(t)
	p := launch(t, append(env, "TOWPATH_GRACE=10m"), "shop", "worker")
	p.line(t, "towpath started")
	ids := enqueue(t, client, napArgs{Millis: 600_000})
	p.napping(t, ids...)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	p.line(t, "waiting for running jobs")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	p.line(t, "cancelling running jobs")
	require.Zero(t, p.end(t))
	row := job(t, client, ids[0])
	require.Equal(t, rivertype.JobStateAvailable, row.State)
	require.Zero(t, row.Attempt)
}

// A handler that hears nothing is left behind: the process ends, says so, and its job is somebody else's.
func TestDeafHandler(t *testing.T) {
	t.Parallel()
	_, client, env := shopDatabase(t)
	p := launch(t, append(env, "TOWPATH_GRACE=1s"), "shop", "worker")
	p.line(t, "towpath started")
	ids := enqueue(t, client, napArgs{Millis: 600_000, Deaf: true})
	p.napping(t, ids...)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 1, p.end(t))
	p.line(t, "shop: stop working jobs: 1 handlers ignored cancellation and still run, 1 jobs were handed back")
	require.Equal(t, rivertype.JobStateAvailable, job(t, client, ids[0]).State)
}

// The log goes to a program that the same Ctrl-C has ended; the worker ends in good order all the same.
func TestClosedLog(t *testing.T) {
	t.Parallel()
	_, client, env := shopDatabase(t)
	path, err := exec.LookPath("shop")
	require.NoError(t, err)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	p := exec.CommandContext(t.Context(), path, "worker")
	p.Env = append(os.Environ(), append(env, "TOWPATH_LISTEN=127.0.0.1:0")...)
	p.Stderr, p.Stdout = writer, writer
	require.NoError(t, p.Start())
	require.NoError(t, writer.Close())
	lines := bufio.NewReader(reader)
	for started := ""; !strings.Contains(started, "towpath started"); {
		started, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	ids := enqueue(t, client, napArgs{Millis: 1000})
	require.NoError(t, reader.Close())
	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.NoError(t, p.Wait())
	require.Equal(t, rivertype.JobStateCompleted, job(t, client, ids[0]).State)
}

// A role that starts twice on one address says so.
func TestRoleStartedTwice(t *testing.T) {
	t.Parallel()
	_, _, env := shopDatabase(t)
	first := launch(t, env, "shop", "worker")
	address := listening(t, first)
	second := launch(t, append(env, "TOWPATH_LISTEN="+address), "shop", "worker")
	require.Equal(t, 1, second.end(t))
	second.line(t, fmt.Sprintf("shop: start worker: TOWPATH_LISTEN=%q: another process listens there, perhaps this role started twice", address))
}

// listening returns where a process serves HTTP.
func listening(t *testing.T, p *process) string {
	t.Helper()
	var line struct{ Listen string }
	require.NoError(t, json.Unmarshal([]byte(p.line(t, "towpath started")), &line))
	return line.Listen
}

// dev starts a private Postgres and everything on it; Ctrl-C leaves nothing running.
func TestDev(t *testing.T) {
	t.Parallel()
	base, err := pgdev.TempBase()
	require.NoError(t, err)
	dir := filepath.Join(base, fmt.Sprintf("towpath-cmd-%d", os.Getpid()))
	t.Cleanup(func() { require.NoError(t, pgdev.Remove(context.Background(), dir)) })
	env := []string{"TOWPATH_DATABASE_URL=", "TOWPATH_LISTEN=", "TOWPATH_DATA_DIR=" + dir}
	p := launch(t, env, "shop", "dev")
	address := listening(t, p)
	require.True(t, strings.HasPrefix(address, "127.0.0.1:"), address)
	p.line(t, "Private Postgres ")
	p.line(t, "applied app 001 nap")

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
	require.NoError(t, err)
	client := &http.Client{Timeout: testLimit}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)

	found := exec.CommandContext(t.Context(), "towpath", "pg", "url")
	found.Env = append(os.Environ(), env...)
	url, err := found.Output()
	require.NoError(t, err)
	pool, err := pgxpool.New(t.Context(), strings.TrimSpace(string(url)))
	require.NoError(t, err)
	defer pool.Close()
	queue, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	inserted, err := queue.Insert(t.Context(), napArgs{Millis: 1}, nil)
	require.NoError(t, err)
	result, err := queue.Await(t.Context(), inserted.Job.ID)
	require.NoError(t, err)
	require.NoError(t, result.Err())

	look := exec.CommandContext(t.Context(), "towpath", "jobs", "show", strconv.FormatInt(inserted.Job.ID, 10))
	look.Env = append(os.Environ(), env...)
	shown, err := look.Output()
	require.NoError(t, err, "another terminal needs no address")
	require.Contains(t, string(shown), "completed")

	require.NoError(t, p.Process.Signal(os.Interrupt))
	require.Zero(t, p.end(t))
	_, err = pgdev.Find(dir)
	require.ErrorIs(t, err, pgdev.ErrNotRunning)
}
