package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/towpath/towpath/internal/memory"
	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/migrations"
	"github.com/towpath/towpath/workers"
)

// towpath is Towpath as its users run it.
type towpath struct{ bench *bench }

func towpathVariant() variant {
	return variant{key: "towpath", title: "Towpath", make: func(b *bench) contender {
		return &system{flavour: towpath{b}, bench: b, schema: jobs.Schema}
	}}
}

// workersConfig is that of the process, but for the slots when the options set them.
func (t towpath) workersConfig(pool *pgxpool.Pool) workers.Config {
	cfg := t.bench.opts.Worker(t.bench.opts.Config, pool, t.bench.logger)
	cfg.Client.Logger = t.bench.logger
	if n := t.bench.opts.Workers; n > 0 {
		cfg.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: n}}
	}
	return cfg
}

func (t towpath) settings() string {
	cfg := t.workersConfig(nil)
	effective := cfg.Client
	effective.Queues = cfg.Queues
	if effective.Queues == nil {
		effective.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers.SlotsDefault}}
	}
	var queues []string
	for name, queue := range effective.River().Queues {
		queues = append(queues, fmt.Sprintf("%s: %d slots, cooldown %s", name, queue.MaxWorkers, queue.FetchCooldown))
	}
	slices.Sort(queues)
	return strings.Join(queues, "; ") + "; configuration of `towpath worker`"
}

func (t towpath) migrate(ctx context.Context, pool *pgxpool.Pool) error { return migrate.Up(ctx, pool) }

func (t towpath) tables() []string {
	return slices.Concat(riverdriver.MigrationLineMainTruncateTables(0), migrations.Tables())
}

// chores are the count of waiting jobs: it may take a fiftieth of one core, so that it comes once in a minute where it takes a
// second.
func (t towpath) chores() []string { return []string{"SELECT towpath.refresh_queue_depth()"} }

func (t towpath) producer(pool *pgxpool.Pool) (producer, error) {
	cfg := t.workersConfig(pool).Client
	return jobs.NewClient(pool, &cfg)
}

func (t towpath) start(ctx context.Context, pool *pgxpool.Pool, l *load, buffer int) (<-chan *river.Event, func(context.Context) error, error) {
	restore := memory.Tune(t.bench.opts.Memory)
	runner, err := workers.New(t.workersConfig(pool), newBundle(l))
	if err != nil {
		restore()
		return nil, nil, err
	}
	events, _ := runner.Client().SubscribeConfig(&river.SubscribeConfig{
		ChanSize: buffer, Kinds: []river.EventKind{river.EventKindJobCompleted},
	})
	if err := runner.Start(ctx); err != nil {
		restore()
		return nil, nil, err
	}
	return events, func(context.Context) error {
		defer restore()
		return runner.Stop()
	}, nil
}

// verify looks at the rows and at the counters, which have to agree.
func (t towpath) verify(ctx context.Context, pool *pgxpool.Pool, want ends) error {
	var got ends
	counted := ends{past: want.past} // no counter knows jobs that never ran
	err := pool.QueryRow(ctx, `
SELECT count(*) FILTER (WHERE state = 'completed' AND attempted_by = $1),
	count(*) FILTER (WHERE state = 'completed' AND attempted_by <> $1 AND cardinality(attempted_by) > 0),
	count(*) FILTER (WHERE cardinality(errors) > 0)
FROM (
	SELECT state, attempted_by, errors FROM towpath.river_job
	UNION ALL
	SELECT state, attempted_by, errors FROM towpath.job_history
) AS jobs`, pastWorker()).Scan(&got.past, &got.completed, &got.retried)
	if err != nil {
		return fmt.Errorf("count finished jobs: %w", err)
	}
	err = pool.QueryRow(ctx, `
SELECT coalesce(sum(n) FILTER (WHERE event = 'completed'), 0), coalesce(sum(n) FILTER (WHERE event = 'retried'), 0)
FROM (SELECT event, n FROM towpath.counter UNION ALL SELECT event, n FROM towpath.counter_delta) AS counters`).
		Scan(&counted.completed, &counted.retried)
	if err != nil {
		return fmt.Errorf("read the counters: %w", err)
	}
	if got != want || counted != want {
		return fmt.Errorf("check the result: of %+v jobs the tables hold %+v and the counters say %+v", want, got, counted)
	}
	return nil
}

func (towpath) ended() string {
	return `SELECT EXISTS (SELECT FROM towpath.job_history WHERE id = $1)
	OR EXISTS (SELECT FROM towpath.river_job WHERE id = $1 AND finalized_at IS NOT NULL)`
}

func (towpath) finished() string { return jobs.Schema + ".job_history" }
