package bench

import (
	"context"
	"fmt"
	"io"
	"runtime/pprof"
	"sync"
)

func workScenario() scenario {
	return scenario{
		name: "work", about: "work a backlog of jobs that do nothing",
		defaults: Options{Jobs: 50_000},
		cases: []benchCase{{
			headline: JobsPerSecond, peers: true,
			contenders: []variant{towpathVariant(), riverVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				p := planFor(r.opts.Jobs)
				if peer, ok := c.(*peer); ok {
					return r.workPeer(ctx, peer, p)
				}
				s := c.(*system) //nolint:forcetypeassert // there are these two
				if err := s.prepare(ctx, p.total()); err != nil {
					return nil, err
				}
				return r.work(ctx, s, p, 0)
			},
		}},
	}
}

// A plan divides a backlog: what warms up, what is measured, and what keeps the queue full to the end of that.
type plan struct{ warm, measured, rest int }

// The parts of a backlog beside what is measured. The rest is larger than what a fleet holds at once.
const (
	warmShare = 5
	restShare = 10
)

// slackShare is the part of what is measured by which the measurement may begin or end later, with the batch.
const slackShare = 10

func planFor(jobs int) plan {
	return plan{warm: jobs / warmShare, measured: jobs, rest: jobs / restShare}
}

func (p plan) total() int { return p.warm + p.measured + p.rest }

// work lets one fleet work a backlog that is there, over so many past jobs, and measures the middle of it. The rest is
// worked too, and then the database is asked whether it all happened.
func (r *run) work(ctx context.Context, s *system, p plan, past int) (o *outcome, err error) {
	peak := watchMemory(memoryEvery)
	defer peak()
	f, err := s.start(ctx, newLoad(0, false), p.total())
	if err != nil {
		return nil, err
	}
	stop := sync.OnceValue(func() error { return f.stop(ctx) })
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	show, done := r.progress.bar(r.label, p.total())
	defer done()
	t := &tally{events: f.events, show: show}
	figures, err := r.stretch(ctx, t, s, p)
	if err != nil {
		return nil, err
	}
	figures[PeakMemory] = peak()
	if err := t.until(ctx, p.total(), 0, nil); err != nil {
		return nil, err
	}
	if err := stop(); err != nil {
		return nil, err
	}
	want := endsOf(p.total())
	want.past = past
	return &outcome{figures: figures}, s.verify(ctx, s.pool, want)
}

// stretch measures from the end of the warm-up on.
func (r *run) stretch(ctx context.Context, t *tally, s *system, p plan) (Figures, error) {
	slack := p.measured / slackShare
	if err := t.until(ctx, p.warm, slack, nil); err != nil {
		return nil, err
	}
	first := t.count
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
	if err := t.until(ctx, p.warm+p.measured, min(slack, p.rest), nil); err != nil {
		return nil, err
	}
	jobs := t.count - first
	after, err := r.meter.read(ctx)
	if err != nil {
		return nil, err
	}
	return after.figures(before, jobs), nil
}

// profiler takes a CPU profile of the first stretch that it is asked to.
type profiler struct {
	out    io.Writer
	active bool
}

func (p *profiler) start() error {
	if p.out == nil {
		return nil
	}
	if err := pprof.StartCPUProfile(p.out); err != nil {
		return fmt.Errorf("take a CPU profile: %w", err)
	}
	p.out, p.active = nil, true
	return nil
}

func (p *profiler) close() {
	if p.active {
		pprof.StopCPUProfile()
		p.active = false
	}
}
