package workers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/jobs"
)

// Defaults of Config.
const (
	SlotsDefault       = 200
	GraceDefault       = 20 * time.Second
	CancelGraceDefault = 5 * time.Second
)

// Config says how a bundle is worked. Only the pool is needed.
type Config struct {
	// Pool leads to the database. It is used by the client and to record what jobs log; it stays open.
	Pool *pgxpool.Pool

	// Queues are the queues to work, with their slots. Nil: "default" with SlotsDefault.
	Queues map[string]river.QueueConfig

	// Client is the rest of the client's configuration: logger, default time limit, retention, hooks and so on. Its
	// hooks, middleware, periodic jobs and error handler go before those of the bundle, and its JobStuckHandler is told
	// of stuck jobs, whose slots are taken back whatever it says. Queues, Workers, Schema and SoftStopTimeout are not to
	// be set, being Queues, the bundle, Towpath's schema and Grace.
	Client jobs.Config

	// Grace is how long a stop lets jobs run before it cancels their contexts. Zero: 20 seconds.
	Grace time.Duration

	// CancelGrace is how long jobs may take to return after that, before they are handed back while they still run.
	// Zero: 5 seconds. The platform's own limit has to be above both.
	CancelGrace time.Duration

	// LogLevel is the least level of the lines of Logger that are recorded in the database. Nil: Info.
	LogLevel slog.Leveler

	// Observer, if set, is told of every attempt in this process.
	Observer Observer

	// Drain ends Run when the queues have nothing left to do, see Runner.Drained.
	Drain bool
}

// Runner works a bundle's jobs in one client. It is for programs that do other things too; Run is the rest.
type Runner struct {
	client        *jobs.Client
	runtime       *runtime
	errorHandlers errorHandlers
	onStuck       river.JobStuckHandler

	pool               *pgxpool.Pool
	logger             *slog.Logger
	grace, cancelGrace time.Duration
	queues, kinds      []string
	slots              map[string]int
	known              []store.KnownKind
	schemas            map[string]json.RawMessage

	stopOnce sync.Once
	stopErr  error
}

// New returns a runner, not started. Errors are about the configuration.
func New(config Config, bundle *Bundle) (*Runner, error) {
	if err := config.check(bundle); err != nil {
		return nil, fmt.Errorf("make a runner: %w", err)
	}
	logger := config.Client.Logger
	if logger == nil {
		logger = slog.Default()
	}
	recorder := newRecorder(logger, func(ctx context.Context, events []store.JobEvent) error {
		return store.InsertJobEvents(ctx, config.Pool, events)
	})
	r := &Runner{
		runtime: newRuntime(config.Pool, recorder, logger, config.LogLevel), onStuck: config.Client.JobStuckHandler,
		pool: config.Pool, logger: logger, kinds: bundle.Kinds(), known: bundle.knownKinds(), schemas: bundle.schemas(), slots: make(map[string]int),
		grace: cmp.Or(config.Grace, GraceDefault), cancelGrace: cmp.Or(config.CancelGrace, CancelGraceDefault),
	}
	client, err := r.clientConfig(config, bundle)
	if err != nil {
		return nil, fmt.Errorf("make a runner: %w", err)
	}
	for name, queue := range client.Queues {
		r.queues, r.slots[name] = append(r.queues, name), queue.MaxWorkers
	}
	r.runtime.observer = config.Observer
	r.runtime.retryPolicy = client.River().RetryPolicy
	if r.client, err = jobs.NewClient(config.Pool, client); err != nil {
		return nil, err
	}
	r.runtime.prompt = r.client.Pilot().(promptFinisher) //nolint:forcetypeassert // the client has our driver, whose pilot is ours
	r.runtime.schema = r.client.Schema()
	return r, nil
}

func (c *Config) check(bundle *Bundle) error {
	switch {
	case c.Pool == nil:
		return errors.New("it needs a pool")
	case bundle == nil || len(bundle.kinds) == 0:
		return errors.New("the bundle has no workers")
	case c.Client.Queues != nil:
		return errors.New("queues are set by Config.Queues, not by Config.Client.Queues")
	case c.Client.Workers != nil:
		return errors.New("workers are set by the bundle, not by Config.Client.Workers")
	case c.Client.Schema != "" && c.Client.Schema != jobs.Schema:
		return fmt.Errorf("schema %q: workers need the schema %q", c.Client.Schema, jobs.Schema)
	case c.Client.SoftStopTimeout != 0:
		return errors.New("the grace time is set by Config.Grace, not by Config.Client.SoftStopTimeout")
	case c.Grace < 0 || c.CancelGrace < 0:
		return fmt.Errorf("grace times %s and %s: they must not be negative", c.Grace, c.CancelGrace)
	}
	return nil
}

