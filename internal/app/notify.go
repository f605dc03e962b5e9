package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/workers"
)

// notifyTimeout bounds one try to send a notification.
const notifyTimeout = 30 * time.Second

// notifyWorker works the kind notify.Kind.
type notifyWorker struct {
	river.WorkerDefaults[notify.Args]

	notifiers map[string]notify.Notifier

	// later holds when a service wants a job's next attempt, from the handler's return until River asks for it.
	mu    sync.Mutex
	later map[int64]time.Time
}

func newNotifyWorker(cfg *config.Config) *notifyWorker {
	w := &notifyWorker{notifiers: map[string]notify.Notifier{}, later: map[int64]time.Time{}}
	for _, notifier := range notify.New(cfg) {
		w.notifiers[notifier.Name()] = notifier
	}
	return w
}

func (*notifyWorker) Timeout(*river.Job[notify.Args]) time.Duration { return notifyTimeout }

// NextRetry is when the service asked to be called again, or left to the backoff.
func (w *notifyWorker) NextRetry(job *river.Job[notify.Args]) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.later[job.ID]
	delete(w.later, job.ID)
	return at
}

func (w *notifyWorker) Work(ctx context.Context, job *river.Job[notify.Args]) error {
	notifier, known := w.notifiers[job.Args.Notifier]
	if !known { // another process may have it, or this one after a restart
		return fmt.Errorf("notifier %q is not configured in this process; give its variables to all that work the queue %q, or cancel the job",
			job.Args.Notifier, config.SchedulerQueue)
	}
	if job.Attempt > 1 {
		if err := stillSo(ctx, &job.Args.Message); err != nil {
			return err
		}
	}
	err := notifier.Send(ctx, job.Args.Message)
	failure, ok := errors.AsType[*notify.Error](err)
	switch {
	case !ok:
		return err
	case failure.Permanent:
		return workers.Permanent(failure)
	case failure.RetryAfter > 0 && job.Attempt < job.MaxAttempts:
		w.mu.Lock()
		w.later[job.ID] = time.Now().Add(failure.RetryAfter)
		w.mu.Unlock()
	}
	return failure
}

// stillSo asks before another attempt whether a message is true yet. The one that takes it back may have been sent while
// this one waited; told afterwards, it would open an incident that nobody closes, or close one that is open.
func stillSo(ctx context.Context, m *notify.Message) error {
	if len(m.Alerts) == 0 {
		return nil
	}
	holds := false
	err := pgx.BeginFunc(ctx, workers.Database(ctx), func(tx pgx.Tx) error {
		for _, alert := range m.Alerts {
			fires, err := store.AlertFires(ctx, tx, alert.Rule, alert.Subject)
			if err != nil {
				return err
			}
			holds = holds || fires == (m.Status != notify.StatusResolved)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look whether the message is still true: %w", err)
	}
	if !holds {
		return river.JobCancel(errors.New("it is not so any more: the alerts have changed while the service was away"))
	}
	return nil
}

const (
	// courierEvery is how often a process looks whether notifications are sent.
	courierEvery = 10 * time.Second
	courierSlots = 2
)

// courier sends notifications while no scheduler does: they are jobs of the scheduler's queue, and most wanted when no
// scheduler is there. So every other process that has notifiers works that queue while nobody else does. Two that do so for a
// while do no harm.
type courier struct {
	app    *App
	runner *workers.Runner // nil while somebody else sends
}

func (a *App) startCourier(ctx context.Context) error {
	if a.has(Scheduler) || len(notify.Configured(a.cfg)) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := courier{app: a}
		defer c.rest(ctx)
		ticker := time.NewTicker(courierEvery)
		defer ticker.Stop()
		for {
			c.look(ctx)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	a.onStop(func() error {
		cancel()
		<-done
		return nil
	})
	return nil
}

// id is one that store.QueueIsWorked knows for a courier's.
func (c *courier) id() string { return fmt.Sprintf("%.90s-courier", c.app.id) }

func (c *courier) look(ctx context.Context) {
	others, err := store.QueueIsWorked(ctx, c.app.pool, config.SchedulerQueue)
	if err != nil {
		return // the database is away, and readiness says so
	}
	switch {
	case others:
		c.rest(ctx)
	case c.runner == nil:
		if err := c.work(ctx); err != nil && ctx.Err() == nil {
			c.app.logger.WarnContext(ctx, "notifications are not sent", slog.String("error", err.Error()))
		}
	}
}

func (c *courier) work(ctx context.Context) error {
	own := c.app.workersConfig()
	own.Queues = map[string]river.QueueConfig{config.SchedulerQueue: {MaxWorkers: courierSlots}}
	own.Client.ID, own.Client.LeaderElectionDisabled, own.Client.Lead, own.Client.PeriodicJobs = c.id(), true, nil, nil
	runner, err := workers.New(own, c.app.bundle)
	if err != nil {
		return err
	}
	if err := runner.Start(ctx); err != nil {
		return err
	}
	c.runner = runner
	c.app.logger.InfoContext(ctx, "no scheduler is there; this process sends notifications")
	return nil
}

func (c *courier) rest(ctx context.Context) {
	if c.runner == nil {
		return
	}
	if err := c.runner.Stop(); err != nil {
		c.app.logger.WarnContext(ctx, "stop sending notifications", slog.String("error", err.Error()))
	}
	c.runner = nil
}
