package pilot

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// Inserts that have no transaction but their own are committed together: while a statement is on its way, the callers
// that come gather, and the next statement takes them all. A caller that finds none on its way goes at once, so nobody
// waits for a timer, and an idle client's inserts are as prompt as they would be alone. What each caller gets is what it
// would have got alone:
//
//   - Its jobs are inserted together or not at all, in one statement.
//   - When the server refuses the statement for what is in it, the callers go one by one, so that each meets its own
//     error only.
//   - When the connection is lost, every caller gets that error, and none knows whether its jobs are there.
//   - A caller whose context ends is answered at once. Jobs that have not left yet are not inserted.
//
// Jobs with unique keys go alone: they may wait for the transaction of somebody else.
const (
	// One statement is on its way at a time, which makes the fewest commits. When it takes longer than groupPatience, as
	// over a long line or on a connection that has died, those who come do not wait for it and send another, of
	// groupFlights at most.
	groupPatience = 10 * time.Millisecond
	groupFlights  = 4
	// groupJobs and groupBytes bound a statement.
	groupJobs  = 1000
	groupBytes = 1 << 20
	// groupCall is how many jobs a call may bring to share a statement. Larger ones gain nothing by it.
	groupCall = 100
)

// group gathers the inserts of one client.
type group struct {
	pilot *Pilot
	// apart keeps the callers apart, each with a statement and a connection of its own.
	apart    bool
	patience time.Duration

	mu       sync.Mutex
	flying   int
	departed time.Time // the last one
	waiting  []*flight
}

// newGroup returns the group of a client. Callers are kept apart on a pool that prepares connections for whoever asks
// for one, since it may set a role that decides what that caller may do.
func newGroup(p *Pilot) *group {
	g := &group{pilot: p, apart: p.config.SeparateInserts, patience: groupPatience}
	if p.pool != nil {
		config := p.pool.Config()
		g.apart = g.apart || config.PrepareConn != nil || setsBeforeAcquire(config)
	}
	return g
}

func setsBeforeAcquire(config *pgxpool.Config) bool {
	return config.BeforeAcquire != nil //nolint:staticcheck // deprecated, and still used
}

// ask is one caller's insert.
type ask struct {
	ctx     context.Context //nolint:containedctx // the caller's; the flight has one of its own
	jobs    []*riverdriver.JobInsertFastParams
	results []*riverdriver.JobInsertFastResult
	err     error
	gone    bool // the caller does not wait any more; guarded by the group's mutex
}

// flight is a statement for one caller or several.
type flight struct {
	schema      string
	asks        []*ask
	jobs, bytes int
	cancel      context.CancelFunc // once it has left
	landed      chan struct{}
}

func (f *flight) takes(schema string, jobs, bytes int) bool {
	return f.schema == schema && f.jobs+jobs <= groupJobs && f.bytes+bytes <= groupBytes
}

// insert inserts jobs in a transaction of their own.
func (g *group) insert(ctx context.Context, params *riverdriver.JobInsertFastManyParams) ([]*riverdriver.JobInsertFastResult, error) {
	if g.apart || len(params.Jobs) > groupCall {
		return g.statement(ctx, params)
	}
	if g.departAlone() {
		defer g.landed()
		return g.statement(ctx, params)
	}
	a := &ask{ctx: ctx, jobs: params.Jobs}
	f := g.board(a, params.Schema)
	select {
	case <-f.landed:
		return a.results, a.err
	case <-ctx.Done():
	}
	select {
	case <-f.landed: // after all
		return a.results, a.err
	default:
		g.leave(f, a)
		return nil, ctx.Err()
	}
}

// departAlone reports whether a caller may go at once, with a statement of its own.
func (g *group) departAlone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) > 0 || !g.free() {
		return false
	}
	g.flying++
	g.departed = time.Now()
	return true
}

// free reports whether another flight may leave.
func (g *group) free() bool {
	return g.flying == 0 || g.flying < groupFlights && time.Since(g.departed) > g.patience
}

// landed ends the flight of a caller that went alone. Those that have gathered meanwhile go next.
func (g *group) landed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) > 0 {
		go g.fly()
	} else {
		g.flying--
	}
}

// statement inserts jobs and tells their queues.
func (g *group) statement(ctx context.Context, params *riverdriver.JobInsertFastManyParams) ([]*riverdriver.JobInsertFastResult, error) {
	x := &Executor{db: g.pilot.pool, storage: g.pilot.storage}
	return x.insert(ctx, params, g.pilot.tell(params.Jobs))
}

