package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

const (
	// tickQueue is where the schedules' jobs go. Nobody works it: the benchmark is about firing.
	tickQueue = "bench_ticks"

	// tickLead is how long before the common tick the process starts, and tickLeadEach what each schedule adds to it:
	// time to lead, and to compute when each is due.
	tickLead     = 4 * time.Second
	tickLeadEach = 2 * time.Millisecond

	// tickLook is how often the benchmark looks whether all have been fired.
	tickLook = 10 * time.Millisecond
)

// tick is a job of a schedule.
type tick struct{}

func (tick) kind() string { return "bench_tick" }

func schedulesScenario() scenario {
	return scenario{
		name: "schedules", about: "what many schedules cost while none is due, and how soon a tick that all of them share is fired",
		defaults: Options{Rounds: 1, Jobs: 10_000, Duration: time.Minute},
		cases: []benchCase{{
			headline:   FireSeconds,
			contenders: []variant{towpathVariant(), riverVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				return r.schedules(ctx, c.(*system)) //nolint:forcetypeassert // no peer takes part
			},
		}},
	}
}

// schedules measures two lives of a process: one in which no tick comes, and one with a common tick.
func (r *run) schedules(ctx context.Context, s *system) (*outcome, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return nil, err
	}
	var figures Figures
	var defining time.Duration // the second time it may take twice as long
	begun := time.Now()
	err = r.withSchedules(ctx, s, now.AddDate(0, 6, 0), func() error {
		defining = time.Since(begun)
		if err := pause(ctx, max(r.opts.settle(), tickLead+time.Duration(r.opts.Jobs)*tickLeadEach)); err != nil {
			return err
		}
		figures, err = r.meter.loads(ctx, s, r.opts.Duration)
		return err
	})
	if err != nil {
		return nil, err
	}
	if now, err = s.clock(ctx); err != nil {
		return nil, err
	}
	at := now.Add(2*defining + tickLead + time.Duration(r.opts.Jobs)*tickLeadEach).Truncate(time.Second).Add(time.Second)
	err = r.withSchedules(ctx, s, at, func() error { return r.fired(ctx, s, at, figures) })
	return &outcome{figures: figures}, err
}

// withSchedules calls do while a process runs in which so many schedules have their next tick at a moment.
func (r *run) withSchedules(ctx context.Context, s *system, at time.Time, do func() error) error {
	if err := s.empty(ctx); err != nil {
		return err
	}
	l := newLoad(0, false)
	if s.ours() {
		if err := putSchedules(ctx, s.pool, r.opts.Jobs, at); err != nil {
			return err
		}
	} else {
		l.periodic = periodicJobs(r.opts.Jobs, at)
	}
	f, err := s.start(ctx, l, 1)
	if err != nil {
		return err
	}
	return errors.Join(do(), f.stop(ctx))
}

// fired waits until the common tick has been fired, and adds what that took.
func (r *run) fired(ctx context.Context, s *system, at time.Time, figures Figures) error {
	n := r.opts.Jobs
	show, done := r.progress.bar(r.label, n)
	defer done()
	now, err := s.clock(ctx)
	if err != nil {
		return err
	}
	if err := pause(ctx, at.Sub(now)-time.Second/2); err != nil {
		return err
	}
	before, err := r.meter.read(ctx)
	if err != nil {
		return err
	}
	for begun, jobs := time.Now(), 0; jobs < n; {
		if time.Since(begun) > stallLimit {
			return fmt.Errorf("wait for the jobs of %d schedules: there are %d after a minute", n, jobs)
		}
		if err := pause(ctx, tickLook); err != nil {
			return err
		}
		if err := s.pool.QueryRow(ctx, "SELECT clock_timestamp(), count(*) FROM "+s.table("river_job")).Scan(&now, &jobs); err != nil {
			return fmt.Errorf("count the jobs of schedules: %w", err)
		}
		show(jobs)
	}
	figures[FireSeconds] = now.Sub(at).Seconds()
	after, err := r.meter.read(ctx)
	if err != nil {
		return err
	}
	spent := after.figures(before, n)
	for _, metric := range []Metric{PostgresCPU, GoCPU, WALPerJob, StatementsPerJob} {
		if v, ok := spent[metric]; ok {
			figures[metric] = v
		}
	}
	return nil
}

// clock is the server's.
func (s *system) clock(ctx context.Context) (now time.Time, err error) {
	if err := s.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return now, fmt.Errorf("ask the server for the time: %w", err)
	}
	return now.UTC(), nil
}

// putSchedules defines schedules whose next tick is at a moment, as their users do.
func putSchedules(ctx context.Context, pool *pgxpool.Pool, n int, at time.Time) error {
	expression := fmt.Sprintf("%d %d %d %d %d *", at.Second(), at.Minute(), at.Hour(), at.Day(), at.Month())
	if _, err := pool.Exec(ctx, `SELECT towpath.put_schedule('bench ' || i, $2, $3, queue => $4) FROM generate_series(1, $1) i`,
		n, expression, tick{}.kind(), tickQueue); err != nil {
		return fmt.Errorf("put %d schedules: %w", n, err)
	}
	if _, err := pool.Exec(ctx, "VACUUM (ANALYZE) towpath.schedule"); err != nil {
		return fmt.Errorf("analyze the schedules: %w", err)
	}
	return nil
}

// once is a schedule of River's with one tick.
type once struct{ at time.Time }

// Next is the tick, and after it a moment that never comes.
func (o once) Next(now time.Time) time.Time {
	if now.Before(o.at) {
		return o.at
	}
	return now.AddDate(1, 0, 0)
}

func periodicJobs(n int, at time.Time) []*river.PeriodicJob {
	list := make([]*river.PeriodicJob, n)
	for i := range list {
		list[i] = river.NewPeriodicJob(once{at}, func() (river.JobArgs, *river.InsertOpts) {
			return job[tick]{N: i}, &river.InsertOpts{Queue: tickQueue}
		}, nil)
	}
	return list
}
