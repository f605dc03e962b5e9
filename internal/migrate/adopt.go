package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// oldestAdopted is the version of River's line with which its tables have the form that Up can bring up to date
// without knowing what an older River's clients would still do with them.
const oldestAdopted = 6

// What River's line makes, by kind of object. Indexes, constraints and the sequences of columns move with their tables.
var riverTables = []string{"river_job", "river_leader", "river_migration", "river_notification", "river_queue", "river_client", "river_client_queue"}

// AdoptOptions say which River is taken over.
type AdoptOptions struct {
	From  string // the schema that holds River's tables
	Force bool   // even though clients seem to be at work, or tables stay behind
}

// Adopt moves an existing River's tables, type and function from a schema to ours and then migrates up. The move is
// one transaction that changes catalogue entries alone, so it takes no longer for a large table; it takes ACCESS
// EXCLUSIVE on River's tables, waits for each at most LockTimeout, and tries again. Clients that still look into the
// old schema fail from then on, so it refuses while there seem to be any.
func (m *Migrator) Adopt(ctx context.Context, opts AdoptOptions) error {
	if opts.From == Schema || opts.From == "" {
		return fmt.Errorf("adopt from schema %q: name the schema that holds River's tables, usually public", opts.From)
	}
	return m.alone(ctx, func(ctx context.Context) error {
		if err := m.createSchema(ctx); err != nil {
			return err
		}
		err := m.retry(ctx, func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, m.pool, func(tx pgx.Tx) error { return m.move(ctx, tx, opts) })
		})
		if err != nil {
			return fmt.Errorf("adopt River's tables from schema %q: %w", opts.From, err)
		}
		return m.up(ctx)
	})
}

// move checks and moves in one transaction. The lock on river_job comes first: from then on no client can insert,
// fetch or finish, and what the checks see stays true.
func (m *Migrator) move(ctx context.Context, tx pgx.Tx, opts AdoptOptions) error {
	tables, err := adoptable(ctx, tx, opts.From)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", LockTimeout.Milliseconds())); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "LOCK TABLE "+pgx.Identifier{opts.From, "river_job"}.Sanitize()+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock table river_job: %w", err)
	}
	if !opts.Force {
		if err := errors.Join(nobodyWorks(ctx, tx, opts.From), nothingStays(ctx, tx, opts.From)); err != nil {
			return err
		}
	}
	objects := []string{
		"TYPE " + pgx.Identifier{opts.From, "river_job_state"}.Sanitize(),
		"FUNCTION " + pgx.Identifier{opts.From, "river_job_state_in_bitmask"}.Sanitize(),
	}
	for _, table := range tables {
		objects = append(objects, "TABLE "+pgx.Identifier{opts.From, table}.Sanitize())
	}
	for _, object := range objects {
		if _, err := tx.Exec(ctx, "ALTER "+object+" SET SCHEMA "+pgx.Identifier{Schema}.Sanitize()); err != nil {
			return fmt.Errorf("move %s: %w", strings.ToLower(object), err)
		}
	}
	m.report(fmt.Sprintf("moved %s from schema %s", strings.Join(tables, ", "), opts.From))
	return nil
}

// adoptable returns River's tables of the schema, or says why they cannot be taken.
func adoptable(ctx context.Context, tx pgx.Tx, from string) ([]string, error) {
	here, err := tablesOf(ctx, tx, Schema)
	if err != nil {
		return nil, err
	}
	if len(here) > 0 {
		return nil, fmt.Errorf("schema %q has River's tables already (%s); adopt into a database without them", Schema, strings.Join(here, ", "))
	}
	tables, err := tablesOf(ctx, tx, from)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(tables, "river_job") || !slices.Contains(tables, "river_migration") {
		return nil, errors.New("no river_job and river_migration there; name the schema that holds River's tables with --from")
	}
	applied, err := appliedIn(ctx, tx, from)
	if err != nil {
		return nil, err
	}
	version := 0
	for there := range applied {
		if there.line == lineMain {
			version = max(version, there.version)
		}
	}
	newest := newestMain()
	switch {
	case version < oldestAdopted:
		return nil, fmt.Errorf("its migration version is %d; first bring it to %d or more with the River that you run", version, oldestAdopted)
	case version > newest:
		return nil, fmt.Errorf("its migration version is %d, and this program knows River up to %d; use a newer Towpath", version, newest)
	}
	return tables, nil
}

