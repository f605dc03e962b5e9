package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/rivercontrib/otelriver"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/checkin"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/internal/probe"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/ticker"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/driver"
	"github.com/towpath/towpath/workers"
	"github.com/towpath/towpath/workers/builtin"
)

// schedulerSlots is how many jobs of the queue "towpath" a scheduler works at the same time.
const schedulerSlots = 10

// startRunner starts the River client of the roles worker and scheduler.
func (a *App) startRunner(ctx context.Context) error {
	if !a.has(Worker) && !a.has(Scheduler) {
		return nil
	}
	if err := a.deployAll(ctx); err != nil {
		return err
	}
	runner, err := workers.New(a.workersConfig(), a.bundle)
	if err != nil {
		return err
	}
	if err := runner.Start(ctx); err != nil {
		return err
	}
	a.runner = runner
	a.monitor.Watch(runner)
	a.onStop(a.stopRunner)
	return nil
}

// WorkerConfig returns the configuration with which the role worker works on a pool, for what measures it: all that the
// role does while it leads is in it, but nobody is told of alerts.
func WorkerConfig(cfg *config.Config, pool *pgxpool.Pool, logger *slog.Logger) workers.Config {
	a := &App{cfg: cfg, roles: []Role{Worker}, logger: logger, pool: pool, agenda: agenda.NewBook(pool), id: clientID(cfg.ClientID)}
	a.observe(nil)
	return a.workersConfig()
}

func (a *App) workersConfig() workers.Config {
	cfg := a.cfg
	c := workers.Config{
		Pool:     a.pool,
		Queues:   a.queues(),
		Grace:    cfg.Grace.Std(),
		LogLevel: slog.Level(cfg.Log.Level),
		Client: jobs.Config{
			ArgsWarnBytes:   orNever(cfg.Args.WarnBytes),
			ArgsMaxBytes:    orNever(cfg.Args.MaxBytes),
			SeparateInserts: !bool(cfg.Insert.Coalesce),
			Process:         a.process(),
			Lead:            a.lead(),
			Config: river.Config{
				ID:                          a.id,
				Logger:                      a.logger,
				FetchCooldown:               cfg.Fetch.Cooldown.Std(),
				FetchPollInterval:           cfg.Fetch.PollInterval.Std(),
				JobTimeout:                  orUnlimited(cfg.Job.Timeout),
				LeaderElectionDisabled:      !a.has(Scheduler) && !bool(cfg.Lead),
				PollOnly:                    !bool(cfg.Database.Notify),
				CompletedJobRetentionPeriod: cfg.Retention.Completed.Std(),
				CancelledJobRetentionPeriod: cfg.Retention.Cancelled.Std(),
				DiscardedJobRetentionPeriod: cfg.Retention.Discarded.Std(),
				// A process may insert jobs that others work.
				SkipUnknownJobCheck: true,
			},
		},
	}
	if a.traced {
		c.Client.Middleware = append(c.Client.Middleware, otelriver.NewMiddleware(&otelriver.MiddlewareConfig{
			EnableTracePropagation: true, EnableWorkSpanJobKindSuffix: true,
		}))
	}
	if a.monitor != nil {
		c.Client.Lead = append(c.Client.Lead, a.monitor.Lead)
		watcher := &checkin.Watcher{Pool: a.pool, Retention: cfg.Retention.Pings.Std(), Logger: a.logger, Agenda: a.agenda}
		c.Client.Lead = append(c.Client.Lead, watcher.Lead)
		if a.evaluator != nil && !a.has(API) {
			c.Client.Lead = append(c.Client.Lead, a.evaluator.Run)
		}
	}
	var all observers
	if a.sentry != nil {
		c.Client.ErrorHandler = a.sentry
		if a.cfg.Sentry.Crons {
			all = append(all, a.sentry)
		}
	}
	if a.statsd != nil {
		all = append(all, a.statsd)
		c.Client.Lead = append(c.Client.Lead, func(ctx context.Context) { a.monitor.LeadStatsD(ctx, a.statsd) })
	}
	if len(all) > 0 {
		c.Observer = all
	}
	return c
}

// lead is what else the leader does.
func (a *App) lead() []func(context.Context) {
	schedules := ticker.New(ticker.Config{Pool: a.pool, Logger: a.logger, Listen: bool(a.cfg.Database.Notify), Agenda: a.agenda})
	probes := probe.New(probe.Config{
		Pool: a.pool, URL: a.cfg.Probes.DatabaseURL, Roles: a.cfg.Probes.AllowedRoles(), AtOnce: a.cfg.Probes.AtOnce, Logger: a.logger,
		Agenda: a.agenda,
	})
	return []func(context.Context){schedules.Lead, probes.Lead}
}

// deployAll tells the database which schedules and probes the bundle has.
func (a *App) deployAll(ctx context.Context) error {
	if !a.has(Worker) && !a.has(Scheduler) {
		return nil
	}
	for _, d := range []ticker.Deployment{
		{What: "schedules", Definitions: a.bundle.Schedules(), Deploy: store.DeploySchedules},
		{What: "probes", Definitions: a.bundle.Probes(), Deploy: store.DeployProbes},
	} {
		d.Pool, d.Logger, d.Application, d.Version = a.pool, a.logger, cmp.Or(a.opts.Application, "towpath"), a.opts.Version
		if err := a.deploy(ctx, &d); err != nil {
			return err
		}
	}
	return nil
}

