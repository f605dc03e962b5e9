package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
	"golang.org/x/sync/errgroup"
)

const (
	// The feeder keeps at least so many jobs waiting, by batches of this size. They are counted by the ends that the client is
	// told of, a good quarter of a second late: ten thousand were too few to keep forty thousand a second coming.
	feedLow   = 100_000
	feedBatch = 1000
	feedEvery = 2 * time.Millisecond

	// horizonWarm is how many jobs end before the transaction is opened and the clock starts.
	horizonWarm = 5000

	// horizonParts is into how many points at least the course of a short run is divided; a long one has a point for
	// every horizonPoint.
	horizonParts = 10
	horizonPoint = 10 * time.Second
)

func horizonScenario() scenario {
	with := func(v variant, key, title string, pinned bool) variant {
		return variant{key: key, title: title, make: func(b *bench) contender {
			return &pinnedSystem{system: v.make(b).(*system), pinned: pinned} //nolint:forcetypeassert // made just now
		}}
	}
	return scenario{
		name: "horizon", about: "throughput over time while a transaction stays open in REPEATABLE READ",
		defaults: Options{Rounds: 1, Duration: 5 * time.Minute},
		cases: []benchCase{{
			headline: JobsPerSecond,
			contenders: []variant{
				with(towpathVariant(), "towpath", "Towpath", true),
				with(riverVariant(), "river", "River, no open transaction", false),
				with(riverVariant(), "river_open", "River", true),
			},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				return r.horizon(ctx, c.(*pinnedSystem)) //nolint:forcetypeassert // as made above
			},
		}},
	}
}

// A pinnedSystem is worked with or without an open transaction beside it.
type pinnedSystem struct {
	*system
	pinned bool
}

func (s *pinnedSystem) settings() string {
	if s.pinned {
		return s.system.settings() + "; a transaction open beside it"
	}
	return s.system.settings()
}

// horizon works a queue that is kept full, and notes its throughput from time to time.
func (r *run) horizon(ctx context.Context, s *pinnedSystem) (o *outcome, err error) {
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	peak := watchMemory(memoryEvery)
	defer peak()
	f, err := s.start(ctx, newLoad(0, false), feedLow)
	if err != nil {
		return nil, err
	}
	stop := sync.OnceValue(func() error { return f.stop(ctx) })
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	feed := &feeder{system: s.system}
	ended := make(chan struct{})
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return feed.run(groupCtx, ended) })
	t := &tally{events: f.events, show: func(int) {}, each: func(*rivertype.JobRow) error { feed.ended.Add(1); return nil }}
	o, err = r.course(groupCtx, t, s)
	close(ended)
	if feedErr := group.Wait(); feedErr != nil {
		return nil, errors.Join(feedErr, err)
	}
	if err != nil {
		return nil, err
	}
	o.figures[PeakMemory] = peak()
	if err := t.until(ctx, int(feed.inserted.Load()), 0, nil); err != nil {
		return nil, err
	}
	if err := stop(); err != nil {
		return nil, err
	}
	return o, s.verify(ctx, s.pool, endsOf(t.count))
}

// course measures for the length of the run, with the transaction open when it should be.
func (r *run) course(ctx context.Context, t *tally, s *pinnedSystem) (*outcome, error) {
	if err := t.until(ctx, horizonWarm, 0, nil); err != nil {
		return nil, err
	}
	if s.pinned {
		release, err := s.pin(ctx)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	first := t.count
	before, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	points, err := r.points(ctx, t)
	if err != nil {
		return nil, err
	}
	after, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	figures := after.figures(before, t.count-first)
	figures[SlopePerMinute] = slope(points)
	return &outcome{figures: figures, series: points}, nil
}

// points reads the ends of jobs and makes a point of each stretch.
func (r *run) points(ctx context.Context, t *tally) ([]Point, error) {
	every := min(horizonPoint, r.opts.Duration/horizonParts)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	show, done := r.progress.bar(r.label, int(r.opts.Duration.Seconds()))
	defer done()
	begun, last, count := time.Now(), time.Now(), t.count
	var points []Point
	for time.Since(begun) < r.opts.Duration {
		if err := t.until(ctx, endless, 0, ticker.C); err != nil {
			return nil, err
		}
		now := time.Now()
		points = append(points, Point{
			Seconds: now.Sub(begun).Seconds(), JobsPerSecond: float64(t.count-count) / now.Sub(last).Seconds(),
		})
		r.progress.line("%s: %4.0f s  %s jobs/s", r.label, now.Sub(begun).Seconds(), whole(points[len(points)-1].JobsPerSecond))
		last, count = now, t.count
		show(int(now.Sub(begun).Seconds()))
	}
	return points, nil
}

// endless is more jobs than any run works.
const endless = math.MaxInt

// pin opens a transaction whose snapshot keeps vacuum from removing anything that dies from now on.
func (s *pinnedSystem) pin(ctx context.Context) (release func(), err error) {
	conn, err := pgx.Connect(ctx, s.db.url)
	if err != nil {
		return nil, fmt.Errorf("open the transaction: %w", err)
	}
	closeConn := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		_ = conn.Close(ctx) // it ends the transaction in any case
	}
	_, err = conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_catalog.pg_class")
	if err != nil {
		closeConn()
		return nil, fmt.Errorf("open the transaction: %w", err)
	}
	return closeConn, nil
}

// A feeder keeps a queue from running dry.
type feeder struct {
	system          *system
	inserted, ended atomic.Int64
}

func (f *feeder) run(ctx context.Context, ended <-chan struct{}) error {
	ticker := time.NewTicker(feedEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		from := int(f.inserted.Load())
		if int64(from)-f.ended.Load() >= feedLow {
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
			continue
		}
		if _, err := f.system.client.InsertManyFast(ctx, batch(from, from+feedBatch, mixed)); err != nil {
			return fmt.Errorf("insert jobs: %w", err)
		}
		f.inserted.Add(feedBatch)
	}
}
