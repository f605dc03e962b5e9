// Package bench measures Towpath beside plain River, and beside other job systems on Postgres when asked, on one server
// in one run.
//
// # Contract
//
//   - Rounds alternate. Each round measures every contender once, and the next round in the opposite order; a machine
//     drifts by a third from hour to hour, so that only figures taken side by side say anything. The ratio is the
//     median of the rounds' own ratios, and the spread of plain River's rounds is shown as the machine's noise.
//   - Towpath runs as its users run it: the pool, the worker's configuration and the client are those of `towpath
//     worker`, made by the same code (Options.Worker), with nothing switched off. Plain River has its own driver, tables
//     and indexes, 2,000 workers and a cooldown of a millisecond, which is as fast as it goes.
//   - Every round begins with empty tables and a warm-up that is not counted, and ends with a look into the database:
//     a round that lost a job, worked one twice or left a counter wrong is an error and no figure.
//   - All jobs are of one mix (see jobs.go): several kinds, some with tags and metadata, some unique, some that fail
//     once. Each contender has a database of its own, created for the run and dropped after it.
//   - What cannot be measured is left out rather than guessed: the CPU time of a server on another machine, or the
//     statements of a client that is not ours.
//
// The figures are explained at Metric.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/memory"
	"github.com/towpath/towpath/workers"
)

// Options say what is measured and how long. Zero values take the benchmark's own defaults.
type Options struct {
	// Config is the process's configuration. Its Database.URL is a server on which the role may create databases; when
	// it is empty a private Postgres with durable settings runs for the length of the benchmark.
	Config *config.Config

	// Worker makes the configuration of a `towpath worker` process on a pool. Nil: workers.Config with its defaults.
	Worker func(cfg *config.Config, pool *pgxpool.Pool, logger *slog.Logger) workers.Config

	// Memory is what such a process tells Go's runtime, while Towpath's rounds last. River's go by Go's own defaults.
	Memory memory.Settings

	// Cases are the tables to measure, of benchmarks with several; empty means all.
	Cases []string

	// Rounds is how often each contender is measured.
	Rounds int

	// Jobs is how many jobs one round measures, the warm-up not included; of schedules, how many there are.
	Jobs int

	// Workers is the number of slots of every contender alike. Zero: as configured for Towpath, 2,000 for plain River.
	Workers int

	// Duration is how long a round lasts where a round has a length: latency, sustain, horizon, idle and schedules.
	Duration time.Duration

	// Rate is how many jobs a second sustain inserts.
	Rate int

	// Finished and Waiting are the sizes of the large table.
	Finished, Waiting int

	// Peers adds graphile-worker and pg-boss, which are installed from npm into a temporary directory.
	Peers bool

	// SkipDiskCheck lets large run on a server whose free disk cannot be seen from here.
	SkipDiskCheck bool

	// Profile receives a CPU profile of Towpath's measured stretches; nil takes none.
	Profile io.Writer

	// Progress receives lines for people, and bars when it is a terminal. Nil discards them.
	Progress io.Writer
}

// A scenario is one benchmark: cases that are measured in turn, by contenders that each case names.
type scenario struct {
	name, about string
	defaults    Options
	cases       []benchCase
}

// A benchCase is one table of the report.
type benchCase struct {
	// name tells the cases of a scenario apart; "" where there is one.
	name, about string
	// headline is the figure that the ratio is of.
	headline Metric
	// contenders are measured in this order in odd rounds. The first is Towpath, the second plain River.
	contenders []variant
	// peers says that graphile-worker and pg-boss can be measured too.
	peers bool
	run   func(ctx context.Context, r *run, c contender) (*outcome, error)
}

// A variant is a contender under the name that the report gives it.
type variant struct {
	key, title string
	make       func(*bench) contender
}

// outcome is what one round of one contender brings.
type outcome struct {
	figures Figures
	series  []Point // only where the course of time matters
}

// A Scenario describes a benchmark.
type Scenario struct {
	Name, About string
	// Defaults holds those options that the benchmark knows, with their defaults.
	Defaults Options
	// Cases names its tables, where it has several.
	Cases []string
	// Peers says whether it can measure peers too.
	Peers bool
}

// Scenarios lists the benchmarks.
func Scenarios() []Scenario {
	list := make([]Scenario, 0, len(scenarios()))
	for _, s := range scenarios() {
		described := Scenario{Name: s.name, About: s.about, Defaults: s.defaults}
		described.Defaults.Rounds = cmp.Or(s.defaults.Rounds, roundsDefault)
		if len(s.cases) > 1 {
			for _, c := range s.cases {
				described.Cases = append(described.Cases, c.name)
			}
		}
		described.Peers = slices.ContainsFunc(s.cases, func(c benchCase) bool { return c.peers })
		list = append(list, described)
	}
	return list
}

// roundsDefault is how often each contender is measured, of benchmarks that are not long.
const roundsDefault = 5

func scenarios() []scenario {
	return []scenario{
		workScenario(), insertScenario(), latencyScenario(), horizonScenario(),
		sustainScenario(), largeScenario(), idleScenario(), burstScenario(), schedulesScenario(),
	}
}

// bench is one run of one scenario.
type bench struct {
	opts     Options
	server   *server
	meter    *meter
	progress *progress
	logger   *slog.Logger
	peers    *peers
	profile  *profiler
	// contenders are shared by the cases of a benchmark, by key.
	contenders map[string]contender
}

