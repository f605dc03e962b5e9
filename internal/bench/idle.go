package bench

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/riverqueue/river"
)

// idleSettle is how long a fleet has to come to rest before it counts as idle: a new leader has chores to catch up with, such
// as the partitions of the next days after a minute. Rounds of less than idleShort, which measure nothing anyway, settle for
// as long as they last.
const (
	idleSettle = 90 * time.Second
	idleShort  = 30 * time.Second
)

// settle is how long to wait before a fleet counts as idle.
func (o Options) settle() time.Duration {
	if o.Duration < idleShort {
		return o.Duration
	}
	return idleSettle
}

// idleMemory is how often the memory is looked at meanwhile, which costs more than an idle process does.
const idleMemory = 5 * time.Second

func idleScenario() scenario {
	return scenario{
		name: "idle", about: "what a process costs that has nothing to do",
		defaults: Options{Rounds: 1, Duration: time.Minute},
		cases: []benchCase{{
			headline:   StatementsPerSecond,
			contenders: []variant{towpathVariant(), riverVariant(), riverDefaultVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				return r.idle(ctx, c.(*system)) //nolint:forcetypeassert // no peer takes part
			},
		}},
	}
}

func (r *run) idle(ctx context.Context, s *system) (o *outcome, err error) {
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	peak := watchMemory(idleMemory)
	defer peak()
	f, err := s.start(ctx, newLoad(0, false), 1)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := f.stop(ctx); err == nil {
			err = stopErr
		}
	}()
	if err := pause(ctx, r.opts.settle()); err != nil {
		return nil, err
	}
	figures, err := r.meter.loads(ctx, s, r.opts.Duration)
	if err != nil {
		return nil, err
	}
	figures[PeakMemory] = peak()
	return &outcome{figures: figures}, nil
}

// pause waits; in these benchmarks time is what is measured.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

const (
	// burstFleet is how many processes wait for the burst.
	burstFleet = 3

	// burstSettle is how long they have been idle when it comes.
	burstSettle = 2 * time.Second
)

func burstScenario() scenario {
	return scenario{
		name: "burst", about: "a burst of jobs, inserted at once, in a fleet of three idle clients",
		defaults: Options{Jobs: 10_000},
		cases: []benchCase{{
			headline:   DrainSeconds,
			contenders: []variant{towpathVariant(), riverVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				return r.burst(ctx, c.(*system)) //nolint:forcetypeassert // no peer takes part
			},
		}},
	}
}

// settleBeforeBurst is how long the fleet is left alone. A burst has no length of its own, so that Duration only shortens
// the pause, for rounds that measure nothing.
func (o Options) settleBeforeBurst() time.Duration {
	return min(cmp.Or(o.Duration, burstSettle), burstSettle)
}

func (r *run) burst(ctx context.Context, s *system) (o *outcome, err error) {
	n := r.opts.Jobs
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	l := newLoad(n, true)
	peak := watchMemory(memoryEvery)
	defer peak()
	events, stopAll, err := s.startMany(ctx, l, n, burstFleet)
	if err != nil {
		return nil, err
	}
	stop := sync.OnceValue(stopAll)
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	if err := pause(ctx, r.opts.settleBeforeBurst()); err != nil {
		return nil, err
	}
	show, done := r.progress.bar(r.label, n)
	defer done()
	params := batch(0, n, mixed)
	before, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	for i := range n {
		l.mark(l.inserted, i)
	}
	if _, err := s.client.InsertMany(ctx, params); err != nil {
		return nil, err
	}
	t := &tally{events: events, show: show}
	if err := t.until(ctx, n, 0, nil); err != nil {
		return nil, err
	}
	after, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	figures := after.figures(before, n)
	figures[DrainSeconds] = after.at.Sub(before.at).Seconds()
	figures.latencies(l.waits(0, n), startPercentiles())
	figures[PeakMemory] = peak()
	if err := stop(); err != nil {
		return nil, err
	}
	return &outcome{figures: figures}, s.verify(ctx, s.pool, endsOf(n))
}

// startMany starts several processes and returns what all of them tell.
func (s *system) startMany(ctx context.Context, l *load, buffer, processes int) (<-chan *river.Event, func() error, error) {
	events := make(chan *river.Event, buffer)
	over := make(chan struct{})
	var fleets []*fleet
	var copying sync.WaitGroup
	stop := func() error {
		var err error
		for _, f := range fleets {
			err = errors.Join(err, f.stop(ctx))
		}
		close(over)
		copying.Wait()
		return err
	}
	for range processes {
		f, err := s.start(ctx, l, buffer)
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		fleets = append(fleets, f)
		copying.Go(func() {
			for {
				select {
				case event := <-f.events:
					if event != nil {
						events <- event // it has room for all
					}
				case <-over:
					return
				}
			}
		})
	}
	return events, stop, nil
}
