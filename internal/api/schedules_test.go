package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/api"
	"github.com/towpath/towpath/internal/testdb"
)

const token = "0123456789abcdef0123456789abcdef"

// program asks for schedules over HTTP.
type program struct {
	t       *testing.T
	pool    *pgxpool.Pool
	handler http.Handler
	token   string
	header  http.Header // of the last answer
}

func newProgram(t *testing.T) *program {
	t.Helper()
	pool := testdb.Pool(t)
	logger := slog.New(slog.DiscardHandler)
	routes := api.Schedules(api.SchedulesConfig{Database: pool, Token: token, Logger: logger})
	return &program{t: t, pool: pool, handler: api.NewHandler(api.Config{Metrics: prometheus.NewRegistry(), Logger: logger, Routes: routes}), token: token}
}

// ask returns the status and the answer.
func (p *program) ask(method, path, body string) (int, map[string]any) {
	p.t.Helper()
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(p.t.Context(), method, path, strings.NewReader(body))
	if p.token != "" {
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	request.Header.Set("Towpath-Actor", "ada")
	p.handler.ServeHTTP(recorder, request)
	p.header = recorder.Header()
	text, err := io.ReadAll(recorder.Body)
	require.NoError(p.t, err)
	var answer map[string]any
	require.NoError(p.t, json.Unmarshal(text, &answer), "%s", text)
	return recorder.Code, answer
}

// must asks for what has to succeed.
func (p *program) must(method, path, body string) map[string]any {
	p.t.Helper()
	status, answer := p.ask(method, path, body)
	require.Equal(p.t, http.StatusOK, status, answer)
	return answer
}

func TestSchedulesOverHTTP(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	const digest = `{"expression": "0 6 * * MON", "kind": "report.digest", "zone": "Europe/Paris", "args": {"team": 7}, "grace": 60}`
	require.Equal(t, map[string]any{"name": "digest", "changed": true}, p.must("PUT", "/api/schedules/digest", digest))
	require.Equal(t, map[string]any{"name": "digest", "changed": false}, p.must("PUT", "/api/schedules/digest", digest))
	shown := p.must("GET", "/api/schedules/digest", "")
	require.Equal(t, "report.digest", shown["kind"])
	require.Equal(t, map[string]any{"team": 7.0}, shown["args"])
	require.Equal(t, "ada", shown["changed_by"], "who asked is known")

	require.Equal(t, true, p.must("POST", "/api/schedules/digest/pause", `{"reason": "the mail server moves"}`)["changed"])
	require.Equal(t, false, p.must("POST", "/api/schedules/digest/pause", "")["changed"])
	shown = p.must("GET", "/api/schedules/digest", "")
	require.Equal(t, "ada", shown["paused_by"])
	require.Equal(t, "the mail server moves", shown["pause_reason"])
	require.Equal(t, true, p.must("POST", "/api/schedules/digest/resume", "")["changed"])

	ran := p.must("POST", "/api/schedules/digest/run", "")
	runs := p.must("GET", "/api/schedules/digest/runs", "")["runs"].([]any)
	require.Len(t, runs, 1)
	require.Equal(t, ran["job_id"], runs[0].(map[string]any)["job_id"])
	var kind string
	require.NoError(t, p.pool.QueryRow(t.Context(), "SELECT kind FROM towpath.jobs WHERE id = $1", int64(ran["job_id"].(float64))).Scan(&kind))
	require.Equal(t, "report.digest", kind)

	p.must("PUT", "/api/schedules/nightly", `{"expression": "@daily", "kind": "report.nightly"}`)
	page := p.must("GET", "/api/schedules?limit=1", "")
	require.Len(t, page["schedules"], 1)
	require.Equal(t, "digest", page["next"])
	page = p.must("GET", "/api/schedules?limit=1&after=digest", "")
	require.Equal(t, "nightly", page["schedules"].([]any)[0].(map[string]any)["name"])
	require.Nil(t, page["next"])
	require.Empty(t, p.must("GET", "/api/schedules?status=failed", "")["schedules"])

	p.must("DELETE", "/api/schedules/nightly", "")
	status, _ := p.ask("GET", "/api/schedules/nightly", "")
	require.Equal(t, http.StatusNotFound, status)
}

func TestBackfillsOverHTTP(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.must("PUT", "/api/schedules/digest", `{"expression": "0 6 * * MON", "kind": "report.digest", "zone": "Europe/Paris"}`)

	next := p.must("GET", "/api/schedules/digest/next?limit=3", "")
	require.Equal(t, false, next["paused"])
	require.Len(t, next["runs"], 3)
	for _, run := range next["runs"].([]any) {
		at, err := time.Parse(time.RFC3339, run.(string))
		require.NoError(t, err)
		require.Equal(t, time.Monday, at.Weekday())
		require.Equal(t, 6, at.Hour(), "in the schedule's zone")
		require.True(t, at.After(time.Now()))
	}
	p.must("POST", "/api/schedules/digest/pause", "")
	require.Equal(t, map[string]any{"name": "digest", "paused": true, "runs": []any{}}, p.must("GET", "/api/schedules/digest/next", ""))

	const november = `"from": "2025-11-01T00:00:00+01:00", "to": "2025-11-30T12:00:00+01:00"`
	mondays := []any{"2025-11-03T06:00:00+01:00", "2025-11-10T06:00:00+01:00", "2025-11-17T06:00:00+01:00", "2025-11-24T06:00:00+01:00"}
	dry := p.must("POST", "/api/schedules/digest/backfill", `{`+november+`, "dry_run": true}`)
	require.Equal(t, map[string]any{"name": "digest", "ticks": 4.0, "more": false, "backfill": nil, "runs": mondays, "dry_run": true}, dry)
	require.Empty(t, p.must("GET", "/api/backfills", "")["backfills"])

	first := p.must("POST", "/api/schedules/digest/backfill", `{`+november+`}`)["backfill"]
	second := p.must("POST", "/api/schedules/digest/backfill", `{`+november+`, "at_once": 3}`)["backfill"]
	page := p.must("GET", "/api/backfills?limit=1", "")
	shown := page["backfills"].([]any)[0].(map[string]any)
	require.Equal(t, second, shown["id"])
	require.InDelta(t, 3, shown["at_once"], 0)
	require.Equal(t, "ada", shown["created_by"])
	page = p.must("GET", fmt.Sprintf("/api/backfills?limit=1&after=%s", page["next"]), "")
	require.Equal(t, first, page["backfills"].([]any)[0].(map[string]any)["id"])
	require.InDelta(t, 1, page["backfills"].([]any)[0].(map[string]any)["at_once"], 0)
	require.Nil(t, page["next"])

	place := fmt.Sprintf("/api/backfills/%.0f", first)
	require.Equal(t, map[string]any{"backfill": first, "schedule": "digest", "changed": true}, p.must("DELETE", place, ""))
	require.Equal(t, false, p.must("DELETE", place, "")["changed"])
	var actors []string
	require.NoError(t, p.pool.QueryRow(t.Context(), `SELECT array_agg(on_behalf_of) FROM towpath.audit WHERE action LIKE '%backfill%'`).Scan(&actors))
	require.Equal(t, []string{"ada", "ada", "ada"}, actors)
}

func TestSchedulesOverHTTPRefuse(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.must("PUT", "/api/schedules/digest", `{"expression": "@daily", "kind": "report.digest"}`)
	p.must("PUT", "/api/schedules/strange", `{"expression": "@daily", "kind": "report.digest"}`)
	_, err := p.pool.Exec(t.Context(), `UPDATE towpath.schedule SET edited = jsonb_set(edited, '{expression}', '"solstice> 1"') WHERE name = 'strange'`)
	require.NoError(t, err)
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"PUT", "/api/schedules/bad", `{"expression": "0 6 30 2 *", "kind": "report.x"}`, http.StatusBadRequest, "expression"},
		{"PUT", "/api/schedules/bad", `{"expression": "@daily", "kind": "report.x", "zone": "Mars/Base"}`, http.StatusBadRequest, "Mars/Base"},
		{"PUT", "/api/schedules/bad", `{"expression": "@daily", "kind": "report.x", "colour": "red"}`, http.StatusBadRequest, "colour"},
		{"PUT", "/api/schedules/bad", `{"expression": "@daily"`, http.StatusBadRequest, "no JSON object"},
		{"PUT", "/api/schedules/bad", ``, http.StatusBadRequest, "no JSON object"},
		{"PUT", "/api/schedules/bad", `{"args": "` + strings.Repeat("x", 200<<10) + `"}`, http.StatusRequestEntityTooLarge, "larger than"},
		{"POST", "/api/schedules/none/pause", ``, http.StatusNotFound, `"none" does not exist`},
		{"POST", "/api/schedules/none/run", ``, http.StatusNotFound, `"none" does not exist`},
		{"DELETE", "/api/schedules/none", ``, http.StatusNotFound, `"none" does not exist`},
		{"GET", "/api/schedules/none/runs", ``, http.StatusNotFound, `"none" does not exist`},
		{"POST", "/api/schedules/digest/revert", ``, http.StatusConflict, "digest"},
		{"POST", "/api/schedules/digest/skip", `{"until": "tomorrow"}`, http.StatusBadRequest, "until"},
		{"GET", "/api/schedules/none/next", ``, http.StatusNotFound, `"none" does not exist`},
		{"GET", "/api/schedules/digest/next?limit=1001", ``, http.StatusBadRequest, `limit "1001"`},
		{"POST", "/api/schedules/none/backfill", `{"from": "2025-11-01T00:00:00Z", "to": "2025-11-02T00:00:00Z"}`, http.StatusNotFound, `"none" does not exist`},
		{"POST", "/api/schedules/digest/backfill", ``, http.StatusBadRequest, "no JSON object"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-01T00:00:00Z"}`, http.StatusBadRequest, `to "": give a moment`},
		{"POST", "/api/schedules/digest/backfill", `{"from": 1, "to": "2025-11-02T00:00:00Z"}`, http.StatusBadRequest, "from cannot be a number"},
		{"GET", "/api/schedules/strange/next", ``, http.StatusConflict, "solstice>"},
		{"POST", "/api/schedules/strange/backfill", `{"from": "2025-11-01T00:00:00Z", "to": "2025-11-02T00:00:00Z"}`, http.StatusConflict, "solstice>"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "yesterday", "to": "2025-11-02T00:00:00Z"}`, http.StatusBadRequest, "yesterday"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-02T00:00:00Z", "to": "2025-11-01T00:00:00Z"}`, http.StatusBadRequest, "is before from"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-01T01:00:00Z", "to": "2025-11-01T02:00:00Z"}`, http.StatusBadRequest, "has no tick"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-01T00:00:00Z", "to": "2999-11-01T00:00:00Z"}`, http.StatusBadRequest, "to 2999"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-01T00:00:00Z", "to": "2999-11-01T00:00:00Z", "dry_run": true}`, http.StatusBadRequest, "in the future"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-01T00:00:00Z", "to": "2025-11-02T00:00:00Z", "at_once": 0}`, http.StatusBadRequest, "at_once 0"},
		{"POST", "/api/schedules/digest/backfill", `{"from": "2025-11-01T00:00:00Z", "to": "2025-11-02T00:00:00Z", "dry": true}`, http.StatusBadRequest, "dry"},
		{"GET", "/api/backfills?after=x", ``, http.StatusBadRequest, `backfill "x"`},
		{"DELETE", "/api/backfills/0", ``, http.StatusBadRequest, `backfill "0"`},
		{"DELETE", "/api/backfills/77", ``, http.StatusNotFound, "backfill 77 does not exist"},
		{"GET", "/api/schedules?limit=0", ``, http.StatusBadRequest, `limit "0"`},
		{"GET", "/api/schedules?status=sad", ``, http.StatusBadRequest, `status "sad"`},
	} {
		status, answer := p.ask(c.method, c.path, c.body)
		require.Equal(t, c.status, status, "%s %s: %v", c.method, c.path, answer)
		require.Contains(t, answer["error"], c.says)
	}
	status, _ := p.ask("GET", "/api/schedules/bad", "")
	require.Equal(t, http.StatusNotFound, status, "nothing half-done")

	for _, wrong := range []string{"", "x", token[:len(token)-1], token + "0"} {
		p.token = wrong
		status, answer := p.ask("GET", "/api/schedules", "")
		require.Equal(t, http.StatusUnauthorized, status)
		require.NotContains(t, answer, "schedules")
	}
	// Without a token in the configuration nobody gets in.
	open := api.Schedules(api.SchedulesConfig{Database: p.pool, Logger: slog.New(slog.DiscardHandler)})
	p.handler, p.token = api.NewHandler(api.Config{Metrics: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Routes: open}), ""
	status, _ = p.ask("GET", "/api/schedules", "")
	require.Equal(t, http.StatusUnauthorized, status)
}

