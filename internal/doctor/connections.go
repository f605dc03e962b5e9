package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// keepaliveLimit is how long the server may take to begin asking whether a silent client is still there.
const keepaliveLimit = 10 * time.Minute

// lookAtKeepalives finds a server that takes hours to notice that a client's host is gone, with its locks and its
// transaction. The settings are those of our own connection; over a unix socket there is nothing to notice.
func lookAtKeepalives(ctx context.Context, e *examination) error {
	var (
		overTCP bool
		idle    int
		name    string
	)
	err := e.pool.QueryRow(ctx, `
		SELECT inet_client_addr() IS NOT NULL, current_setting('tcp_keepalives_idle')::int, quote_ident(current_database())`).Scan(&overTCP, &idle, &name)
	if err != nil || !overTCP {
		return err
	}
	after := time.Duration(idle) * time.Second
	if idle == 0 || after > keepaliveLimit {
		e.find(Warning, fmt.Sprintf("the server asks a silent client only after %s whether it is still there; until then the locks of a host that is gone stay", after),
			"database "+name, fmt.Sprintf("ALTER DATABASE %s SET tcp_keepalives_idle = 60; ALTER DATABASE %s SET tcp_keepalives_interval = 10;", name, name))
	}
	return nil
}

// lookAtConnections compares what the processes' pools may open with what the server takes.
func lookAtConnections(ctx context.Context, e *examination) error {
	processes, err := e.live(ctx)
	if err != nil {
		return err
	}
	pools := 0
	for _, p := range processes {
		pools += p.MaxConns
	}
	type limits struct {
		Max, Reserved, Database, Role, Used int
	}
	rows, err := e.pool.Query(ctx, `
		SELECT current_setting('max_connections')::int,
			current_setting('superuser_reserved_connections')::int + coalesce(current_setting('reserved_connections', true)::int, 0),
			(SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database()),
			(SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
			(SELECT count(*)::int FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend')`)
	if err != nil {
		return err
	}
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[limits])
	if err != nil {
		return err
	}
	room, setting := l.Max-l.Reserved, "max_connections, less those reserved"
	for name, limit := range map[string]int{"the connection limit of the database": l.Database, "the connection limit of the role": l.Role} {
		if limit >= 0 && limit < room {
			room, setting = limit, name
		}
	}
	if pools > room {
		e.find(Fault, fmt.Sprintf("the pools of %d processes may open %d connections, and %s allows %d", len(processes), pools, setting, room), "fleet",
			fmt.Sprintf("TOWPATH_DATABASE_MAX_CONNS=%d for each process, or raise the limit, or put a pooler in front", max(room/max(len(processes), 1), 1)))
	}
	if free := l.Max - l.Reserved; l.Used*10 > free*9 {
		e.find(Warning, fmt.Sprintf("%d of %d connections are in use", l.Used, free), "server",
			"SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1 ORDER BY 2 DESC;   -- who has them")
	}
	return nil
}
