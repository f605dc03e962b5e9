package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/config"
)

// What roles read.
var (
	baseGroups = []config.Group{config.GroupDatabase, config.GroupProcess, config.GroupHTTP, config.GroupChecks, config.GroupMonitoring, config.GroupNotifiers}
	workGroups = []config.Group{
		config.GroupDatabase, config.GroupProcess, config.GroupWork, config.GroupJobs, config.GroupRetention, config.GroupKinds, config.GroupHTTP,
		config.GroupChecks,
		config.GroupMonitoring, config.GroupNotifiers,
	}
)

func (p *Program) workerCommand() *cobra.Command {
	var drain bool
	c := &cobra.Command{
		Use:   "worker",
		Short: "Work jobs",
		Long: "Work the queues of TOWPATH_QUEUES with this program's workers and the built-in kinds http, sql and shell,\n" +
			"until a signal ends it.\n\n" +
			"SIGTERM, SIGINT and SIGHUP: stop fetching, let running jobs end within TOWPATH_GRACE, hand the rest back\n" +
			"without using up an attempt. A second signal hands them back at once.",
		Example: "  TOWPATH_QUEUES=default=100,mail=20 towpath worker\n  towpath worker --drain   # in a cron job or a serverless function",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.serve(c.Context(), serveOptions{roles: []app.Role{app.Worker}, drain: drain})
		},
	}
	c.Flags().BoolVar(&drain, "drain", false, "end when the queues hold nothing that could run now")
	return reads(c, workGroups...)
}

func (p *Program) schedulerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "scheduler",
		Short: "Schedule, rescue and tidy, without working your jobs",
		Long: "Stand for leader. The leader starts periodic jobs, makes scheduled and retryable jobs available when they\n" +
			"are due, rescues those of dead processes and tidies the tables. A scheduler works the queue \"towpath\" alone.\n" +
			"One leads, others stand by.",
		Example: "  towpath scheduler",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.serve(c.Context(), serveOptions{roles: []app.Role{app.Scheduler}})
		},
	}
	return reads(c, workGroups...)
}

func (p *Program) apiCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "api",
		Short:   "Serve HTTP: health, readiness, metrics, pings of checks",
		Long:    "Serve HTTP on TOWPATH_LISTEN and work nothing:\n\n  /healthz  the process is alive\n  /readyz   it can do its work\n  /metrics  Prometheus\n  /ping/    checks of what other systems run",
		Example: "  TOWPATH_LISTEN=127.0.0.1:8080 towpath api\n  curl -s 127.0.0.1:8080/readyz",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.serve(c.Context(), serveOptions{roles: []app.Role{app.API}})
		},
	}
	return reads(c, baseGroups...)
}

func (p *Program) allCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "all",
		Short:   "All roles in one process: api, scheduler and worker",
		Long:    "Run the roles api, scheduler and worker in one process.",
		Example: "  TOWPATH_DATABASE_URL=postgres://app@localhost/app towpath all",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.serve(c.Context(), serveOptions{roles: allRoles()})
		},
	}
	return reads(c, workGroups...)
}

func allRoles() []app.Role { return []app.Role{app.API, app.Scheduler, app.Worker} }

// serveOptions say how roles run.
type serveOptions struct {
	roles []app.Role
	drain bool // end when nothing is left to do
	dev   bool // be lenient about the address
}

// serve runs roles until ctx ends, a part fails, or the queues are drained.
func (p *Program) serve(ctx context.Context, opts serveOptions) error {
	running, err := p.start(ctx, opts)
	if err != nil {
		return err
	}
	drained := make(chan struct{})
	if opts.drain {
		go func() {
			running.app.Drained(ctx)
			close(drained)
		}()
	}
	select {
	case <-ctx.Done():
		p.logger.Info("stopping on a signal; a second one ends at once")
		return running.Stop()
	case <-drained:
		return running.Stop()
	case err := <-running.app.Failed():
		return errors.Join(err, running.Stop())
	case <-p.postgresEnded():
		return errors.Join(errors.New("the private Postgres ended on its own; start again, it recovers"), running.Stop())
	}
}

// start brings roles up in this process.
func (p *Program) start(ctx context.Context, opts serveOptions) (*Running, error) {
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	logger, err := p.Logger()
	if err != nil {
		return nil, err
	}
	warnUnknown(ctx, logger)
	a, err := app.New(cfg, p.bundle, opts.roles, app.Options{
		Logger: logger, Application: p.name, Version: readBuild().Version, Migrations: p.migrations, Prepare: p.prepare, AnyPort: opts.dev,
	})
	if err != nil {
		return nil, err
	}
	survivePipes()
	if err := a.Start(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", roleList(opts.roles), err)
	}
	return &Running{app: a, hurry: hurryOf(ctx)}, nil
}

// StartAll brings all roles up in this process, for a command of yours that works beside them: it fails when a step
// does, and then nothing runs. On loopback HTTP falls back to any free port. Call Stop when done.
func (p *Program) StartAll(ctx context.Context) (*Running, error) {
	return p.start(ctx, serveOptions{roles: allRoles(), dev: true})
}

// warnUnknown tells of variables that are most likely misspelt.
func warnUnknown(ctx context.Context, logger *slog.Logger) {
	unknown := config.Unknown()
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		logger.WarnContext(ctx, "variable means nothing to this program",
			slog.String("variable", name), slog.String("nearest", unknown[name]))
	}
}

func roleList(roles []app.Role) string {
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = string(role)
	}
	return strings.Join(names, ", ")
}

// Running are roles at work in this process.
type Running struct {
	app   *app.App
	hurry <-chan struct{}
}

// Address is where HTTP is served, such as "127.0.0.1:8080", or "" when nowhere.
func (r *Running) Address() string { return r.app.Address() }

// Failed delivers the error of a part that ended on its own; Stop then.
func (r *Running) Failed() <-chan error { return r.app.Failed() }

// Stop ends the roles in good order, within TOWPATH_GRACE, or sooner when a second signal comes.
func (r *Running) Stop() error {
	stopped := make(chan error, 1)
	go func() { stopped <- r.app.Stop() }()
	hurry := r.hurry
	for {
		select {
		case err := <-stopped:
			return err
		case <-hurry:
			hurry = nil
			r.app.Hurry()
		}
	}
}
