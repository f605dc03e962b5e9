package app

import (
	"context"
	"time"

	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/alert"
	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/workers"
)

// observe makes what looks at the whole system while this process leads.
func (a *App) observe(notifiers []string) {
	a.monitor = monitor.New(monitor.Config{
		Pool: a.pool, ID: a.id, MaxKinds: a.cfg.Metrics.MaxKinds, Celery: bool(a.cfg.Metrics.Celery), Logger: a.logger,
	})
	if every := a.cfg.Alerts.Every.Std(); every > 0 {
		a.evaluator = alert.New(alert.Config{
			Pool: a.pool, ID: a.id, Logger: a.logger, Every: every, Wait: a.cfg.Alerts.Wait.Std(), Notifiers: notifiers,
		})
	}
}

// watch makes what shows this process to the tools that watch it.
func (a *App) watch(context.Context) error {
	a.observe(notify.Configured(a.cfg))
	if err := a.metrics.registry.Register(a.monitor); err != nil {
		return err
	}
	if a.cfg.Sentry.DSN != "" {
		told, err := monitor.NewSentry(monitor.SentryConfig{
			Settings: a.cfg.Sentry, Pool: a.pool, Logger: a.logger, ID: a.id, Version: a.opts.Version,
		})
		if err != nil {
			return err
		}
		a.sentry = told
		a.onStop(func() error { told.Stop(); return nil })
	}
	if address := a.cfg.StatsD.Addr; address != "" {
		a.statsd = monitor.NewStatsD(address, bool(a.cfg.StatsD.Tags), a.logger)
		a.statsd.Start()
		a.monitor.WatchStatsD(a.statsd)
		a.onStop(func() error { a.statsd.Stop(); return nil })
	}
	return nil
}

// watchAlerts has a process with the role api look for what is wrong while nobody else does: when nobody leads, say. Those
// without the role do so while they lead.
func (a *App) watchAlerts(ctx context.Context) error {
	if a.evaluator == nil || !a.has(API) {
		return nil
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.evaluator.Run(running)
	}()
	a.onStop(func() error {
		stop()
		<-ended
		return nil
	})
	return nil
}

// observers are told of attempts one after the other.
type observers []workers.Observer

func (all observers) AttemptBegan(job *rivertype.JobRow) {
	for _, one := range all {
		one.AttemptBegan(job)
	}
}

func (all observers) AttemptEnded(job *rivertype.JobRow, outcome string, ran time.Duration) {
	for _, one := range all {
		one.AttemptEnded(job, outcome, ran)
	}
}
