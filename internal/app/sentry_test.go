package app_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

type brokenArgs struct {
	How      string `json:"how"`
	Customer int    `json:"customer"`
	APIToken string `json:"apiToken"`
	Deep     struct {
		Headers map[string]string `json:"headers"`
		Pin     string            `json:"pin_code"`
	} `json:"deep"`
}

func (brokenArgs) Kind() string { return "broken" }

type brokenWorker struct {
	river.WorkerDefaults[brokenArgs]
}

var errNoAnswer = errors.New("no answer")

func (brokenWorker) Work(_ context.Context, job *river.Job[brokenArgs]) error {
	switch job.Args.How {
	case "panic":
		explode()
	case "permanent":
		return workers.Permanent(fmt.Errorf("call with %s: %w", job.Args.APIToken, errNoAnswer))
	case "once":
		if job.Attempt == 1 {
			return errors.New("the first time")
		}
	}
	return nil
}

func (brokenWorker) NextRetry(*river.Job[brokenArgs]) time.Time { return time.Now() }

func explode() { panic("boom") }

// sentryServer takes envelopes as Sentry does.
type sentryServer struct {
	dsn string

	mu    sync.Mutex
	items []sentryItem
}

type sentryItem struct {
	sort string
	body map[string]any
}

func newSentryServer(t *testing.T) *sentryServer {
	t.Helper()
	s := &sentryServer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/42/envelope/" {
			t.Errorf("unexpected %s", r.URL)
		}
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unpacked
		}
		raw, _ := io.ReadAll(body)
		lines := bufio.NewScanner(bytes.NewReader(raw))
		lines.Buffer(nil, 10<<20)
		lines.Scan() // the envelope's own header
		for lines.Scan() {
			var header struct{ Type string }
			var item sentryItem
			if err := json.Unmarshal(lines.Bytes(), &header); err != nil || !lines.Scan() {
				t.Errorf("an envelope that cannot be read: %q", raw)
				return
			}
			item.sort = header.Type
			if err := json.Unmarshal(lines.Bytes(), &item.body); err != nil {
				t.Error(err)
			}
			s.mu.Lock()
			s.items = append(s.items, item)
			s.mu.Unlock()
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	s.dsn = strings.Replace(server.URL, "http://", "http://geheimgeheim@", 1) + "/42"
	return s
}

func (s *sentryServer) of(sort string) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []map[string]any
	for _, item := range s.items {
		if item.sort == sort {
			found = append(found, item.body)
		}
	}
	return found
}

// at walks into a value as JSON has it.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			value = value.(map[string]any)[step]
		case int:
			list := value.([]any)
			if step < 0 {
				step += len(list)
			}
			value = list[step]
		}
	}
	return value
}

func brokenBundle() *workers.Bundle {
	bundle := workers.NewBundle()
	workers.Add(bundle, brokenWorker{})
	return bundle
}

func work(t *testing.T, a *app.App, how string, attempts int) {
	t.Helper()
	args := brokenArgs{How: how, Customer: 42, APIToken: "tok-geheim"}
	args.Deep.Headers, args.Deep.Pin = map[string]string{"X-Authorization": "Bearer geheim", "Accept": "text/plain"}, "geheim"
	client, id := insert(t, a.Pool(), args, &river.InsertOpts{MaxAttempts: attempts})
	_, err := client.Await(t.Context(), id)
	require.NoError(t, err)
}

// Sentry is told of the errors that end jobs and of every panic, with what helps and without what is secret.
func TestSentry(t *testing.T) {
	pool := testdb.Pool(t)
	server := newSentryServer(t)
	cfg := configure(t, pool.Config().ConnString())
	cfg.Sentry.DSN, cfg.Sentry.Environment, cfg.Sentry.Redact = server.dsn, "staging", config.Names{"pin"}
	a := start(t, cfg, brokenBundle(), app.Worker)
	work(t, a, "permanent", 5)
	work(t, a, "once", 5)
	work(t, a, "panic", 2)
	require.NoError(t, a.Stop())

	events := server.of("event")
	require.Len(t, events, 3) // the error that was retried is none of them
	failed := events[0]
	require.Equal(t, "error", failed["level"])
	require.Equal(t, "broken", failed["transaction"])
	require.Equal(t, "staging", failed["environment"])
	require.Equal(t, "v1.2.3", failed["release"])
	require.Equal(t, "broken", at(failed, "tags", "kind"))
	require.Equal(t, "default", at(failed, "tags", "queue"))
	require.Equal(t, "1", at(failed, "tags", "attempt"))
	require.Equal(t, "call with [redacted]: no answer", at(failed, "exception", -1, "value"))
	require.Equal(t, "no answer", at(failed, "exception", 0, "value"))
	job := at(failed, "contexts", "job")
	require.InEpsilon(t, 42.0, at(job, "args", "customer"), 0.001)
	require.Equal(t, "[redacted]", at(job, "args", "apiToken"))
	require.Equal(t, "[redacted]", at(job, "args", "deep", "pin_code"))
	require.Equal(t, map[string]any{"X-Authorization": "[redacted]", "Accept": "text/plain"}, at(job, "args", "deep", "headers"))

	for i, panicked := range events[1:] {
		require.Equal(t, "fatal", panicked["level"])
		require.Equal(t, "boom", at(panicked, "exception", -1, "value"))
		require.Equal(t, fmt.Sprint(i+1), at(panicked, "tags", "attempt"))
		frame := at(panicked, "exception", -1, "stacktrace", "frames", -1)
		require.Equal(t, "explode", at(frame, "function"))
		require.True(t, strings.HasSuffix(at(frame, "abs_path").(string), "/internal/app/sentry_test.go"), frame)
		require.Equal(t, true, at(frame, "in_app"))
	}
	all, err := json.Marshal(events)
	require.NoError(t, err)
	require.NotContains(t, string(all), "geheim")
}