// What is not there is said as any other error is, and which methods a place has.
func TestSchedulesOverHTTPElsewhere(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, c := range []struct {
		method, path string
		status       int
		says, allow  string
	}{
		{"POST", "/api/schedules/digest/explode", http.StatusNotFound, `there is nothing at /api/schedules/digest/explode`, ""},
		{"GET", "/api/schedules/digest/runs/1", http.StatusNotFound, `there is nothing at`, ""},
		{"GET", "/api/schedules/", http.StatusNotFound, `there is nothing at`, ""},
		{"GET", "/api/backfills/1/runs", http.StatusNotFound, `there is nothing at`, ""},
		{"PUT", "/api/backfills/1", http.StatusMethodNotAllowed, `PUT is not for /api/backfills/1`, "DELETE"},
		{"POST", "/api/schedules", http.StatusMethodNotAllowed, `POST is not for /api/schedules`, "GET, HEAD"},
		{"PATCH", "/api/schedules/digest", http.StatusMethodNotAllowed, `PATCH is not for /api/schedules/digest`, "DELETE, GET, HEAD, PUT"},
		{"GET", "/api/schedules/digest/pause", http.StatusMethodNotAllowed, `GET is not for`, "POST"},
		{"DELETE", "/api/schedules/digest/runs", http.StatusMethodNotAllowed, `DELETE is not for`, "GET, HEAD"},
	} {
		status, answer := p.ask(c.method, c.path, "")
		require.Equal(t, c.status, status, "%s %s: %v", c.method, c.path, answer)
		require.Contains(t, answer["error"], c.says)
		require.NotEmpty(t, answer["hint"])
		require.Equal(t, c.allow, p.header.Get("Allow"), c.path)
	}
	p.token = ""
	for _, path := range []string{"/api/schedules/digest/explode", "/api/schedules/digest/pause"} {
		status, _ := p.ask("GET", path, "")
		require.Equal(t, http.StatusUnauthorized, status)
	}
}
