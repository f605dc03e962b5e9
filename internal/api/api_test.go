package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/api"
)

// get asks a handler and returns status and body.
func get(t *testing.T, handler http.Handler, method, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	body, err := io.ReadAll(recorder.Body)
	require.NoError(t, err)
	return recorder.Code, string(body)
}

func readiness(t *testing.T, handler http.Handler) (int, api.Readiness) {
	t.Helper()
	status, body := get(t, handler, http.MethodGet, "/readyz")
	var answer api.Readiness
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	return status, answer
}

func newHandler(log io.Writer, checks ...api.Check) http.Handler {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
	registry.MustRegister(counter)
	counter.Add(3)
	return api.NewHandler(api.Config{Checks: checks, Metrics: registry, Logger: slog.New(slog.NewTextHandler(log, nil))})
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	failing := api.Check{Name: "database", Run: func(context.Context) error { return errors.New("away") }}
	handler := newHandler(io.Discard, failing)

	status, body := get(t, handler, http.MethodGet, "/healthz")
	require.Equal(t, http.StatusOK, status, "alive, whatever the database does")
	require.JSONEq(t, `{"status": "ok"}`, body)

	status, body = get(t, handler, http.MethodGet, "/metrics")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "things_total 3")

	status, _ = get(t, handler, http.MethodPost, "/healthz")
	require.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = get(t, handler, http.MethodGet, "/elsewhere")
	require.Equal(t, http.StatusNotFound, status)
}

// Readiness follows its checks, tells no secrets, logs changes alone, and asks at most once a second.
func TestReadiness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			log   bytes.Buffer
			away  error
			asked atomic.Int32
		)
		handler := newHandler(&log,
			api.Check{Name: "database", Run: func(context.Context) error { asked.Add(1); return away }},
			api.Check{Name: "schema", Run: func(context.Context) error { return nil }},
		)
		status, answer := readiness(t, handler)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, api.Readiness{Status: "ready", Checks: []api.CheckStatus{{"database", "ok"}, {"schema", "ok"}}}, answer)

		away = errors.New("password of user u is secret")
		status, _ = readiness(t, handler)
		require.Equal(t, http.StatusOK, status, "known for a moment")
		require.Equal(t, int32(1), asked.Load())

		for range 3 {
			<-time.After(1100 * time.Millisecond) // of the bubble's clock
			status, answer = readiness(t, handler)
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.Equal(t, api.Readiness{Status: "unready", Checks: []api.CheckStatus{{"database", "failing"}, {"schema", "ok"}}}, answer)
		}
		require.Equal(t, 1, strings.Count(log.String(), "readiness check fails"))
		require.Contains(t, log.String(), "check=database")
		require.Contains(t, log.String(), "is secret")

		away = nil
		<-time.After(1100 * time.Millisecond) // of the bubble's clock
		status, _ = readiness(t, handler)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, 1, strings.Count(log.String(), "readiness check passes again"))
	})
}

// A check that hangs makes the process unready, and does not hang the probe.
func TestReadinessOfACheckThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		handler := newHandler(io.Discard, api.Check{Name: "database", Run: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		start := time.Now()
		status, _ := readiness(t, handler)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, 5*time.Second, time.Since(start))
	})
}