// On request Sentry is told of every failed attempt, and of no args.
func TestSentryAttempts(t *testing.T) {
	pool := testdb.Pool(t)
	server := newSentryServer(t)
	cfg := configure(t, pool.Config().ConnString())
	cfg.Sentry.DSN, cfg.Sentry.Attempts, cfg.Sentry.Args = server.dsn, config.AttemptsAll, false
	a := start(t, cfg, brokenBundle(), app.Worker)
	work(t, a, "once", 5)
	require.NoError(t, a.Stop())
	events := server.of("event")
	require.Len(t, events, 1)
	require.Equal(t, "warning", events[0]["level"])
	require.NotContains(t, at(events[0], "contexts", "job"), "args")
}

// Runs of schedules check in: once for all attempts of a run, with the crontab.
func TestSentryCrons(t *testing.T) {
	pool := testdb.Pool(t)
	server := newSentryServer(t)
	cfg := configure(t, pool.Config().ConnString())
	cfg.Sentry.DSN, cfg.Sentry.Crons = server.dsn, true
	bundle := brokenBundle()
	for name, how := range map[string]string{"good": "once", "bad": "permanent"} {
		bundle.AddSchedule(jobs.Schedule{
			Name: name, Expression: "30 6 * * mon", Zone: "Europe/Paris", Args: brokenArgs{How: how}, Grace: 10 * time.Minute, Longest: 90 * time.Minute,
		})
	}
	a := start(t, cfg, bundle, app.Worker, app.Scheduler)
	for _, name := range []string{"good", "bad"} {
		_, err := pool.Exec(t.Context(), `SELECT towpath.run_schedule($1)`, name)
		require.NoError(t, err)
	}
	work(t, a, "fine", 1) // one that no schedule enqueued
	ended := func() map[string][]string {
		statuses := map[string][]string{}
		for _, checkIn := range server.of("check_in") {
			slug := checkIn["monitor_slug"].(string)
			statuses[slug] = append(statuses[slug], checkIn["status"].(string))
		}
		return statuses
	}
	require.Eventually(t, func() bool {
		statuses := ended()
		return len(statuses["good"]) == 3 && len(statuses["bad"]) == 2
	}, testLimit, 20*time.Millisecond)
	require.NoError(t, a.Stop())
	require.Equal(t, map[string][]string{"good": {"in_progress", "in_progress", "ok"}, "bad": {"in_progress", "error"}}, ended())

	ids := map[any]any{}
	for _, checkIn := range server.of("check_in") {
		ids[checkIn["check_in_id"]] = checkIn["monitor_slug"]
		require.Equal(t, map[string]any{
			"schedule": map[string]any{"type": "crontab", "value": "30 6 * * mon"}, "timezone": "Europe/Paris", "checkin_margin": 10.0, "max_runtime": 90.0,
		}, checkIn["monitor_config"])
	}
	require.Len(t, ids, 2)
}

// A Sentry that does not answer keeps no job waiting.
func TestSentryThatIsSilent(t *testing.T) {
	pool := testdb.Pool(t)
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(func() { close(over); server.Close() })
	cfg := configure(t, pool.Config().ConnString())
	cfg.Sentry.DSN = strings.Replace(server.URL, "http://", "http://key@", 1) + "/42"
	a := start(t, cfg, brokenBundle(), app.Worker)
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	many := make([]river.InsertManyParams, 300)
	for i := range many {
		many[i] = river.InsertManyParams{Args: brokenArgs{How: "permanent"}}
	}
	inserted, err := client.InsertMany(t.Context(), many)
	require.NoError(t, err)
	for _, one := range inserted {
		_, err := client.Await(t.Context(), one.Job.ID)
		require.NoError(t, err)
	}
	require.NoError(t, a.Stop())
}