// board puts an ask on the next flight that has room.
func (g *group) board(a *ask, schema string) *flight {
	bytes := 0
	for _, job := range a.jobs {
		bytes += len(job.EncodedArgs) + len(job.Metadata)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.waiting)
	if n == 0 || !g.waiting[n-1].takes(schema, len(a.jobs), bytes) {
		g.waiting = append(g.waiting, &flight{schema: schema, landed: make(chan struct{})})
		n++
	}
	f := g.waiting[n-1]
	f.asks, f.jobs, f.bytes = append(f.asks, a), f.jobs+len(a.jobs), f.bytes+bytes
	if g.free() {
		g.flying++
		g.departed = time.Now() // in a moment
		go g.fly()
	}
	return f
}

// leave takes an ask off its flight. One that has left goes on for the others, and is given up when there are none.
func (g *group) leave(f *flight, a *ask) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a.gone = true
	if f.cancel != nil && !slices.ContainsFunc(f.asks, func(a *ask) bool { return !a.gone }) {
		f.cancel()
	}
}

// fly sends flights off until none is waiting.
func (g *group) fly() {
	for {
		// Callers that were just answered and ask again come along.
		runtime.Gosched()
		f, ctx := g.depart()
		if f == nil {
			return
		}
		g.run(ctx, f)
		f.cancel()
		close(f.landed)
	}
}

// depart takes the next flight and those of its callers that still wait.
func (g *group) depart() (*flight, context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 {
		f := g.waiting[0]
		g.waiting = slices.Delete(g.waiting, 0, 1)
		f.asks = slices.DeleteFunc(f.asks, func(a *ask) bool { return a.gone })
		if len(f.asks) > 0 {
			// The statement must not end with the context of one of its callers; of what contexts carry it has the first's.
			ctx, cancel := context.WithCancel(context.WithoutCancel(f.asks[0].ctx))
			f.cancel, g.departed = cancel, time.Now()
			return f, ctx
		}
	}
	g.flying--
	return nil, nil
}

// run inserts what the callers ask, and gives each its own.
func (g *group) run(ctx context.Context, f *flight) {
	jobs := make([]*riverdriver.JobInsertFastParams, 0, f.jobs)
	for _, a := range f.asks {
		jobs = append(jobs, a.jobs...)
	}
	results, err := g.statement(ctx, &riverdriver.JobInsertFastManyParams{Jobs: jobs, Schema: f.schema})
	if len(f.asks) > 1 && blamesData(err) {
		for _, a := range f.asks {
			a.results, a.err = g.statement(a.ctx, &riverdriver.JobInsertFastManyParams{Jobs: a.jobs, Schema: f.schema})
		}
		return
	}
	for _, a := range f.asks {
		if a.err = err; err == nil {
			n := len(a.jobs)
			a.results, results = results[:n:n], results[n:]
		}
	}
}

// blamesData reports whether the server refused a statement for what one of its rows holds, so that the others may do
// without it: wrong data, a constraint, a limit such as that on the depth of JSON, or what a trigger of the user's raises.
// It said so before it committed anything.
func blamesData(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || len(pgErr.Code) != 5 {
		return false
	}
	switch pgErr.Code[:2] {
	case "22", "23", "44", "54", "P0":
		return true
	default:
		return false
	}
}

// soleKey marks the context of an insert whose transaction holds nothing else.
type soleKey struct{}

// Sole marks the context of an insert on the pool, by a client of this driver, in whose transaction nothing happens but
// the insert and nothing can happen after it that would undo it. The caller knows that no insert middleware runs, which
// could fail when the jobs are there.
func (s *Storage) Sole(ctx context.Context) context.Context {
	return context.WithValue(ctx, soleKey{}, s)
}

// insertsAlone reports whether the jobs are all that the transaction will hold, so that it need not begin.
func (p *Pilot) insertsAlone(ctx context.Context, exec riverdriver.ExecutorTx, jobs []*riverdriver.JobInsertFastParams) bool {
	if ctx.Value(soleKey{}) != p.storage || len(jobs) == 0 {
		return false
	}
	x, ok := exec.(*ExecutorTx)
	if !ok {
		return false
	}
	if tx, ok := x.tx.(*lazyTx); !ok || !tx.untouched(p.pool) {
		return false
	}
	return !slices.ContainsFunc(jobs, func(job *riverdriver.JobInsertFastParams) bool {
		return len(job.UniqueKey) > 0 || bringsPlugins(job.Args)
	})
}

// pluginsType is what args have that bring plugins of their own, of which insert middleware is one kind. River asks the
// first value of a job's kind and keeps the answer for all, so that neither the value nor its being a pointer counts here.
var pluginsType = reflect.TypeFor[interface{ Plugins() []rivertype.Plugin }]()

// bringers keeps by type whether args bring plugins.
var bringers sync.Map

func bringsPlugins(args rivertype.JobArgs) bool {
	t := reflect.TypeOf(args)
	if t == nil {
		return false
	}
	if brings, ok := bringers.Load(t); ok {
		return brings.(bool) //nolint:forcetypeassert // only bools are stored
	}
	brings := t.Implements(pluginsType) || reflect.PointerTo(t).Implements(pluginsType)
	bringers.Store(t, brings)
	return brings
}
