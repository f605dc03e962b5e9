package workers

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// runtime is what the attempts of one client share.
type runtime struct {
	database    Beginner
	recorder    *recorder
	logger      *slog.Logger
	logLevel    slog.Leveler // the least level that is recorded
	retryPolicy river.ClientRetryPolicy
	observer    Observer // or nil
	// prompt has ends written at once, in the client's schema; nil where a test works one job in its transaction.
	prompt promptFinisher
	schema string

	mu       sync.Mutex
	first    *attempt // of those that run, a list
	running  int
	panicked map[*rivertype.JobRow]map[string]any // what attempts had recorded that panicked and were not reported yet

	softClock softClock
}

// identity says which attempt a line is about.
func (a *attempt) identity() []slog.Attr {
	return []slog.Attr{
		slog.Int64("job_id", a.row.ID), slog.String("kind", a.row.Kind),
		slog.String("queue", a.row.Queue), slog.Int("attempt", a.row.Attempt),
	}
}

func newRuntime(database Beginner, recorder *recorder, logger *slog.Logger, logLevel slog.Leveler) *runtime {
	if logLevel == nil {
		logLevel = slog.LevelInfo
	}
	rt := &runtime{database: database, recorder: recorder, logger: logger, logLevel: logLevel}
	rt.softClock.begun = time.Now()
	rt.softClock.timer = time.AfterFunc(time.Hour, rt.setSoftClock)
	rt.softClock.timer.Stop()
	return rt
}

// attempts returns those that run.
func (rt *runtime) attempts() []*attempt {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	all := make([]*attempt, 0, rt.running)
	for a := rt.first; a != nil; a = a.next {
		all = append(all, a)
	}
	return all
}

// attempt is one try of one job, from its start until its handler has returned. It is also the context in which the
// handler runs, which saves every attempt another one.
type attempt struct {
	context.Context // River's
	runtime         *runtime
	settings        *settings
	row             rivertype.JobRow // as it was when the attempt began
	seat            *seat
	begun           time.Time // where somebody observes

	prev, next *attempt // in the runtime's list

	soft softLimit

	// over is set when the attempt was ended for the handler: it was stuck, or handed back.
	over     atomic.Bool
	returned bool // the handler did, rather than panic

	retry struct {
		sync.Mutex
		question retryQuestion // nil until the handler begins
	}
	logger struct {
		once sync.Once
		*slog.Logger
	}
	notes notes
}

type attemptKey struct{}

// Value finds the attempt itself, the labels of its goroutine, and what River's context holds.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	if labels := a.seat.labels.Value(key); labels != nil {
		return labels
	}
	return a.Context.Value(key)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// begin opens an attempt. The row is River's own, which the executor looks at again when the handler has returned.
func (rt *runtime) begin(ctx context.Context, row *rivertype.JobRow, s *settings, seat *seat) *attempt {
	if s.maxAttempts > 0 {
		row.MaxAttempts = min(row.MaxAttempts, s.maxAttempts)
	}
	a := &attempt{Context: ctx, runtime: rt, settings: s, row: *row, seat: seat}
	if rt.observer != nil {
		a.begun = time.Now()
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if a.next = rt.first; a.next != nil {
		a.next.prev = a
	}
	rt.first = a
	rt.running++
	return a
}

// end closes the attempt once what it noted is readable, or it has waited long enough for that.
func (rt *runtime) end(a *attempt) {
	rt.recorder.finish(a)
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if a.next != nil {
		a.next.prev = a.prev
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		rt.first = a.next
	}
	a.prev, a.next = nil, nil
	rt.running--
}

// attemptMiddleware is the outermost layer around a handler: middleware of the worker, of the args and of the client
// runs inside of it, so that all of them can log, and what they return is classified.
type attemptMiddleware struct {
	river.MiddlewareDefaults
	runtime  *runtime
	settings *settings
	seats    *seats
}

func (m *attemptMiddleware) Work(ctx context.Context, row *rivertype.JobRow, inner func(context.Context) error) error {
	growStack(false)
	seat := m.seats.take(ctx)
	a := m.runtime.begin(ctx, row, m.settings, seat)
	defer m.leave(a, row)
	seat.label()
	var err error
	if m.runtime.observer != nil {
		err = m.runtime.observed(ctx, a, row, func() error { return m.work(ctx, a, row, inner) })
	} else {
		err = m.work(ctx, a, row, inner)
	}
	a.returned = true
	if err != nil {
		return m.runtime.failed(ctx, a, row, err)
	}
	return nil
}

func (m *attemptMiddleware) work(ctx context.Context, a *attempt, row *rivertype.JobRow, inner func(context.Context) error) error {
	if err := a.classify(ctx, row, inner(a)); err != nil {
		return err
	}
	// Whoever sees the job's end can read its lines.
	m.runtime.recorder.finish(a)
	m.runtime.finishPromptly(ctx, row.ID)
	return nil
}

// leave closes the attempt, whether its handler returned or panicked.
func (m *attemptMiddleware) leave(a *attempt, row *rivertype.JobRow) {
	m.runtime.end(a)
	if !a.returned {
		m.runtime.panics(a, row)
	}
	pprof.SetGoroutineLabels(a.Context)
	m.seats.giveBack(a.seat)
}

// kindWorker is a worker with the settings of its kind.
type kindWorker[T river.JobArgs] struct {
	river.Worker[T]
	settings *settings
	runtime  *runtime
	own      []rivertype.WorkerMiddleware // ours alone
}

func newKindWorker[T river.JobArgs](worker river.Worker[T], s *settings, rt *runtime) *kindWorker[T] {
	var args T
	own := &attemptMiddleware{runtime: rt, settings: s, seats: &seats{kind: args.Kind()}}
	return &kindWorker[T]{Worker: worker, settings: s, runtime: rt, own: []rivertype.WorkerMiddleware{own}}
}

// Middleware puts ours around the worker's own.
func (w *kindWorker[T]) Middleware(row *rivertype.JobRow) []rivertype.WorkerMiddleware {
	inner := w.Worker.Middleware(row)
	if len(inner) == 0 {
		return w.own
	}
	return slices.Concat(w.own, inner)
}

// NextRetry asks the worker, then the kind's backoff; zero leaves it to the client.
func (w *kindWorker[T]) NextRetry(job *river.Job[T]) time.Time {
	if at := w.Worker.NextRetry(job); !at.IsZero() || w.settings.backoff == nil {
		return at
	}
	return w.settings.backoff.NextRetry(job.JobRow)
}

// retryQuestion asks a worker when a job would be due again.
type retryQuestion interface{ nextRetry() time.Time }

// jobQuestion asks about a job as it was before its handler began, which may be stuck and writing to its job meanwhile.
type jobQuestion[T river.JobArgs] struct {
	worker *kindWorker[T]
	job    river.Job[T]
}

func (q *jobQuestion[T]) nextRetry() time.Time { return q.worker.NextRetry(&q.job) }

// Work watches over the soft limit while the handler runs. The hard limit is the deadline of ctx by now.
func (w *kindWorker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	a := attemptOf(ctx)
	if a == nil { // called by somebody else than River
		return w.Worker.Work(ctx, job)
	}
	question := &jobQuestion[T]{worker: w, job: river.Job[T]{JobRow: &a.row, Args: job.Args}}
	a.retry.Lock()
	a.retry.question = question
	a.retry.Unlock()
	a.watchSoftLimit(ctx)
	defer a.soft.at.Store(0)
	return w.Worker.Work(ctx, job)
}
