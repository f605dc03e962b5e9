package doctor

import (
	"context"
	"fmt"
	"time"
)

// lookAtTransactions finds what keeps vacuum from removing dead rows: transactions that stay open, prepared ones
// included. Sessions of other databases hold back no table of ours, unless they hold the whole server back.
func lookAtTransactions(ctx context.Context, e *examination) error {
	type session struct {
		PID         int
		User        string
		Application string
		State       string
		Holds       bool
		Open        time.Duration
		Query       string
	}
	sessions, err := query[session](ctx, e, `
		SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(state, ''),
			backend_xid IS NOT NULL OR backend_xmin IS NOT NULL, clock_timestamp() - xact_start,
			left(regexp_replace(query, '\s+', ' ', 'g'), 100)
		FROM pg_catalog.pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
			AND xact_start < clock_timestamp() - $1::interval
		ORDER BY xact_start LIMIT $2`, e.options.OldTransaction, most)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		effect := "no row that died since can be removed"
		if !s.Holds {
			effect = "its locks keep migrations and retention waiting"
		}
		e.find(Warning, fmt.Sprintf("a transaction has been open for %s (%s), and %s: %s", s.Open.Round(time.Second), s.State, effect, s.Query),
			fmt.Sprintf("pid %d, user %s, application %q", s.PID, s.User, s.Application),
			fmt.Sprintf("SELECT pg_terminate_backend(%d);", s.PID))
	}
	// The server's own processes, autovacuum for one, have no user: they hide as much, and keep nobody waiting for long.
	var hidden int
	err = e.pool.QueryRow(ctx, `
		SELECT count(*) FROM pg_catalog.pg_stat_activity
		WHERE datname = current_database() AND usesysid IS NOT NULL AND query = '<insufficient privilege>'`).Scan(&hidden)
	if err != nil {
		return err
	}
	if hidden > 0 {
		var me string
		if err := e.pool.QueryRow(ctx, `SELECT quote_ident(current_user)`).Scan(&me); err != nil {
			return err
		}
		e.skip(fmt.Sprintf("%d sessions of other users do not show their transactions", hidden), "GRANT pg_read_all_stats TO "+me+";")
	}
	return e.lookAtPrepared(ctx)
}

func (e *examination) lookAtPrepared(ctx context.Context) error {
	type prepared struct {
		GID, Quoted, Owner string
		Age                time.Duration
	}
	all, err := query[prepared](ctx, e, `
		SELECT gid, quote_literal(gid), owner::text, clock_timestamp() - prepared FROM pg_catalog.pg_prepared_xacts
		WHERE database = current_database() AND prepared < clock_timestamp() - $1::interval ORDER BY prepared LIMIT $2`,
		e.options.OldTransaction, most)
	if err != nil {
		return err
	}
	for _, p := range all {
		e.find(Warning, fmt.Sprintf("a prepared transaction has waited for its end for %s: it holds its locks, and vacuum back", p.Age.Round(time.Second)),
			fmt.Sprintf("prepared transaction %q of %s", p.GID, p.Owner), fmt.Sprintf("ROLLBACK PREPARED %s;", p.Quoted))
	}
	return nil
}

// lookAtSlots finds replication slots that hold vacuum back, or write-ahead log.
func lookAtSlots(ctx context.Context, e *examination) error {
	type slot struct {
		Name, Quoted, Type string
		Active, HoldsRows  bool
		Retained           string
	}
	slots, err := query[slot](ctx, e, `
		SELECT slot_name::text, quote_literal(slot_name), slot_type, active, xmin IS NOT NULL OR catalog_xmin IS NOT NULL,
			coalesce(pg_size_pretty(CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) END), 'an unknown amount')
		FROM pg_catalog.pg_replication_slots
		WHERE restart_lsn IS NOT NULL AND NOT active OR age(xmin) > 10000000
		ORDER BY slot_name LIMIT $1`, most)
	if err != nil {
		return err
	}
	for _, s := range slots {
		what := fmt.Sprintf("nobody reads the replication slot, which keeps %s of write-ahead log", s.Retained)
		mend := fmt.Sprintf("start its reader again, or: SELECT pg_drop_replication_slot(%s);", s.Quoted)
		if s.Active {
			what, mend = "the reader of the replication slot keeps dead rows from being removed", "end the long query on the standby, or set hot_standby_feedback = off there"
		} else if s.HoldsRows {
			what += " and dead rows"
		}
		e.find(Warning, what, fmt.Sprintf("replication slot %q (%s)", s.Name, s.Type), mend)
	}
	return nil
}