// clientConfig adds to the client's configuration what the bundle and the runner have to say.
func (r *Runner) clientConfig(config Config, bundle *Bundle) (*jobs.Config, error) {
	client := config.Client
	client.Logger = r.logger
	client.Queues = config.Queues
	if client.Queues == nil {
		client.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: SlotsDefault}}
	}
	client.SoftStopTimeout = r.grace
	client.JobStuckHandler = r.stuck
	client.Hooks = slices.Concat(client.Hooks, bundle.hooks)
	client.Middleware = slices.Concat(client.Middleware, bundle.middleware)
	client.PeriodicJobs = slices.Clone(client.PeriodicJobs)
	if !client.LeaderElectionDisabled { // those who never lead never start one
		for _, periodic := range bundle.periodic {
			client.PeriodicJobs = append(client.PeriodicJobs, periodic.job)
		}
	}
	if client.ErrorHandler != nil {
		r.errorHandlers = append(r.errorHandlers, client.ErrorHandler)
	}
	r.errorHandlers = append(r.errorHandlers, bundle.errorHandlers...)
	client.ErrorHandler = &failureReporter{errorHandlers: r.errorHandlers, runtime: r.runtime}
	var err error
	client.Workers, err = bundle.workers(r.runtime)
	return &client, err
}

// Client is the runner's client: for health, for pausing queues, for inserting. It must not be started or stopped.
func (r *Runner) Client() *jobs.Client { return r.client }

// Running is how many handlers are running in this process, stuck ones included.
func (r *Runner) Running() int {
	r.runtime.mu.Lock()
	defer r.runtime.mu.Unlock()
	return r.runtime.running
}

// Slots is how many jobs each queue may run at once here.
func (r *Runner) Slots() map[string]int { return maps.Clone(r.slots) }

// Busy is how many jobs of each queue run here, without the stuck ones, which have lost their slots.
func (r *Runner) Busy() map[string]int {
	busy := make(map[string]int, len(r.slots))
	for _, a := range r.runtime.attempts() {
		if !a.over.Load() {
			busy[a.row.Queue]++
		}
	}
	return busy
}

// Start begins to fetch and work jobs. The end of ctx does not stop it, Stop does; a runner starts once. An error means
// that the database could not be reached, or is not ready.
func (r *Runner) Start(ctx context.Context) error {
	r.runtime.recorder.start()
	if err := r.client.Start(context.WithoutCancel(ctx)); err != nil {
		r.runtime.recorder.stop()
		return fmt.Errorf("start working jobs: %w", err)
	}
	if err := store.AddKnownKinds(ctx, r.pool, r.known); err != nil {
		// Their figures then begin with their first jobs.
		r.logger.WarnContext(ctx, "kinds without a job are not shown yet", slog.String("error", err.Error()))
	}
	if err := store.PutKindSchemas(ctx, r.pool, r.schemas); err != nil {
		// Those of the process before hold.
		r.logger.WarnContext(ctx, "schemas of kinds are not told", slog.String("error", err.Error()))
	}
	return nil
}

// Stop ends a started runner: it stops fetching at once, lets jobs run for the grace time, then cancels their contexts,
// and hands those back that still do not return. Interrupted jobs are available at once and keep their attempts. An
// error says how many handlers were left running, or why their jobs could not be handed back; the process should then
// exit. Calls after the first return what it did.
func (r *Runner) Stop() error {
	r.stopOnce.Do(func() { r.stopErr = r.stop() })
	return r.stopErr
}

// stopSlack is what River may take by itself after the last handler has returned, and what handing back may take.
const stopSlack = 2 * time.Second

func (r *Runner) stop() error {
	defer r.runtime.recorder.stop()
	ctx, cancel := context.WithTimeout(context.Background(), r.grace+r.cancelGrace)
	defer cancel()
	if r.client.Client.Stop(ctx) == nil {
		return nil
	}
	left := r.Running()
	ctx, cancel = context.WithTimeout(context.Background(), stopSlack)
	defer cancel()
	handed, err := r.handBack(ctx)
	if err != nil {
		return fmt.Errorf("stop working jobs: %d handlers still run: %w", left, err)
	}
	if left == 0 {
		// No handler is in the way; River may be waiting for the database.
		if err := r.client.Client.Stop(ctx); err != nil {
			return fmt.Errorf("stop working jobs: %w", err)
		}
		return nil
	}
	return fmt.Errorf("stop working jobs: %d handlers ignored cancellation and still run, %d jobs were handed back", left, handed)
}

// drainEvery is how often Drained looks.
const drainEvery = 250 * time.Millisecond

// Drained returns when the runner's queues hold nothing that could run now and this client runs nothing. Jobs due in the
// future do not count, nor those of kinds without a worker here or in paused queues. It returns nil at the end of ctx
// too. A database that cannot be asked is asked again.
func (r *Runner) Drained(ctx context.Context) {
	failing := false
	for {
		has, err := store.HasWork(ctx, r.pool, r.client.ID(), r.queues, r.kinds)
		if err == nil && !has {
			return
		}
		if err != nil && !failing && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "look for remaining work", slog.String("error", err.Error()))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(drainEvery):
		}
	}
}

// Run works the bundle's jobs until ctx ends, or with Config.Drain until there is nothing left to do, and then stops as
// Stop does. Give it the context of signal.NotifyContext.
func Run(ctx context.Context, config Config, bundle *Bundle) error {
	r, err := New(config, bundle)
	if err != nil {
		return err
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	if config.Drain {
		r.Drained(ctx)
	} else {
		<-ctx.Done()
	}
	return r.Stop()
}