// deploy tells the database what the code defines, and goes on telling while the process lives.
func (a *App) deploy(ctx context.Context, deployment *ticker.Deployment) error {
	if len(deployment.Definitions) == 0 {
		return nil
	}
	if err := deployment.Tell(ctx); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		deployment.Run(running)
	}()
	a.onStop(func() error {
		stop()
		<-ended
		return nil
	})
	return nil
}

// orNever turns the configuration's "0: never" into the client's "negative: never".
func orNever(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// orUnlimited turns the configuration's "0: no limit" into River's -1.
func orUnlimited(d config.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d.Std()
}

func (a *App) queues() map[string]river.QueueConfig {
	queues := map[string]river.QueueConfig{}
	if a.has(Worker) {
		for name, slots := range a.cfg.Queues {
			queues[name] = river.QueueConfig{MaxWorkers: slots}
		}
	}
	if a.has(Scheduler) {
		queues[config.SchedulerQueue] = river.QueueConfig{MaxWorkers: schedulerSlots}
	}
	return queues
}

func (a *App) queueNames() string {
	names := config.Queues{}
	for name, queue := range a.queues() {
		names[name] = queue.MaxWorkers
	}
	return names.String()
}

func (a *App) process() driver.Process {
	host, _ := os.Hostname() // only shown to people
	roles := make([]string, len(a.roles))
	for i, role := range a.roles {
		roles[i] = string(role)
	}
	return driver.Process{Host: host, PID: os.Getpid(), Version: a.opts.Version, Roles: roles}
}

// clientID is the configured one or one that tells people where the process runs, and no two processes share.
func clientID(configured string) string {
	if configured != "" {
		return configured
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	return fmt.Sprintf("%.60s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:6]))
}

// progressEvery is how often a stop says what it waits for.
const progressEvery = 5 * time.Second

// stopRunner stops the client and tells meanwhile what it waits for.
func (a *App) stopRunner() error {
	stopped := make(chan error, 1)
	go func() { stopped <- a.runner.Stop() }()
	deadline := time.Now().Add(a.cfg.Grace.Std())
	tell := func() {
		if running := a.runner.Running(); running > 0 {
			a.logger.Info("waiting for running jobs", slog.Int("running", running),
				slog.Duration("left", max(time.Until(deadline), 0).Round(time.Second)))
		}
	}
	tell()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case err := <-stopped:
			return err
		case <-ticker.C:
			tell()
		}
	}
}

// Hurry cancels the contexts of running jobs during a Stop. They are handed back without using up an attempt, as at
// the end of the grace time. It may be called at any time and does not wait.
func (a *App) Hurry() {
	if a.runner == nil {
		return
	}
	a.logger.Warn("cancelling running jobs", slog.Int("running", a.runner.Running()))
	ended, cancel := context.WithCancel(context.Background())
	cancel() // Stop does the waiting
	_ = a.runner.Client().StopAndCancel(ended)
}

// Drained returns when the queues hold nothing that could run now, or when ctx ends.
func (a *App) Drained(ctx context.Context) {
	if a.runner != nil {
		a.runner.Drained(ctx)
	}
}

// PingArgs is a job that does nothing: proof that what is enqueued is worked. It goes to the scheduler's queue.
type PingArgs struct{}

// Kind names the kind.
func (PingArgs) Kind() string { return "towpath_ping" }

// InsertOpts sends it to the scheduler, and not for ever.
func (PingArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: config.SchedulerQueue, MaxAttempts: 3}
}

type pingWorker struct{ river.WorkerDefaults[PingArgs] }

func (pingWorker) Work(ctx context.Context, job *river.Job[PingArgs]) error {
	return river.RecordOutput(ctx, map[string]string{"worked_by": slices.Concat(job.AttemptedBy, []string{""})[max(len(job.AttemptedBy)-1, 0)]})
}

// addOwn adds the kinds that come with Towpath, but for those that the bundle has. A bundle that serves a second time has
// all of them.
func addOwn(bundle *workers.Bundle, cfg *config.Config) error {
	if !slices.Contains(bundle.Kinds(), PingArgs{}.Kind()) {
		if err := workers.AddSafely(bundle, pingWorker{}); err != nil {
			return fmt.Errorf("add Towpath's own workers: %w", err)
		}
	}
	if !slices.Contains(bundle.Kinds(), notify.Kind) {
		if err := workers.AddSafely(bundle, newNotifyWorker(cfg), workers.WithBackoff(notify.Backoff)); err != nil {
			return fmt.Errorf("add Towpath's own workers: %w", err)
		}
	}
	return builtin.Add(bundle, builtin.Config{
		HTTPAllowPrivate: cfg.HTTP.AllowPrivate.String(), HTTPKeys: cfg.HTTP.Keys, HTTPSecrets: cfg.HTTP.Secrets,
		SQLRoles: cfg.SQL.Roles, SQLDatabaseURL: cfg.SQL.DatabaseURL, Shell: bool(cfg.Shell),
	})
}
