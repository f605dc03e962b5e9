package doctor

import (
	"context"
	"fmt"
	"math"
	"time"
)

// partitionsAhead is how many days a leader keeps ready at least; it makes more.
const partitionsAhead = 2

// lookAtPartitions finds tables without a partition for today or the days to come. A finished job whose day has none
// stays in river_job.
func lookAtPartitions(ctx context.Context, e *examination) error {
	type gap struct {
		Parent string
		Day    time.Time
		Today  bool
	}
	gaps, err := query[gap](ctx, e, `
		SELECT parent, day.at, day.at = (now() AT TIME ZONE 'UTC')::date
		FROM unnest(ARRAY['job_history_completed', 'job_history_cancelled', 'job_history_discarded', 'job_event']) parent
		CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date + n AS at FROM generate_series(0, $1::int) n) day
		WHERE NOT EXISTS (
			SELECT FROM pg_catalog.pg_inherits i
			JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
			WHERE p.relnamespace = 'towpath'::regnamespace AND p.relname = parent AND c.relname = parent || '_' || to_char(day.at, 'YYYYMMDD')
		)
		ORDER BY parent, day.at`, partitionsAhead)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for _, g := range gaps {
		if told[g.Parent] {
			continue
		}
		told[g.Parent] = true
		severity, what := Warning, fmt.Sprintf("there is no partition for %s; the leader should have made it", g.Day.Format(time.DateOnly))
		if g.Today {
			severity, what = Fault, "there is no partition for today, so that what belongs there stays where it was or is lost"
		}
		e.findSQL(severity, what, "towpath."+g.Parent, "SELECT towpath.ensure_partitions();")
	}
	return lookAtHistoryLocks(ctx, e)
}

// lookAtHistoryLocks finds a history of so many days that looking up a few jobs at once may fill the server's table of
// locks: a job's id does not tell its day, so a look-up locks every partition and each of its indexes.
func lookAtHistoryLocks(ctx context.Context, e *examination) error {
	type history struct{ Partitions, Locks, Room, Now int64 }
	found, err := query[history](ctx, e, `
		SELECT count(DISTINCT c.oid), count(DISTINCT c.oid) + count(x.indexrelid),
			current_setting('max_locks_per_transaction')::bigint * (SELECT sum(current_setting(n)::bigint)::bigint FROM unnest(ARRAY['max_connections',
				'max_prepared_transactions', 'autovacuum_max_workers', 'max_worker_processes', 'max_wal_senders']) n), -- as the server sizes it
			current_setting('max_locks_per_transaction')::bigint
		FROM pg_catalog.pg_inherits i
			JOIN pg_catalog.pg_class p ON p.oid = i.inhparent JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
			LEFT JOIN pg_catalog.pg_index x ON x.indrelid = c.oid
		WHERE p.relnamespace = 'towpath'::regnamespace AND p.relname IN ('job_history_completed', 'job_history_cancelled', 'job_history_discarded')`)
	if err != nil {
		return err
	}
	h := found[0]
	need := float64(h.Locks) / e.options.LockUsage
	if need <= float64(h.Room) {
		return nil
	}
	enough := int64(math.Ceil(float64(h.Now) * need / float64(h.Room)))
	e.find(Warning, fmt.Sprintf("history has %d partitions, and to look up one job by its id takes %d locks of the %d that there is room for: some such look-ups at once fail with \"out of shared memory\"",
		h.Partitions, h.Locks, h.Room), "towpath.job_history",
		fmt.Sprintf("keep finished jobs for less long (TOWPATH_RETENTION_…), or ALTER SYSTEM SET max_locks_per_transaction = %d; and restart the server", enough))
	return nil
}
