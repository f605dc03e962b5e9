package doctor

import (
	"context"
	"fmt"
)

// lookAtVacuum finds tables that nobody tidies.
func lookAtVacuum(ctx context.Context, e *examination) error {
	for _, setting := range []string{"autovacuum", "track_counts"} {
		var value string
		if err := e.pool.QueryRow(ctx, `SELECT current_setting($1)`, setting).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			e.find(Fault, setting+" is off, so that no table is tidied by itself", "server",
				fmt.Sprintf("ALTER SYSTEM SET %s = on; SELECT pg_reload_conf();", setting))
		}
	}
	type table struct {
		Name       string
		Disabled   bool
		Dead, Live int64
	}
	// The partitions of the history are only ever added to, and dropped as a whole.
	tables, err := query[table](ctx, e, `
		SELECT 'towpath.' || quote_ident(c.relname), coalesce(c.reloptions::text ~ 'autovacuum_enabled=(false|off|no|0)', false), coalesce(s.n_dead_tup, 0), coalesce(s.n_live_tup, 0)
		FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_stat_user_tables s ON s.relid = c.oid
		WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
		ORDER BY c.relname`)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Disabled {
			e.findSQL(Fault, "autovacuum is switched off for the table", t.Name, fmt.Sprintf("ALTER TABLE %s RESET (autovacuum_enabled);", t.Name))
		}
		if t.Dead > e.options.DeadRows && t.Dead > t.Live {
			e.find(Warning, fmt.Sprintf("%d dead rows beside %d live ones: vacuum does not keep up, or something holds it back", t.Dead, t.Live),
				t.Name, fmt.Sprintf("VACUUM (ANALYZE) %s;   -- after ending the transactions that this report names", t.Name))
		}
	}
	return nil
}
