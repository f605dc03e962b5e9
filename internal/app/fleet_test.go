package app_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/api"
	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/testdb"
)

// logBook keeps what a process logs.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func (l *logBook) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return l.has(text) }, testLimit, 20*time.Millisecond, text)
}

// startLogged starts a process whose log is kept.
func startLogged(t *testing.T, cfg *config.Config, roles ...app.Role) (*app.App, *logBook) {
	t.Helper()
	book := &logBook{}
	bundle, _ := newBundle()
	a, err := app.New(cfg, bundle, roles, app.Options{Logger: slog.New(slog.NewTextHandler(book, nil)), Version: "v1"})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	return a, book
}

// A second scheduler says that it stands by, and for whom; when the first is gone it leads.
func TestSecondSchedulerStandsBy(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	cfg := configure(t, url)
	cfg.ClientID = "first"
	first, book := startLogged(t, cfg, app.Scheduler)
	book.await(t, "this process leads")

	cfg = configure(t, url)
	cfg.ClientID = "second"
	second, book := startLogged(t, cfg, app.Scheduler)
	defer func() { require.NoError(t, second.Stop()) }()
	book.await(t, "standing by: another process leads")
	require.True(t, book.has("leader=first"))
	require.True(t, book.has("pid="+strconv.Itoa(os.Getpid())))
	require.NoError(t, first.Stop())
	book.await(t, "this process leads")
}

// Workers that may not lead say that nobody does, and are ready all the same: they can work.
func TestFleetWithoutLeader(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	cfg := configure(t, url)
	cfg.Lead = false
	worker, book := startLogged(t, cfg, app.Worker)
	defer func() { require.NoError(t, worker.Stop()) }()
	book.await(t, "there is no leader: due, periodic and retried jobs wait")
	require.True(t, book.has("start a scheduler, or set TOWPATH_LEAD=on"))
	leaderIs := func(status string) func() bool {
		return func() bool {
			code, answer := ready(t, worker.Address())
			return code == http.StatusOK && answer.Status == "ready" &&
				answer.Checks[len(answer.Checks)-1] == api.CheckStatus{Name: "leader", Status: status}
		}
	}
	require.Eventually(t, leaderIs("warning"), testLimit, 100*time.Millisecond)

	scheduler, _ := startLogged(t, configure(t, url), app.Scheduler)
	defer func() { require.NoError(t, scheduler.Stop()) }()
	book.await(t, "there is a leader again")
	require.Eventually(t, leaderIs("ok"), testLimit, 100*time.Millisecond)
}

// One client id for two processes is refused while the first lives, and free again when it has ended in whatever way.
func TestOneClientIDTwice(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	cfg := configure(t, url)
	cfg.ClientID = "tug"
	first, _ := startLogged(t, cfg, app.Worker)
	bundle, _ := newBundle()
	second, err := app.New(cfg, bundle, []app.Role{app.Worker}, options(t))
	require.NoError(t, err)
	err = second.Start(t.Context())
	require.ErrorContains(t, err, `TOWPATH_CLIENT_ID="tug": a process of this id is at work on host `)
	require.ErrorContains(t, err, "pid "+strconv.Itoa(os.Getpid()))
	require.ErrorContains(t, err, "give each process an id of its own, or none")

	require.NoError(t, first.Stop())
	third, book := startLogged(t, cfg, app.Worker)
	require.False(t, book.has("waiting for a sign of life"))
	require.NoError(t, third.Stop())

	// As after kill -9: the row says that it lives, and its beat stands still.
	pool := testdb.Pool(t)
	cfg = configure(t, pool.Config().ConnString())
	cfg.ClientID = "tug"
	_, err = pool.Exec(t.Context(), `INSERT INTO towpath.process (client_id, host, pid) VALUES ('tug', 'lock', 7)`)
	require.NoError(t, err)
	fourth, book := startLogged(t, cfg, app.Worker)
	require.True(t, book.has("waiting for a sign of life"))
	require.NoError(t, fourth.Stop())
}

// Of two that start under one client id at the same moment, one works and the other says why it does not.
func TestOneClientIDAtTheSameMoment(t *testing.T) {
	t.Parallel()
	cfg := configure(t, testdb.URL(t))
	cfg.ClientID = "twin"
	type outcome struct {
		app *app.App
		err error
	}
	outcomes := make(chan outcome)
	for range 2 {
		bundle, _ := newBundle()
		process, err := app.New(cfg, bundle, []app.Role{app.Worker}, options(t))
		require.NoError(t, err)
		go func() { outcomes <- outcome{process, process.Start(t.Context())} }()
	}
	one, other := <-outcomes, <-outcomes
	if one.err != nil {
		one, other = other, one
	}
	require.NoError(t, one.err)
	require.ErrorContains(t, other.err, `TOWPATH_CLIENT_ID="twin": a process of this id is at work on host `)
	require.NoError(t, one.app.Stop())
}

// systemd hears when the process works, that it lives, and when it ends.
func TestSystemdIsTold(t *testing.T) { //nolint:paralleltest // it sets variables
	socket := filepath.Join(t.TempDir(), "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer func() { _ = listener.Close() }() // closed before, at the end
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "200000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	states := make(chan string, 1000)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := listener.Read(buffer)
			if err != nil {
				close(states)
				return
			}
			states <- string(buffer[:n])
		}
	}()
	await := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), testLimit)
		defer cancel()
		for {
			select {
			case state := <-states:
				if strings.HasPrefix(state, want) {
					return
				}
			case <-ctx.Done():
				require.FailNow(t, "systemd was not told", want)
			}
		}
	}
	cfg := configure(t, testdb.Empty(t).Config().ConnString())
	cfg.Migrate = true
	a, _ := startLogged(t, cfg, app.API)
	await("EXTEND_TIMEOUT_USEC=120000000")
	await("READY=1\nSTATUS=Roles api")
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	require.NoError(t, a.Stop())
	await("STOPPING=1")

	// A systemd that is gone is told of in the log, and nothing else happens.
	require.NoError(t, listener.Close())
	a, book := startLogged(t, cfg, app.API)
	book.await(t, "systemd cannot be told")
	require.NoError(t, a.Stop())
}
