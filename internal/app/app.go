// Package app wires a process together: the database, the schema's check, the HTTP server and the River client of its
// roles. It is the only place that does.
//
// An App is made from a configuration, a bundle and roles; New starts nothing. Start brings everything up in order, or
// undoes what it has done and says which step failed. Stop ends in good order within the grace time; Hurry shortens
// that.
//
// # Roles
//
//   - worker works the configured queues with the bundle's workers, and may lead.
//   - scheduler works the queue "towpath" alone, so that it can be River's leader, which schedules, rescues and tidies.
//   - api serves HTTP and works nothing, but for notifications while no scheduler is there.
//
// Every role serves health, readiness and metrics. One process may have several roles; it has one River client then.
package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/alert"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/memory"
	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/workers"
)

// A Role is one of the things that a process can be.
type Role string

// The roles.
const (
	Worker    Role = "worker"
	Scheduler Role = "scheduler"
	API       Role = "api"
)

// Roles lists all roles.
func Roles() []Role { return []Role{Worker, Scheduler, API} }

// Options are what New needs besides configuration, bundle and roles.
type Options struct {
	Logger      *slog.Logger
	Application string                                              // the program's name, by which its schedules are told from others'
	Version     string                                              // shown in towpath.process and in towpath_build_info
	Migrations  fs.FS                                               // the user's own migrations, or nil
	Prepare     func(ctx context.Context, pool *pgxpool.Pool) error // called before work begins; may be nil
	AnyPort     bool                                                // listen on any free port when the configured one is taken
}

// App is a process with its roles.
type App struct {
	cfg     *config.Config
	bundle  *workers.Bundle
	roles   []Role
	opts    Options
	logger  *slog.Logger
	metrics metrics
	id      string // of this process

	monitor   *monitor.Monitor
	statsd    *monitor.StatsD  // nil unless TOWPATH_STATSD_ADDR is set
	sentry    *monitor.Sentry  // nil unless TOWPATH_SENTRY_DSN is set
	evaluator *alert.Evaluator // nil when TOWPATH_ALERTS_EVERY is 0
	traced    bool
	pool      *pgxpool.Pool
	agenda    *agenda.Book // of what this process does while it leads
	migrator  *migrate.Migrator
	server    *server         // nil when TOWPATH_LISTEN is off
	runner    *workers.Runner // nil for the role api alone
	state     state
	undo      []func() error // what Stop does, in reverse order
	deafOnce  sync.Once
}

// New returns an App that is not started. It adds Towpath's own kinds to the bundle, which the bundle may have workers of
// its own for. It fails for roles that make no sense and for a configuration without a
// database.
func New(cfg *config.Config, bundle *workers.Bundle, roles []Role, opts Options) (*App, error) {
	if err := checkRoles(roles); err != nil {
		return nil, err
	}
	if err := errors.Join(cfg.RequireDatabase(), cfg.Validate()); err != nil {
		return nil, err
	}
	if opts.Logger == nil {
		return nil, errors.New("make the app: it needs a logger")
	}
	if err := addOwn(bundle, cfg); err != nil {
		return nil, err
	}
	a := &App{cfg: cfg, bundle: bundle, roles: roles, opts: opts, logger: opts.Logger, id: clientID(cfg.ClientID)}
	a.metrics = newMetrics(opts.Version)
	return a, nil
}

func checkRoles(roles []Role) error {
	if len(roles) == 0 {
		return errors.New("no role; choose from worker, scheduler and api")
	}
	for i, role := range roles {
		if !slices.Contains(Roles(), role) {
			return fmt.Errorf("role %q does not exist; choose from worker, scheduler and api", role)
		}
		if slices.Contains(roles[:i], role) {
			return fmt.Errorf("role %q is named twice; name it once", role)
		}
	}
	return nil
}

func (a *App) has(role Role) bool { return slices.Contains(a.roles, role) }

