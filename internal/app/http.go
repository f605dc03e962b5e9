package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/towpath/towpath/internal/api"
	"github.com/towpath/towpath/internal/checkin"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// state is what readiness asks about.
type state struct {
	ready, stopping atomic.Bool
	leaderless      atomic.Bool // nobody has led for a while, as far as this process looks
}

// server is the HTTP server of a process.
type server struct {
	listener net.Listener
	failed   chan error
}

func (s *server) address() string { return s.listener.Addr().String() }

// listen starts the HTTP server before the slow steps, so that a supervisor sees life while a migration runs.
func (a *App) listen(ctx context.Context) error {
	variable, address := "TOWPATH_LISTEN", a.cfg.Listen
	if !a.has(API) {
		if a.cfg.Metrics.Listen != "" {
			variable = "TOWPATH_METRICS_LISTEN"
		}
		address = a.cfg.MetricsListen()
	}
	if address == config.ListenOff {
		if a.has(API) {
			return &config.Error{Variable: variable, Value: address, Reason: "the role api needs an address; write host:port or :port, such as :8080"}
		}
		return nil
	}
	listener, err := a.bind(ctx, variable, address)
	if err != nil {
		return err
	}
	handler := &http.Server{
		Handler: api.NewHandler(api.Config{
			Checks: a.checks(), Metrics: a.metrics.registry, Logger: a.logger, Routes: a.routes(),
		}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(a.logger.Handler(), slog.LevelWarn),
	}
	a.server = &server{listener: listener, failed: make(chan error, 1)}
	go func() {
		if err := handler.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.server.failed <- fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
		}
	}()
	a.onStop(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), a.cfg.Grace.Std())
		defer cancel()
		if err := handler.Shutdown(ctx); err != nil {
			return fmt.Errorf("end HTTP requests within %s: %w", a.cfg.Grace, errors.Join(err, handler.Close()))
		}
		return nil
	})
	return nil
}

// routes are those of the role api.
func (a *App) routes() []api.Route {
	if !a.has(API) {
		return nil
	}
	// Asked by jobs of other systems, which tell that they run. Each address is secret.
	pings := checkin.NewHandler(checkin.HandlerConfig{
		Database: a.pool, PingKey: a.cfg.Ping.Key, Create: bool(a.cfg.Ping.Create), Logger: a.logger,
	})
	routes := []api.Route{{Pattern: checkin.Prefix, Handler: pings}}
	if a.cfg.API.Token != "" {
		routes = append(routes, api.Schedules(api.SchedulesConfig{Database: a.pool, Token: a.cfg.API.Token, Logger: a.logger})...)
	}
	return routes
}

func (a *App) bind(ctx context.Context, variable, address string) (net.Listener, error) {
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) && a.opts.AnyPort {
		host, _, splitErr := net.SplitHostPort(address)
		if splitErr == nil {
			listener, err = listening.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		}
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s=%q: another process listens there, perhaps this role started twice; set another address, or off for no health and metrics", variable, address)
	case err != nil:
		return nil, fmt.Errorf("listen on %s=%q: %w", variable, address, err)
	}
	return listener, nil
}

// beatLimit is the age of a beat beyond which the process has stopped fetching.
const beatLimit = 15 * time.Second

// checks are what readiness depends on.
func (a *App) checks() []api.Check {
	checks := []api.Check{
		{Name: "started", Run: func(context.Context) error {
			switch {
			case a.state.stopping.Load():
				return errors.New("the process is stopping")
			case !a.state.ready.Load():
				return errors.New("the process is starting")
			}
			return nil
		}},
		{Name: "database", Run: func(ctx context.Context) error { return a.pool.Ping(ctx) }},
		{Name: "schema", Run: func(ctx context.Context) error {
			if !a.state.ready.Load() {
				return nil // "started" says it
			}
			check, err := a.migrator.Check(ctx)
			if err != nil {
				return err
			}
			return check.Err()
		}},
	}
	if a.has(Worker) || a.has(Scheduler) {
		checks = append(checks, api.Check{Name: "client", Run: a.checkBeat})
		if a.has(Scheduler) || !bool(a.cfg.Lead) {
			checks = append(checks, api.Check{Name: "leader", Advisory: true, Run: a.checkLeader})
		}
	}
	return checks
}

// checkBeat looks for our own sign of life where the other processes look for it: a client without a recent one has
// stopped fetching, and its jobs are about to be given to others.
func (a *App) checkBeat(ctx context.Context) error {
	if !a.state.ready.Load() {
		return nil // "started" says it
	}
	id := a.runner.Client().ID()
	ago, alive, err := store.ProcessBeat(ctx, a.pool, id)
	switch {
	case err != nil:
		return err
	case !alive:
		return fmt.Errorf("client %q is not among the live processes", id)
	case ago > beatLimit:
		return fmt.Errorf("client %q gave its last sign of life %s ago", id, ago.Round(time.Second))
	}
	return nil
}

// metrics is what /metrics shows of the process itself.
type metrics struct{ registry *prometheus.Registry }

func newMetrics(version string) metrics {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "towpath_build_info", Help: "Always 1; the version is a label.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	return metrics{registry}
}
