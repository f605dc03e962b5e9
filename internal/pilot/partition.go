package pilot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// partitionsAhead is for how many days there are partitions in advance: a fleet without a leader lives so long.
	partitionsAhead = 14
	// partitionsNear is for how many days a new leader makes them at once: the migration made as many, and who comes after
	// a long rest may need them.
	partitionsNear = 2
	// partitionLockTimeout bounds every wait for a lock on a table that the fleet works with: whoever waits for a strong
	// lock makes all others wait behind him.
	partitionLockTimeout = "2s"
	partitionPause       = time.Hour
	// closedFor is how long a day has to be over before it is vacuumed; its last transactions have ended by then.
	closedFor = 10 * time.Minute
)

// retiredComment marks a partition that is being retired, so that one that was detached but not yet dropped is known
// from one that somebody detached to keep it.
const retiredComment = "Retired by Towpath; about to be dropped."

// beginner opens a transaction.
type beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// impatiently runs statements in a transaction that waits for no lock for long.
func impatiently(ctx context.Context, db querier, run func(tx pgx.Tx) error) error {
	opener, ok := db.(beginner)
	if !ok {
		return errors.New("this connection cannot open a transaction")
	}
	return pgx.BeginFunc(ctx, opener, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+partitionLockTimeout+"'"); err != nil {
			return err
		}
		return run(tx)
	})
}

// makePartitions makes the partitions of the next days, and then of all the days ahead.
func (u *upkeep) makePartitions(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	ahead, pause := partitionsAhead, partitionPause
	if !u.nearMade {
		ahead, pause = partitionsNear, u.calm
	}
	var made int
	err := impatiently(ctx, x.db, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, statement("SELECT SCHEMA.ensure_partitions($1)").in(schema), ahead).Scan(&made)
	})
	if err != nil {
		return 0, fmt.Errorf("make partitions: %w", err)
	}
	if made > 0 {
		u.Logger.InfoContext(ctx, "made partitions", slog.Int("partitions", made))
	}
	u.nearMade = true
	return pause, nil
}

// leaf is a partition of a day.
type leaf struct {
	parent   string
	name     string
	pending  bool          // a detach of it was begun and not finished
	age      time.Duration // since its day ended
	vacuumed bool          // since then
}

// leavesStatement reads the partitions from the catalogue, with bounds and clock as the session writes and reads them.
const leavesStatement statement = `
SELECT parent, name, inhdetachpending, extract(epoch FROM now() - until)::double precision,
	coalesce(pg_catalog.pg_stat_get_last_vacuum_time(oid) > until, false)
FROM (
	SELECT p.relname AS parent, c.relname AS name, c.oid, i.inhdetachpending,
		(regexp_match(pg_catalog.pg_get_expr(c.relpartbound, c.oid), $$TO \('([^']+)'\)$$))[1]::timestamptz AS until
	FROM pg_catalog.pg_inherits i
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
		JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
	WHERE i.inhparent = ANY(ARRAY['SCHEMA.job_history_completed', 'SCHEMA.job_history_cancelled', 'SCHEMA.job_history_discarded',
		'SCHEMA.job_event']::regclass[])
) AS leaves
WHERE until IS NOT NULL
ORDER BY until, parent`

func (x *Executor) leaves(ctx context.Context, schema string) ([]leaf, error) {
	rows, err := x.db.Query(ctx, leavesStatement.in(schema))
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l leaf, err error) {
		var age float64
		err = row.Scan(&l.parent, &l.name, &l.pending, &age, &l.vacuumed)
		l.age = time.Duration(age * float64(time.Second))
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	return found, nil
}

// kept is how long the partitions of a table are kept.
func (p periods) kept(table string) period {
	switch table {
	case "job_history_completed":
		return p.completed
	case "job_history_cancelled":
		return p.cancelled
	case "job_history_discarded":
		return p.discarded
	default: // what was told of a job stays as long as any job may
		return p.longest()
	}
}

// retirePartitions drops the days whose time is over.
func (u *upkeep) retirePartitions(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	keep := u.keep()
	if !keep.known {
		return tidyPause, nil
	}
	leaves, err := x.leaves(ctx, schema)
	if err != nil {
		return 0, err
	}
	for _, l := range leaves {
		if kept := keep.kept(l.parent); !l.pending && (kept == 0 || l.age < time.Duration(kept)) {
			continue
		}
		if err := x.detach(ctx, schema, l); err != nil {
			return 0, err
		}
	}
	dropped, err := x.dropRetired(ctx, schema)
	if err != nil {
		return 0, err
	}
	if dropped > 0 {
		u.Logger.InfoContext(ctx, "dropped partitions whose time was over", slog.Int("partitions", dropped))
	}
	return partitionPause, nil
}