// run is what one round of one contender needs to know.
type run struct {
	*bench
	label string // for the progress bar
}

// Run measures one scenario and returns its report. The end of ctx ends it early, with an error; what it created is
// removed in any case.
func Run(ctx context.Context, name string, opts Options) (report *Report, err error) {
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return nil, fmt.Errorf("run benchmark %q: there is none of that name", name)
	}
	s := all[i]
	opts = opts.over(s.defaults)
	cases, err := s.only(opts.Cases)
	if err == nil {
		err = opts.check()
	}
	if err != nil {
		return nil, fmt.Errorf("run benchmark %q: %w", name, err)
	}
	b := &bench{opts: opts, progress: newProgress(opts.Progress), profile: &profiler{out: opts.Profile}, contenders: map[string]contender{}}
	// Every contender logs as much as it does elsewhere; the lines are made and thrown away.
	b.logger = slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // making the lines is a part of the work
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	report = newReport(s, b)
	for _, c := range cases {
		measured, err := b.measure(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("run benchmark %q: %w", name, err)
		}
		report.add(measured)
	}
	return report, nil
}

// only returns the cases of these names, or all when none is named.
func (s scenario) only(names []string) ([]benchCase, error) {
	if len(names) == 0 {
		return s.cases, nil
	}
	known := make([]string, len(s.cases))
	for i, c := range s.cases {
		known[i] = c.name
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("case %q: there is none of that name; the cases are %s", name, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(s.cases), func(c benchCase) bool { return !slices.Contains(names, c.name) }), nil
}

// over fills what the options leave open.
func (o Options) over(defaults Options) Options {
	if o.Config == nil {
		o.Config = &config.Config{}
	}
	if o.Worker == nil {
		o.Worker = func(_ *config.Config, pool *pgxpool.Pool, _ *slog.Logger) workers.Config {
			return workers.Config{Pool: pool}
		}
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	o.Rounds = cmp.Or(o.Rounds, defaults.Rounds, roundsDefault)
	o.Jobs = cmp.Or(o.Jobs, defaults.Jobs)
	o.Duration = cmp.Or(o.Duration, defaults.Duration)
	o.Rate = cmp.Or(o.Rate, defaults.Rate)
	o.Finished = cmp.Or(o.Finished, defaults.Finished)
	o.Waiting = cmp.Or(o.Waiting, defaults.Waiting)
	return o
}

func (o Options) check() error {
	for _, n := range []struct {
		name  string
		value int
	}{
		{"rounds", o.Rounds},
		{"jobs", o.Jobs},
		{"workers", o.Workers},
		{"duration", int(o.Duration)},
		{"rate", o.Rate},
		{"finished", o.Finished},
		{"waiting", o.Waiting},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s must not be negative", n.name)
		}
	}
	return nil
}

func (b *bench) open(ctx context.Context) (err error) {
	if b.server, err = openServer(ctx, b.opts, b.progress); err != nil {
		return err
	}
	b.meter = newMeter(ctx, b.server)
	if b.opts.Peers {
		b.peers, err = installPeers(ctx, b.progress)
	}
	return err
}

func (b *bench) close(ctx context.Context) error {
	b.profile.close()
	var err error
	for _, c := range b.contenders {
		err = errors.Join(err, c.close(ctx))
	}
	if b.peers != nil {
		err = errors.Join(err, b.peers.remove())
	}
	if b.server != nil {
		err = errors.Join(err, b.server.close(ctx))
	}
	return err
}

// measure runs all rounds of one case.
func (b *bench) measure(ctx context.Context, c benchCase) (*measured, error) {
	variants := slices.Clone(c.contenders)
	if b.opts.Peers && c.peers {
		variants = append(variants, b.peers.variants()...)
	}
	m := &measured{benchCase: c, variants: variants, rounds: make([][]*outcome, len(variants))}
	for _, v := range variants {
		c, err := b.contender(ctx, v)
		if err != nil {
			return nil, err
		}
		m.settings = append(m.settings, c.settings())
	}
	for round := range b.opts.Rounds {
		for i := range variants {
			if round%2 == 1 {
				i = len(variants) - 1 - i
			}
			o, err := b.round(ctx, m, round, i)
			if err != nil {
				return nil, err
			}
			m.rounds[i] = append(m.rounds[i], o)
		}
	}
	return m, nil
}

// contender returns a variant's contender with its database, which is made at the first call.
func (b *bench) contender(ctx context.Context, v variant) (contender, error) {
	if c, ok := b.contenders[v.key]; ok {
		return c, nil
	}
	c := v.make(b)
	b.contenders[v.key] = c
	if err := c.open(ctx, v.key); err != nil {
		return nil, fmt.Errorf("set up %s: %w", v.title, err)
	}
	return c, nil
}

// round measures one contender once, in a heap that the one before it has left.
func (b *bench) round(ctx context.Context, m *measured, round, i int) (*outcome, error) {
	v := m.variants[i]
	runtime.GC()
	r := &run{bench: b, label: fmt.Sprintf("round %d/%d  %s", round+1, b.opts.Rounds, v.title)}
	if m.name != "" {
		r.label = m.name + "  " + r.label
	}
	o, err := m.run(ctx, r, b.contenders[v.key])
	if err != nil {
		return nil, fmt.Errorf("measure %s in round %d: %w", v.title, round+1, err)
	}
	b.progress.line("%s: %s", r.label, o.figures.brief(m.headline))
	return o, nil
}