func newestMain() int {
	migrator, err := (&Migrator{driver: newLineDriver(nil)}).migrator(lineMain)
	if err != nil {
		panic(err) // the embedded files are broken; every test would meet it
	}
	return len(migrator.AllVersions())
}

// tablesOf lists those of River's tables that a schema has.
func tablesOf(ctx context.Context, tx pgx.Tx, schema string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = ANY($2::text[]) ORDER BY tablename`,
		schema, riverTables)
	if err != nil {
		return nil, fmt.Errorf("look for River's tables in schema %q: %w", schema, err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for River's tables in schema %q: %w", schema, err)
	}
	return tables, nil
}

// nobodyWorks fails when a leader holds its term, a job is running, or a client reported a queue a short while ago. A
// client reports its queues every ten minutes and says nothing when it stops.
func nobodyWorks(ctx context.Context, tx pgx.Tx, from string) error {
	const remedy = "stop all River clients, or add --force when you know that none runs"
	var (
		leader  *string
		running int64
		queue   *string
		ago     *time.Duration
	)
	err := tx.QueryRow(ctx, fmt.Sprintf(`
		SELECT (SELECT leader_id FROM %s WHERE expires_at > now() LIMIT 1),
		       (SELECT count(*) FROM %s WHERE state = 'running'),
		       q.name, now() - q.updated_at
		FROM (VALUES (1)) one
		LEFT JOIN LATERAL (SELECT name, updated_at FROM %s WHERE updated_at > now() - interval '11 minutes'
		                   ORDER BY updated_at DESC LIMIT 1) q ON true`,
		pgx.Identifier{from, "river_leader"}.Sanitize(), pgx.Identifier{from, "river_job"}.Sanitize(),
		pgx.Identifier{from, "river_queue"}.Sanitize())).Scan(&leader, &running, &queue, &ago)
	switch {
	case err != nil:
		return fmt.Errorf("look for clients at work: %w", err)
	case leader != nil:
		return fmt.Errorf("client %q leads; %s", *leader, remedy)
	case running > 0:
		return fmt.Errorf("%d jobs are running; %s", running, remedy)
	case queue != nil:
		return fmt.Errorf("a client reported queue %q %s ago; stop all River clients and wait until eleven minutes are over, or add --force when you know that none runs",
			*queue, ago.Round(time.Second))
	}
	return nil
}

// nothingStays fails when the schema has more of River's kind than its own line made: River Pro's tables stay behind,
// and its lines in river_migration would be wrong.
func nothingStays(ctx context.Context, tx pgx.Tx, from string) error {
	rows, err := tx.Query(ctx, fmt.Sprintf(`
		SELECT 'table ' || tablename FROM pg_catalog.pg_tables
		WHERE schemaname = $1 AND tablename LIKE 'river\_%%' AND tablename <> ALL($2::text[])
		UNION ALL
		SELECT DISTINCT 'migration line ' || line FROM %s WHERE line <> $3
		ORDER BY 1`, pgx.Identifier{from, "river_migration"}.Sanitize()), from, riverTables, riverdriver.MigrationLineMain)
	if err != nil {
		return fmt.Errorf("look for what would stay behind: %w", err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for what would stay behind: %w", err)
	}
	if len(left) > 0 {
		return fmt.Errorf("schema %q has more than River's own objects (%s), which would be left without their jobs; remove them, or add --force", from, strings.Join(left, ", "))
	}
	return nil
}