// detach takes a partition off its table.
//
// CONCURRENTLY takes no lock that readers or writers of the table would notice, and cannot be in a transaction: it
// commits in the middle, and waits there for the transactions that may still see the partition. One that was cut off in
// that wait is finished with FINALIZE. An open transaction elsewhere can make either wait longer than we do; then the
// next pass goes on from there. What another leader has done meanwhile is no error.
func (x *Executor) detach(ctx context.Context, schema string, l leaf) error {
	parent, name := qualified(schema, l.parent), qualified(schema, l.name)
	err := impatiently(ctx, x.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "COMMENT ON TABLE "+name+" IS '"+retiredComment+"'")
		return err
	})
	if err == nil {
		how := "CONCURRENTLY"
		if l.pending {
			how = "FINALIZE"
		}
		waitCtx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err = x.db.Exec(waitCtx, "ALTER TABLE "+parent+" DETACH PARTITION "+name+" "+how)
	}
	if err != nil && !settledElsewhere(err) {
		return fmt.Errorf("detach partition %s: %w", name, err)
	}
	return nil
}

// retiredStatement lists partitions that were detached to be dropped.
const retiredStatement statement = `
SELECT c.relname FROM pg_catalog.pg_class c
WHERE c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = 'SCHEMA.job_history'::regclass)
	AND c.relkind = 'r' AND NOT c.relispartition AND pg_catalog.obj_description(c.oid, 'pg_class') = $1::text
ORDER BY 1`

func (x *Executor) dropRetired(ctx context.Context, schema string) (dropped int, err error) {
	rows, err := x.db.Query(ctx, retiredStatement.in(schema), retiredComment)
	if err != nil {
		return 0, fmt.Errorf("list retired partitions: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("list retired partitions: %w", err)
	}
	for _, name := range names {
		err := impatiently(ctx, x.db, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "DROP TABLE "+qualified(schema, name))
			return err
		})
		switch {
		case err == nil:
			dropped++
		case !settledElsewhere(err):
			return dropped, fmt.Errorf("drop partition %s: %w", name, err)
		}
	}
	return dropped, nil
}

func qualified(schema, name string) string {
	if schema == "" {
		return pgx.Identifier{name}.Sanitize()
	}
	return pgx.Identifier{schema, name}.Sanitize()
}

// settledElsewhere reports whether an error means that another leader did the same, or is at it: the table or its place
// among the partitions is gone, or a detach of one of them is under way.
func settledElsewhere(err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	switch pgErr.Code {
	case "42P01", "42809", "55000": // undefined table, wrong object type, object not in prerequisite state
		return true
	default:
		return false
	}
}

// vacuumClosed freezes one closed day after the other, each once: its rows do not change any more, so that neither
// autovacuum nor a wraparound comes back to it. Postgres itself remembers which were done. The statistics of the
// partitioned table, which nothing else gathers, follow daily.
func (u *upkeep) vacuumClosed(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	leaves, err := x.leaves(ctx, schema)
	if err != nil {
		return 0, err
	}
	for _, l := range leaves {
		if l.vacuumed || l.pending || l.age < closedFor {
			continue
		}
		name := qualified(schema, l.name)
		// One that somebody else is vacuuming or retiring is left to him.
		if _, err := x.db.Exec(ctx, "VACUUM (FREEZE, ANALYZE, SKIP_LOCKED) "+name); err != nil && !settledElsewhere(err) {
			return 0, fmt.Errorf("vacuum partition %s: %w", name, err)
		}
	}
	var analyzed bool
	err = x.db.QueryRow(ctx, statement(`
SELECT coalesce(pg_catalog.pg_stat_get_last_analyze_time('SCHEMA.job_history'::regclass) > now() - interval '1 day', false)`).in(schema)).Scan(&analyzed)
	if err != nil {
		return 0, fmt.Errorf("look when history was analyzed: %w", err)
	}
	if !analyzed {
		if _, err := x.db.Exec(ctx, statement("ANALYZE SCHEMA.job_history").in(schema)); err != nil {
			return 0, fmt.Errorf("analyze history: %w", err)
		}
	}
	return partitionPause, nil
}
