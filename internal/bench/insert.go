package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

func insertScenario() scenario {
	return scenario{
		name: "insert", about: "insert jobs that nobody works, in bulk and one by one",
		defaults: Options{Jobs: 50_000},
		cases: []benchCase{
			inserts{name: "many", about: "InsertMany of 1,000", callers: 1, size: 1000, share: 1, insert: insertMany(ordinary)}.benchCase(),
			inserts{name: "many_unique", about: "InsertMany of 1,000, some of them unique", callers: 1, size: 1000, share: 1, insert: insertMany(mixed)}.benchCase(),
			inserts{name: "copy", about: "InsertManyFast of 1,000 (COPY)", callers: 1, size: 1000, share: 1, insert: insertCopy}.benchCase(),
			inserts{name: "tx_1", about: "InsertTx, a transaction for each, 1 goroutine", callers: 1, size: 1, share: 25, insert: insertTx}.benchCase(),
			inserts{name: "tx_8", about: "InsertTx, a transaction for each, 8 goroutines", callers: 8, size: 1, share: 10, insert: insertTx}.benchCase(),
			inserts{name: "tx_64", about: "InsertTx, a transaction for each, 64 goroutines", callers: 64, size: 1, share: 10, insert: insertTx}.benchCase(),
			inserts{name: "pool_1", about: "Insert on the pool, 1 goroutine", callers: 1, size: 1, share: 25, insert: insertOne}.benchCase(),
			inserts{name: "pool_64", about: "Insert on the pool, 64 goroutines; River: InsertTx in a transaction of its own", callers: 64, size: 1, share: 2, insert: insertOne}.benchCase(),
		},
	}
}

// inserts are one way to insert.
type inserts struct {
	name, about   string
	callers, size int
	// share divides the number of jobs, since a commit for each takes its time.
	share  int
	insert func(ctx context.Context, s *system, from, to int) error
}

func (i inserts) benchCase() benchCase {
	return benchCase{
		name: i.name, about: i.about, headline: JobsPerSecond,
		contenders: []variant{towpathVariant(), riverVariant()},
		run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
			return i.run(ctx, r, c.(*system)) //nolint:forcetypeassert // no peer takes part
		},
	}
}

func insertMany(mix mixture) func(context.Context, *system, int, int) error {
	return func(ctx context.Context, s *system, from, to int) error {
		_, err := s.client.InsertMany(ctx, batch(from, to, mix))
		return err
	}
}

func insertCopy(ctx context.Context, s *system, from, to int) error {
	_, err := s.client.InsertManyFast(ctx, batch(from, to, ordinary))
	return err
}

func insertTx(ctx context.Context, s *system, from, _ int) error {
	params := ordinary(from)
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := s.client.InsertTx(ctx, tx, params.Args, params.InsertOpts)
		return err
	})
}

// insertOne inserts a job without a transaction of the caller's. River's way is InsertTx in a transaction that is made for
// it; its Insert does the same inside.
func insertOne(ctx context.Context, s *system, from, to int) error {
	if !s.ours() {
		return insertTx(ctx, s, from, to)
	}
	params := ordinary(from)
	_, err := s.client.Insert(ctx, params.Args, params.InsertOpts)
	return err
}

// run warms up with a fifth of the jobs, inserts the rest and counts the rows.
func (i inserts) run(ctx context.Context, r *run, s *system) (*outcome, error) {
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	calls := max(r.opts.Jobs/i.share/i.size, 1)
	warm := calls/warmShare + 1
	peak := watchMemory(memoryEvery)
	defer peak()
	if _, err := i.calls(ctx, s, 0, warm, func(int) {}); err != nil {
		return nil, err
	}
	show, done := r.progress.bar(r.label, calls*i.size)
	defer done()
	before, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	if s.ours() {
		if err := r.profile.start(); err != nil {
			return nil, err
		}
		defer r.profile.close()
	}
	took, err := i.calls(ctx, s, warm, warm+calls, show)
	if err != nil {
		return nil, err
	}
	after, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	figures := after.figures(before, calls*i.size)
	figures.latencies(took, startPercentiles())
	figures[PeakMemory] = peak()
	return &outcome{figures: figures}, s.counts(ctx, (warm+calls)*i.size)
}

// calls makes the calls from one number to before another, by all callers together, and returns how long each took.
func (i inserts) calls(ctx context.Context, s *system, from, to int, show func(int)) ([]time.Duration, error) {
	took := make([]time.Duration, to-from)
	var next atomic.Int64
	var bar sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for range i.callers {
		group.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(took) {
					return nil
				}
				begun := time.Now()
				if err := i.insert(ctx, s, (from+n)*i.size, (from+n+1)*i.size); err != nil {
					return fmt.Errorf("insert %s: %w", i.name, err)
				}
				took[n] = time.Since(begun)
				if (n*i.size)%tallyStep == 0 {
					bar.Lock()
					show(n * i.size)
					bar.Unlock()
				}
			}
		})
	}
	return took, group.Wait()
}

// counts checks that so many jobs wait.
func (s *system) counts(ctx context.Context, want int) error {
	var got int
	err := s.pool.QueryRow(ctx, "SELECT count(*) FROM "+s.table("river_job")+" WHERE state = 'available'").Scan(&got)
	if err != nil {
		return fmt.Errorf("count waiting jobs: %w", err)
	}
	if got != want {
		return fmt.Errorf("check the result: of %d inserted jobs %d wait", want, got)
	}
	return nil
}
