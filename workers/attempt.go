package workers

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"strconv"
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

	mu      sync.Mutex
	running map[*attempt]struct{}
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
	return &runtime{database: database, recorder: recorder, logger: logger, logLevel: logLevel, running: make(map[*attempt]struct{})}
}

func (rt *runtime) attempts() []*attempt {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	all := make([]*attempt, 0, len(rt.running))
	for a := range rt.running {
		all = append(all, a)
	}
	return all
}

// attempt is one try of one job, from its start until its handler has returned.
type attempt struct {
	runtime  *runtime
	settings *settings
	row      rivertype.JobRow // as it was when the attempt began
	labels   pprof.LabelSet
	soft     chan struct{} // closed at the soft limit

	// nextRetry asks the worker when the job would be due again; nil until the handler begins.
	nextRetry atomic.Pointer[func() time.Time]

	// over is set when the attempt was ended for the handler: it was stuck, or handed back.
	over atomic.Bool

	logger struct {
		once sync.Once
		*slog.Logger
	}
	notes notes
}

type attemptKey struct{}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// begin opens an attempt. The row is River's own, which the executor looks at again when the handler has returned.
func (rt *runtime) begin(row *rivertype.JobRow, s *settings) *attempt {
	if s.maxAttempts > 0 {
		row.MaxAttempts = min(row.MaxAttempts, s.maxAttempts)
	}
	a := &attempt{runtime: rt, settings: s, row: *row, soft: make(chan struct{})}
	a.labels = pprof.Labels(labelJob, strconv.FormatInt(row.ID, 10), labelKind, row.Kind)
	rt.mu.Lock()
	rt.running[a] = struct{}{}
	rt.mu.Unlock()
	return a
}

// end closes the attempt once what it noted is readable, or it has waited long enough for that.
func (rt *runtime) end(a *attempt) {
	rt.recorder.finish(a)
	rt.mu.Lock()
	delete(rt.running, a)
	rt.mu.Unlock()
}

// attemptMiddleware is the outermost layer around a handler: middleware of the worker, of the args and of the client
// runs inside of it, so that all of them can log, and what they return is classified.
type attemptMiddleware struct {
	river.MiddlewareDefaults
	runtime  *runtime
	settings *settings
}

func (m *attemptMiddleware) Work(ctx context.Context, row *rivertype.JobRow, inner func(context.Context) error) error {
	a := m.runtime.begin(row, m.settings)
	defer m.runtime.end(a)
	var err error
	// The labels tell the goroutines of jobs apart, in profiles and when one of them is stuck.
	pprof.Do(context.WithValue(ctx, attemptKey{}, a), a.labels, func(ctx context.Context) { err = inner(ctx) })
	if err = a.classify(ctx, row, err); err != nil {
		return err
	}
	// Whoever sees the job's end can read its lines.
	m.runtime.recorder.finish(a)
	finishPromptly(ctx, row)
	return nil
}

// kindWorker is a worker with the settings of its kind.
type kindWorker[T river.JobArgs] struct {
	river.Worker[T]
	settings *settings
	runtime  *runtime
}

// Middleware puts ours around the worker's own.
func (w *kindWorker[T]) Middleware(row *rivertype.JobRow) []rivertype.WorkerMiddleware {
	own := &attemptMiddleware{runtime: w.runtime, settings: w.settings}
	return append([]rivertype.WorkerMiddleware{own}, w.Worker.Middleware(row)...)
}

// NextRetry asks the worker, then the kind's backoff; zero leaves it to the client.
func (w *kindWorker[T]) NextRetry(job *river.Job[T]) time.Time {
	if at := w.Worker.NextRetry(job); !at.IsZero() || w.settings.backoff == nil {
		return at
	}
	return w.settings.backoff.NextRetry(job.JobRow)
}

// Work watches over the soft limit while the handler runs. The hard limit is the deadline of ctx by now.
func (w *kindWorker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	a := attemptOf(ctx)
	if a == nil { // called by somebody else than River
		return w.Worker.Work(ctx, job)
	}
	// A handler that is stuck may be writing to its job while this is asked.
	asked := &river.Job[T]{JobRow: &a.row, Args: job.Args}
	next := func() time.Time { return w.NextRetry(asked) }
	a.nextRetry.Store(&next)
	defer a.watchSoftLimit(ctx)()
	return w.Worker.Work(ctx, job)
}
