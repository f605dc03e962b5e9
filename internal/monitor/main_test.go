package monitor_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// patience bounds every wait for something that has to happen.
const patience = 2 * time.Minute

// childEnv makes the test binary be an application, which can be killed.
const childEnv = "MONITOR_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // ends with the tests, in any way
			os.Exit(3)
		}()
		os.Exit(cmd.Main(newBundle()))
	}
	m.Run()
}

// taskArgs is a job that ends as it is told.
type taskArgs struct {
	How string `json:"how"`
}

func (taskArgs) Kind() string { return "task.run" }
func (taskArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: "tasks", MaxAttempts: 1}
}

// idleArgs is a kind that never has a job.
type idleArgs struct{}

func (idleArgs) Kind() string { return "never" }

func newBundle() *workers.Bundle {
	bundle := workers.NewBundle()
	workers.Add(bundle, river.WorkFunc(func(ctx context.Context, job *river.Job[taskArgs]) error {
		switch job.Args.How {
		case "fail":
			return errors.New("as told")
		case "hang":
			<-ctx.Done()
			return ctx.Err()
		case "snooze":
			return river.JobSnooze(time.Hour)
		case "cancel":
			return river.JobCancel(errors.New("as told"))
		}
		return nil
	}))
	workers.Add(bundle, river.WorkFunc(func(context.Context, *river.Job[idleArgs]) error { return nil }))
	return bundle
}

// configure returns the configuration of a process on a database.
func configure(t *testing.T, url, id string) *config.Config {
	t.Helper()
	cfg, err := config.Load()
	require.NoError(t, err)
	cfg.Database.URL, cfg.ClientID, cfg.Listen = url, id, "127.0.0.1:0"
	cfg.Queues = config.Queues{"tasks": 50, "default": 10}
	cfg.Grace, cfg.Job.Timeout = config.Duration(time.Second), 0
	return cfg
}

// start runs roles in this process, until the test ends.
func start(t *testing.T, cfg *config.Config, roles ...app.Role) *app.App {
	t.Helper()
	a, err := app.New(cfg, newBundle(), roles, app.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), Version: "v1.2.3"})
	require.NoError(t, err)
	require.NoError(t, a.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, a.Stop()) })
	return a
}

// spawn runs a command of the application in a process of its own, which may be killed.
func spawn(t *testing.T, url, id string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TOWPATH_") {
			command.Env = append(command.Env, entry)
		}
	}
	command.Env = append(command.Env, childEnv+"=1", "TOWPATH_DATABASE_URL="+url, "TOWPATH_CLIENT_ID="+id, "TOWPATH_LISTEN=off",
		"TOWPATH_QUEUES=tasks=50,default=10", "TOWPATH_JOB_TIMEOUT=0", "TOWPATH_LEAD=off")
	input, err := command.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() {
		input.Close()
		_ = command.Wait() // however it ends
	})
	command.Stdout, command.Stderr = t.Output(), t.Output()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, command.Start())
	return command
}

// enqueue inserts n jobs that end as they are told.
func enqueue(t *testing.T, pool *pgxpool.Pool, how string, n int) {
	t.Helper()
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	for range n {
		_, err := client.Insert(t.Context(), taskArgs{how}, nil)
		require.NoError(t, err)
	}
}

func eventually(t *testing.T, condition func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, condition, patience, 50*time.Millisecond, append([]any{what}, args...)...)
}

// figures are what /metrics shows, by name and labels as they are written there.
type figures map[string]float64

func scrape(t *testing.T, address string) figures {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	require.NoError(t, err)
	response, err := (&http.Client{Timeout: patience}).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	return parse(t, response.Body)
}

func parse(t *testing.T, text io.Reader) figures {
	t.Helper()
	found := figures{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		require.NoError(t, err, line)
		_, twice := found[line[:at]]
		require.False(t, twice, "twice: %s", line)
		found[line[:at]] = value
	}
	require.NoError(t, lines.Err())
	return found
}

// need returns a figure that must be there.
func (f figures) need(t *testing.T, name string) float64 {
	t.Helper()
	value, there := f[name]
	require.True(t, there, "missing: %s", name)
	return value
}

// events are the lifecycle of taskArgs as /metrics shows it.
func (f figures) events() map[string]float64 {
	events := map[string]float64{}
	for name, value := range f {
		if event, ok := strings.CutPrefix(name, `towpath_job_events_total{event="`); ok {
			if event, ok := strings.CutSuffix(event, `",kind="task.run",queue="tasks"}`); ok {
				events[event] = value
			}
		}
	}
	return events
}

// lifecycle is the same in SQL.
func lifecycle(t *testing.T, pool *pgxpool.Pool) map[string]float64 {
	t.Helper()
	var events map[string]float64
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT to_jsonb(l) - 'queue' - 'kind' FROM towpath.lifecycle l WHERE queue = 'tasks' AND kind = 'task.run'`).Scan(&events))
	return events
}
