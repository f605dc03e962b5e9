package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// paceCallers insert at once at most. An insert that finds none free waits, and its waiting counts.
const paceCallers = 64

func latencyScenario() scenario {
	at := func(rate int) benchCase {
		return benchCase{
			name: fmt.Sprintf("rate_%d", rate), about: fmt.Sprintf("from Insert to the start of the handler, %d jobs a second, one by one", rate),
			headline:   P50,
			contenders: []variant{towpathVariant(), riverVariant(), riverDefaultVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				return r.paced(ctx, c.(*system), pace{rate: rate, size: 1}) //nolint:forcetypeassert // no peer takes part
			},
		}
	}
	return scenario{
		name: "latency", about: "wait of a job in a queue that is nearly empty, and of its end for being written",
		defaults: Options{Duration: 10 * time.Second},
		cases:    []benchCase{at(100), at(1000)},
	}
}

// sustainBatches is into how many calls a second sustain divides its rate.
const sustainBatches = 100

func sustainScenario() scenario {
	return scenario{
		name: "sustain", about: "a steady rate of jobs, inserted in small batches, and what it costs",
		defaults: Options{Duration: 20 * time.Second, Rate: 3000},
		cases: []benchCase{{
			headline:   P95,
			contenders: []variant{towpathVariant(), riverVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				p := pace{rate: r.opts.Rate, size: max(r.opts.Rate/sustainBatches, 1)}
				return r.paced(ctx, c.(*system), p) //nolint:forcetypeassert // no peer takes part
			},
		}},
	}
}

// pace is how fast jobs are inserted, and how many with a call.
type pace struct{ rate, size int }

// warmPart of a paced round is not counted.
const warmPart = 5

// paced inserts at a steady rate while a fleet works, and measures how long the jobs wait.
func (r *run) paced(ctx context.Context, s *system, p pace) (o *outcome, err error) {
	measured := max(int(float64(p.rate)*r.opts.Duration.Seconds()), 1)
	warm := measured / warmPart
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	total := warm + measured
	l := newLoad(total, true)
	l.witness, l.witnessed = newWitness(), warm
	peak := watchMemory(memoryEvery)
	defer peak()
	f, err := s.start(ctx, l, total)
	if err != nil {
		return nil, err
	}
	stop := sync.OnceValue(func() error { return f.stop(ctx) })
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	show, done := r.progress.bar(r.label, total)
	defer done()
	t := &tally{events: f.events, show: show}
	watchCtx, unwatch := context.WithCancel(ctx)
	defer unwatch()
	watching := make(chan error, 1)
	go func() { watching <- l.witness.watch(watchCtx, s.db.url, s.ended()) }()
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.insert(groupCtx, s, l, total) })
	figures, err := r.stretch(groupCtx, t, s, plan{warm: warm, measured: total - warm})
	if insertErr := group.Wait(); insertErr != nil {
		return nil, insertErr
	}
	if err != nil {
		return nil, err
	}
	if err := t.until(ctx, total, 0, nil); err != nil {
		return nil, err
	}
	unwatch()
	if err := <-watching; err != nil {
		return nil, err
	}
	figures[PeakMemory] = peak()
	figures.latencies(l.waits(warm, total), startPercentiles())
	figures.latencies(l.witness.seen, finishPercentiles())
	figures[DepthP50], figures[DepthMax] = l.depth(warm, total)
	if err := stop(); err != nil {
		return nil, err
	}
	return &outcome{figures: figures}, s.verify(ctx, s.pool, endsOf(total))
}

// insert inserts the jobs when each is due. A job's wait begins when it is due, however late its caller comes to it, so
// that a stall is seen by all whom it meets.
func (p pace) insert(ctx context.Context, s *system, l *load, total int) error {
	due := make(chan int)
	group, ctx := errgroup.WithContext(ctx)
	for range paceCallers {
		group.Go(func() error {
			for from := range due {
				if err := p.call(ctx, s, from, min(from+p.size, total)); err != nil {
					return fmt.Errorf("insert jobs: %w", err)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(due)
		return p.clock(ctx, l, total, due)
	})
	return group.Wait()
}

// clock hands out the first number of every call when it is due.
func (p pace) clock(ctx context.Context, l *load, total int, due chan<- int) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	begun := time.Since(l.begun)
	for next := 0; next < total; next += p.size {
		at := begun + p.dueAfter(next)
		timer.Reset(at - time.Since(l.begun))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		for n := next; n < min(next+p.size, total); n++ {
			l.inserted[n].Store(int64(at))
		}
		select {
		case due <- next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// dueAfter is when the n-th job is due.
func (p pace) dueAfter(n int) time.Duration {
	return time.Duration(float64(n) / float64(p.rate) * float64(time.Second))
}

func (p pace) call(ctx context.Context, s *system, from, to int) error {
	if p.size > 1 {
		_, err := s.client.InsertMany(ctx, batch(from, to, mixed))
		return err
	}
	params := mixed(from)
	_, err := s.client.Insert(ctx, params.Args, params.InsertOpts)
	return err
}
