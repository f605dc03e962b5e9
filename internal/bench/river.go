package bench

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// The slots and the cooldown with which plain River is fastest: at its defaults it fetches a hundred jobs every tenth of
// a second, and no more.
const (
	tunedSlots    = 2000
	tunedCooldown = time.Millisecond
	riverSlots    = 100
)

// plainRiver is River with its own driver, tables and indexes.
type plainRiver struct {
	bench *bench
	tuned bool
}

func riverVariant() variant { return riverAs("river", "River", true) }

// riverDefaultVariant is River as its own documentation configures it.
func riverDefaultVariant() variant { return riverAs("river_default", "River, defaults", false) }

func riverAs(key, title string, tuned bool) variant {
	return variant{key: key, title: title, make: func(b *bench) contender {
		return &system{flavour: plainRiver{b, tuned}, bench: b, schema: "public"}
	}}
}

func (r plainRiver) config(l *load) *river.Config {
	cfg := &river.Config{
		Logger:  r.bench.logger,
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: cmp.Or(r.bench.opts.Workers, riverSlots)}},
		Workers: newWorkers(l),

		PeriodicJobs: l.periodic,
	}
	if r.tuned {
		cfg.FetchCooldown = tunedCooldown
		cfg.Queues[river.QueueDefault] = river.QueueConfig{MaxWorkers: cmp.Or(r.bench.opts.Workers, tunedSlots)}
	}
	return cfg
}

func (r plainRiver) settings() string {
	cfg := r.config(newLoad(0, false))
	return fmt.Sprintf("default: %d slots, cooldown %s; River's driver, tables and indexes",
		cfg.Queues[river.QueueDefault].MaxWorkers, cmp.Or(cfg.FetchCooldown, river.FetchCooldownDefault))
}

func (r plainRiver) migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: r.bench.logger})
	if err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	return nil
}

func (r plainRiver) tables() []string { return riverdriver.MigrationLineMainTruncateTables(0) }

func (r plainRiver) producer(pool *pgxpool.Pool) (producer, error) {
	return river.NewClient(riverpgxv5.New(pool), &river.Config{Logger: r.bench.logger})
}

func (r plainRiver) start(ctx context.Context, pool *pgxpool.Pool, l *load, buffer int) (<-chan *river.Event, func(context.Context) error, error) {
	var client *river.Client[pgx.Tx]
	client, err := river.NewClient(riverpgxv5.New(pool), r.config(l))
	if err != nil {
		return nil, nil, fmt.Errorf("make a River client: %w", err)
	}
	events, _ := client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: buffer, Kinds: []river.EventKind{river.EventKindJobCompleted},
	})
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, nil, fmt.Errorf("start a River client: %w", err)
	}
	return events, client.Stop, nil
}

func (r plainRiver) verify(ctx context.Context, pool *pgxpool.Pool, want ends) error {
	var got ends
	err := pool.QueryRow(ctx, `
SELECT count(*) FILTER (WHERE state = 'completed' AND attempted_by = $1),
	count(*) FILTER (WHERE state = 'completed' AND attempted_by IS DISTINCT FROM $1),
	count(*) FILTER (WHERE cardinality(errors) > 0)
FROM public.river_job`, pastWorker()).Scan(&got.past, &got.completed, &got.retried)
	if err != nil {
		return fmt.Errorf("count finished jobs: %w", err)
	}
	if got != want {
		return fmt.Errorf("check the result: of %+v jobs the table holds %+v", want, got)
	}
	return nil
}

func (plainRiver) ended() string {
	return `SELECT EXISTS (SELECT FROM public.river_job WHERE id = $1 AND finalized_at IS NOT NULL)`
}

func (plainRiver) finished() string { return "public.river_job" }

func (plainRiver) chores() []string { return nil }
