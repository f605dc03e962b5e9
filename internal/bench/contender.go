package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// A contender is one job system with a database of its own.
type contender interface {
	// open creates the database and its schema; close drops it.
	open(ctx context.Context, key string) error
	close(ctx context.Context) error

	// settings say in a line how it runs.
	settings() string

	// empty removes all jobs.
	empty(ctx context.Context) error
}

// A system is a contender in Go, in this process: Towpath or plain River.
type system struct {
	flavour

	bench  *bench
	schema string
	db     *database
	pool   *pgxpool.Pool
	client producer
}

// A flavour is what tells the systems apart.
type flavour interface {
	settings() string
	migrate(ctx context.Context, pool *pgxpool.Pool) error

	// tables hold jobs, unqualified.
	tables() []string

	// producer returns a client for inserting, with the defaults of its kind.
	producer(pool *pgxpool.Pool) (producer, error)

	// start begins to work the load on the pool. Up to buffer ends of jobs wait to be read from events.
	start(ctx context.Context, pool *pgxpool.Pool, l *load, buffer int) (events <-chan *river.Event, stop func(context.Context) error, err error)

	// verify checks what the database says about a load of which all has been worked.
	verify(ctx context.Context, pool *pgxpool.Pool, want ends) error

	// ended is a query that tells whether the job with the id $1 is seen to have ended.
	ended() string

	// finished is the table that holds finished jobs.
	finished() string

	// chores are statements that a fleet sends now and then, however little there is to do.
	chores() []string
}

// producer is what clients for inserting have in common.
type producer interface {
	Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error)
	InsertTx(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error)
	InsertMany(ctx context.Context, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error)
	InsertManyFast(ctx context.Context, params []river.InsertManyParams) (int, error)
}

// ends is what has to be in the database when a load is done. Past jobs are those that were made finished before it.
type ends struct{ past, completed, retried int }

// endsOf are those of the first n jobs of the mix.
func endsOf(n int) ends {
	return ends{completed: n, retried: n/mixOf*mixFlaky + min(n%mixOf, mixFlaky)}
}

func (s *system) open(ctx context.Context, key string) (err error) {
	if s.db, err = s.bench.server.create(ctx, key); err != nil {
		return err
	}
	if s.pool, err = s.openPool(ctx); err != nil {
		return err
	}
	if err := s.migrate(ctx, s.pool); err != nil {
		return err
	}
	s.client, err = s.producer(s.pool)
	return err
}

// openPool opens the pool of one process: the one that every Towpath process has, with a counter of statements.
func (s *system) openPool(ctx context.Context) (*pgxpool.Pool, error) {
	cfg := *s.bench.opts.Config
	cfg.Database.URL = s.db.url
	usual, err := cfg.OpenPool(ctx, "towpath bench")
	if err != nil {
		return nil, err
	}
	counted := usual.Config()
	usual.Close()
	counted.ConnConfig.Tracer = s.bench.meter
	pool, err := pgxpool.NewWithConfig(ctx, counted)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	return pool, nil
}

func (s *system) close(ctx context.Context) error {
	if s.pool != nil {
		s.pool.Close()
	}
	if s.db == nil {
		return nil
	}
	return s.db.drop(ctx)
}

func (s *system) empty(ctx context.Context) error {
	names := make([]string, 0, len(s.tables()))
	for _, table := range s.tables() {
		names = append(names, s.table(table))
	}
	if _, err := s.pool.Exec(ctx, "TRUNCATE "+strings.Join(names, ", ")); err != nil {
		return fmt.Errorf("empty the tables: %w", err)
	}
	return nil
}

// ours reports whether the system is Towpath.
func (s *system) ours() bool {
	_, ours := s.flavour.(towpath)
	return ours
}

func (s *system) table(name string) string { return pgx.Identifier{s.schema, name}.Sanitize() }

// fillBatch is how many jobs one COPY brings.
const fillBatch = 5000

// prepare empties the tables, inserts the first n jobs of the mix and lets the planner know.
func (s *system) prepare(ctx context.Context, n int) error {
	if err := s.empty(ctx); err != nil {
		return err
	}
	if err := s.insertMix(ctx, n); err != nil {
		return err
	}
	return s.analyze(ctx)
}

func (s *system) insertMix(ctx context.Context, n int) error {
	for from := 0; from < n; from += fillBatch {
		if _, err := s.client.InsertManyFast(ctx, batch(from, min(from+fillBatch, n), mixed)); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
	}
	return nil
}

// analyze brings the planner's statistics up to date, as autovacuum does within a minute on a busy table.
func (s *system) analyze(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE) "+s.table("river_job")); err != nil {
		return fmt.Errorf("analyze the jobs: %w", err)
	}
	return nil
}

// A fleet is one process that works jobs, on a pool of its own.
type fleet struct {
	events <-chan *river.Event
	pool   *pgxpool.Pool
	halt   func(context.Context) error
}

// start begins to work a load.
func (s *system) start(ctx context.Context, l *load, buffer int) (*fleet, error) {
	pool, err := s.openPool(ctx)
	if err != nil {
		return nil, err
	}
	events, stop, err := s.flavour.start(ctx, pool, l, buffer)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return &fleet{events: events, pool: pool, halt: stop}, nil
}

// stop lets running jobs end and closes the pool.
func (f *fleet) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	defer f.pool.Close()
	return f.halt(ctx)
}

// stallLimit is how long nothing may happen before a round is given up.
const stallLimit = time.Minute

var errStalled = errors.New("no job has ended for a minute")

// A tally counts the ends of jobs as a fleet tells of them.
type tally struct {
	events <-chan *river.Event
	count  int
	each   func(*rivertype.JobRow) error // called for every end, when set
	show   func(int)
}

// tallyStep is after how many jobs the bar moves.
const tallyStep = 250

// until reads until so many jobs have ended, or until stop delivers; a nil stop never does. Of the ends that have come
// with the last one slack more may count: a fleet tells of a batch at once, and of the next one after a while.
func (t *tally) until(ctx context.Context, n, slack int, stop <-chan time.Time) error {
	stalled := time.NewTimer(stallLimit)
	defer stalled.Stop()
	for t.count < n+slack {
		var event *river.Event
		select {
		case event = <-t.events:
		default:
			if t.count >= n {
				t.show(t.count)
				return nil
			}
			select {
			case event = <-t.events:
			case <-stop:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			case <-stalled.C:
				return fmt.Errorf("wait for the end of %d jobs: %w, after %d", n, errStalled, t.count)
			}
		}
		if err := t.take(event); err != nil {
			return err
		}
		if t.count%tallyStep == 0 {
			stalled.Reset(stallLimit)
		}
	}
	t.show(t.count)
	return nil
}

func (t *tally) take(event *river.Event) error {
	t.count++
	if t.count%tallyStep == 0 {
		t.show(t.count)
	}
	if t.each == nil {
		return nil
	}
	return t.each(event.Job)
}
