package doctor

import (
	"context"
	"fmt"
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
	return nil
}
