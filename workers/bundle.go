// Package workers is the consumers' side of Towpath: it works jobs with River's workers and adds what running them for
// years needs.
//
//	bundle := workers.NewBundle()
//	workers.Add(bundle, &ResizeWorker{}, workers.WithMaxAttempts(5))
//	err := workers.Run(ctx, workers.Config{Pool: pool}, bundle)
//
// A handler is a river.Worker, as it is. Around it:
//
//   - Time limits. The hard one is River's Timeout: the context is cancelled. The soft one comes before it, at four
//     fifths unless set: SoftLimit tells the handler. One that goes on long after the hard limit loses its slot, and
//     its attempt is over: it counts as failed, and nothing that the handler does later can change the job.
//   - Classes of errors. Permanent, and WithRetryIf for a kind, end a job that no retry can save; it is discarded at
//     once. Others are retried with a growing delay, a finite number of times.
//   - Sight of what runs. Progress and Logger write to towpath.job_event, where SQL reads them while the job runs.
//   - An orderly end. Run stops fetching when its context ends, lets jobs finish within the grace time, and hands the
//     rest back without using up an attempt.
//
// The context that a handler gets is what carries all this; Progress, Logger and SoftLimit may be called with any
// context that descends from it, and do no harm with one that does not.
package workers

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/store"
)

// Bundle is everything that a process can work: kinds of jobs with their workers, schedules, probes, periodic jobs, and what runs
// around them. It is filled while a program starts and may then serve any number of clients; it must not be changed any more
// once it does.
type Bundle struct {
	kinds         []string
	registrations []registration
	periodic      []periodicJob
	hooks         []rivertype.Hook
	middleware    []rivertype.Middleware
	errorHandlers []river.ErrorHandler
	schedules     map[string]json.RawMessage // name to definition
	probes        map[string]json.RawMessage // the same

	// known refuses what River would refuse; every client gets workers of its own.
	known *river.Workers
}

// registration is a kind with its type forgotten.
type registration struct {
	kinds []string
	queue string // where its jobs go unless they say otherwise
	// schema is that of the args, or nil.
	schema json.RawMessage
	// worker returns the river.Worker[T] for one client.
	worker func(*runtime) any
	// addTo registers that worker.
	addTo func(*river.Workers, *runtime) error
}

type periodicJob struct {
	id  string
	job *river.PeriodicJob
}

// NewBundle returns an empty bundle.
func NewBundle() *Bundle { return &Bundle{known: river.NewWorkers()} }

// Add adds the worker for jobs of type T. It panics where AddSafely returns an error, which is right for the code that
// lists a program's workers.
func Add[T river.JobArgs](bundle *Bundle, worker river.Worker[T], options ...Option) {
	if err := AddSafely(bundle, worker, options...); err != nil {
		panic(err)
	}
}

// AddSafely adds the worker for jobs of type T, of its kind and the kind's aliases. It returns an error when a kind has
// a worker already, when the worker is nil, or when an option makes no sense.
func AddSafely[T river.JobArgs](bundle *Bundle, worker river.Worker[T], options ...Option) error {
	var args T
	kind := args.Kind()
	if worker == nil {
		return fmt.Errorf("add worker of %q: %w", kind, errNilWorker)
	}
	settings, err := newSettings(options)
	if err != nil {
		return fmt.Errorf("add worker of %q: %w", kind, err)
	}
	if err := river.AddWorkerSafely(bundle.known, worker); err != nil {
		return fmt.Errorf("add worker of %q: %w", kind, err)
	}
	kinds := []string{kind}
	if aliased, ok := any(args).(river.JobArgsWithKindAliases); ok {
		kinds = append(kinds, aliased.KindAliases()...)
	}
	wrap := func(rt *runtime) river.Worker[T] {
		return newKindWorker(worker, settings, rt)
	}
	bundle.kinds = append(bundle.kinds, kinds...)
	bundle.registrations = append(bundle.registrations, registration{
		kinds:  kinds,
		queue:  defaultQueue(args),
		schema: schemaOf[T](),
		worker: func(rt *runtime) any { return wrap(rt) },
		addTo:  func(to *river.Workers, rt *runtime) error { return river.AddWorkerSafely(to, wrap(rt)) },
	})
	return nil
}