// Start brings the process up and returns when it works. When a step fails, those before it are undone.
func (a *App) Start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{a.tune, a.openPool, a.trace, a.watch, a.listen, a.checkSchema, a.claimID, a.prepare, a.startRunner, a.startCourier, a.watchLeader, a.watchAlerts} {
		if err := step(ctx); err != nil {
			return errors.Join(err, a.unwind())
		}
	}
	a.state.ready.Store(true)
	a.tellReady()
	attrs := []any{slog.String("roles", a.roleNames()), slog.String("version", a.opts.Version)}
	if a.runner != nil {
		attrs = append(attrs, slog.String("client_id", a.runner.Client().ID()), slog.String("queues", a.queueNames()))
	}
	if a.server != nil {
		attrs = append(attrs, slog.String("listen", a.server.address()))
	}
	a.logger.InfoContext(ctx, "towpath started", attrs...)
	return nil
}

// tune tells Go's runtime how much memory the process may use.
func (a *App) tune(context.Context) error {
	restore := memory.Tune(MemorySettings(a.cfg))
	a.onStop(func() error { restore(); return nil })
	return nil
}

// MemorySettings returns those of a role, for what measures it.
func MemorySettings(cfg *config.Config) memory.Settings {
	return memory.Settings{GCPercent: cfg.GC.Percent, LimitMB: cfg.Memory.LimitMB}
}

// Stop ends what Start began: no job is fetched any more, running ones may end within the grace time, what then still
// runs is handed back. The HTTP server answers until the last. An error says what could not be ended.
func (a *App) Stop() error {
	a.state.ready.Store(false)
	a.state.stopping.Store(true)
	a.tell(daemon.SdNotifyStopping)
	return a.unwind()
}

func (a *App) unwind() error {
	var errs []error
	for _, undo := range slices.Backward(a.undo) {
		errs = append(errs, undo())
	}
	a.undo = nil
	return errors.Join(errs...)
}

// onStop has undo done by Stop, before what was noted earlier.
func (a *App) onStop(undo func() error) { a.undo = append(a.undo, undo) }

// Failed delivers the error of a part that ended on its own. The process should then stop.
func (a *App) Failed() <-chan error {
	if a.server == nil {
		return nil
	}
	return a.server.failed
}

// Pool returns the process's pool, for as long as it runs.
func (a *App) Pool() *pgxpool.Pool { return a.pool }

// Address returns where the HTTP server listens, such as "127.0.0.1:8080", or "" when there is none.
func (a *App) Address() string {
	if a.server == nil {
		return ""
	}
	return a.server.address()
}

func (a *App) openPool(ctx context.Context) error {
	pool, err := a.cfg.OpenPool(ctx, "towpath "+a.roleNames())
	if err != nil {
		return err
	}
	a.pool, a.agenda = pool, agenda.NewBook(pool)
	a.onStop(func() error { pool.Close(); return nil })
	if err := pool.Ping(ctx); err != nil {
		return fmt.Errorf("reach the database of TOWPATH_DATABASE_URL: %w", err)
	}
	return nil
}

// checkSchema migrates or demands it, as configured.
func (a *App) checkSchema(ctx context.Context) error {
	migrator, err := migrate.New(a.pool, migrate.WithApp(a.opts.Migrations), migrate.WithReport(func(line string) {
		a.logger.InfoContext(ctx, "migrating", slog.String("step", line))
		a.tell(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", migrationPatience.Microseconds()))
	}))
	if err != nil {
		return err
	}
	a.migrator = migrator
	if a.cfg.Migrate {
		return migrator.Up(ctx)
	}
	check, err := migrator.Check(ctx)
	if err != nil {
		return err
	}
	if check.State == migrate.Newer {
		a.logger.WarnContext(ctx, "schema is newer than this program, which works on",
			slog.String("unknown", strings.Join(check.Unknown, ", ")))
	}
	return check.Err()
}

func (a *App) prepare(ctx context.Context) error {
	if a.opts.Prepare == nil || !(a.has(Worker) || a.has(Scheduler)) {
		return nil
	}
	return a.opts.Prepare(ctx, a.pool)
}

func (a *App) roleNames() string {
	names := make([]string, len(a.roles))
	for i, role := range a.roles {
		names[i] = string(role)
	}
	return strings.Join(names, ",")
}
