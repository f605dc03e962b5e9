// Package api is the HTTP interface of a process.
//
// Every role serves three routes, without authentication and without anything secret in their answers:
//
//	GET /healthz   the process is alive; answers 200 for as long as it runs, whatever the database does
//	GET /readyz    the process can do its work; 200, or 503 with the names of the checks that fail
//	GET /metrics   Prometheus
//
// Others are added by Config.Routes, by those who know what they serve. Schedules makes those of schedules, for which one
// needs a token.
package api

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Config says what a handler shows.
type Config struct {
	Checks  []Check             // what readiness depends on
	Metrics prometheus.Gatherer // what /metrics shows
	Logger  *slog.Logger        // why a check fails
	Routes  []Route             // what else is served
}

// A Route is a pattern of http.ServeMux and what serves it.
type Route struct {
	Pattern string
	Handler http.Handler
}

// NewHandler returns the routes of a process.
func NewHandler(config Config) http.Handler {
	ready := &readiness{checks: config.Checks, logger: config.Logger}
	mux := http.NewServeMux()
	// Asked by a supervisor or an orchestrator that restarts what does not answer.
	mux.HandleFunc("GET /healthz", handleHealthz)
	// Asked by load balancers and orchestrators that leave out who is not ready, and by people.
	mux.HandleFunc("GET /readyz", ready.handle)
	// Scraped by Prometheus.
	mux.Handle("GET /metrics", promhttp.HandlerFor(config.Metrics, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(config.Logger.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError,
	}))
	for _, route := range config.Routes {
		mux.Handle(route.Pattern, route.Handler)
	}
	return mux
}

func handleHealthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// writeJSON answers with a value. What goes wrong then is the connection, and nobody is left to be told.
func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