// AddPeriodic adds a River periodic job. The id names it in towpath.periodic_job, where its next run is kept, so that a
// restart or a change of leader neither loses nor repeats one. opts may be nil; its ID is not used. AddPeriodic panics
// when the id is empty or taken, or when there is no schedule or constructor.
//
// Processes that may lead must all know the same periodic jobs, and workers for their kinds must run somewhere.
func (b *Bundle) AddPeriodic(id string, schedule river.PeriodicSchedule, constructor river.PeriodicJobConstructor, opts *river.PeriodicJobOpts) {
	switch {
	case id == "":
		panic("add periodic job: it needs an id")
	case slices.ContainsFunc(b.periodic, func(p periodicJob) bool { return p.id == id }):
		panic(fmt.Sprintf("add periodic job %q: there is one of that id", id))
	case schedule == nil || constructor == nil:
		panic(fmt.Sprintf("add periodic job %q: it needs a schedule and a constructor", id))
	}
	own := river.PeriodicJobOpts{}
	if opts != nil {
		own = *opts
	}
	own.ID = id
	b.periodic = append(b.periodic, periodicJob{id: id, job: river.NewPeriodicJob(schedule, constructor, &own)})
}

// AddHooks adds River hooks for all kinds.
func (b *Bundle) AddHooks(hooks ...rivertype.Hook) { b.hooks = append(b.hooks, hooks...) }

// AddMiddleware adds River middleware for all kinds, the outermost first.
func (b *Bundle) AddMiddleware(middleware ...rivertype.Middleware) {
	b.middleware = append(b.middleware, middleware...)
}

// AddErrorHandler adds a handler that is told of every failed attempt, in the order of adding. A job is cancelled when
// one of them asks for it. River tells handlers neither of cancelled jobs nor of those handed back at a stop; of a stuck
// job they are told when its slot is taken back, with ErrStuck. A job whose error is permanent shows its attempt as its
// last.
func (b *Bundle) AddErrorHandler(handler river.ErrorHandler) {
	b.errorHandlers = append(b.errorHandlers, handler)
}

// Kinds returns the kinds that the bundle has workers for, aliases included, in the order of adding.
func (b *Bundle) Kinds() []string { return slices.Clone(b.kinds) }

// defaultQueue is the queue that jobs with such args go to unless they say otherwise. Args that cannot say so without
// their values are taken to go to the default one.
func defaultQueue(args river.JobArgs) (queue string) {
	defer func() {
		if recover() != nil {
			queue = river.QueueDefault
		}
	}()
	if opts, ok := args.(river.JobArgsWithInsertOpts); ok {
		queue = opts.InsertOpts().Queue
	}
	return cmp.Or(queue, river.QueueDefault)
}

// knownKinds lists the kinds with the queues of their jobs.
func (b *Bundle) knownKinds() []store.KnownKind {
	var all []store.KnownKind
	for _, r := range b.registrations {
		for _, kind := range r.kinds {
			all = append(all, store.KnownKind{Kind: kind, Queue: r.queue})
		}
	}
	return all
}

// schemas returns the JSON schemas of the kinds whose args have one.
func (b *Bundle) schemas() map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for _, r := range b.registrations {
		for _, kind := range r.kinds {
			if r.schema != nil {
				all[kind] = r.schema
			}
		}
	}
	return all
}

// workers returns the bundle's workers for one client.
func (b *Bundle) workers(rt *runtime) (*river.Workers, error) {
	all := river.NewWorkers()
	for _, r := range b.registrations {
		if err := r.addTo(all, rt); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// worker returns the worker of a kind for one client, or nil.
func (b *Bundle) worker(kind string, rt *runtime) any {
	for _, r := range b.registrations {
		if slices.Contains(r.kinds, kind) {
			return r.worker(rt)
		}
	}
	return nil
}

var errNilWorker = errors.New("the worker is nil")
