package doctor_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/doctor"
	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/internal/testdb"
)

func TestOldTransactions(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	options := doctor.Options{OldTransaction: 1}
	require.Empty(t, examine(t, pool, options).Findings)

	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	_, err = tx.Exec(t.Context(), `SET LOCAL application_name = 'report'; SELECT count(*) FROM towpath.river_job`)
	require.NoError(t, err)
	f := only(t, examine(t, pool, options), "transactions", doctor.Warning)
	require.Contains(t, f.What, "(idle in transaction), and its locks keep migrations and retention waiting: SET LOCAL")
	require.Contains(t, f.Where, `application "report"`)

	_, err = tx.Exec(t.Context(), `SELECT pg_current_xact_id()`)
	require.NoError(t, err)
	f = only(t, examine(t, pool, options), "transactions", doctor.Warning)
	require.Contains(t, f.What, "no row that died since can be removed: SELECT pg_current_xact_id()")
	exec(t, pool, f.Mend)
	require.Empty(t, examine(t, pool, options).Findings)
}

// A session of somebody else shows a plain owner nothing, and that is said.
func TestHiddenTransactions(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	super := testdb.Super(t, pool)
	tx, err := super.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	report := examine(t, pool, doctor.Options{OldTransaction: 1})
	require.Empty(t, report.Findings)
	require.Equal(t, "transactions", report.Skipped[0].Check)
	require.Contains(t, report.Skipped[0].Mend, "GRANT pg_read_all_stats TO ")
	require.NoError(t, tx.Rollback(t.Context()))
}

func TestPreparedTransactions(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	gid := "it's " + pool.Config().ConnConfig.Database
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `DELETE FROM towpath.river_job`)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `PREPARE TRANSACTION '`+strings.ReplaceAll(gid, "'", "''")+`'`)
	require.NoError(t, err)
	require.NoError(t, tx.Commit(t.Context()), "there is nothing left to commit")
	f := only(t, examine(t, pool, doctor.Options{OldTransaction: 1}), "transactions", doctor.Warning)
	require.Contains(t, f.Where, gid)
	exec(t, pool, f.Mend)
	require.Empty(t, examine(t, pool, doctor.Options{OldTransaction: 1}).Findings)
}

// overTCP returns a pool to the same database by way of 127.0.0.1 and a port.
func overTCP(t *testing.T, pool *pgxpool.Pool, port uint16) *pgxpool.Pool {
	t.Helper()
	config := pool.Config()
	config.ConnConfig.Host, config.ConnConfig.Port = "127.0.0.1", port
	config.ConnConfig.TLSConfig, config.ConnConfig.Fallbacks = nil, nil
	config.ConnConfig.DialFunc = (&net.Dialer{}).DialContext
	other, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(other.Close)
	return other
}

// A proxy that hands on everything but notifications is what a pooler in transaction mode is to a listener.
func TestNotificationsDoNotArrive(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	proxied := overTCP(t, pool, deafProxy(t, pool))
	f := only(t, examine(t, proxied, doctor.Options{}), "notify", doctor.Warning)
	require.Contains(t, f.Mend, "TOWPATH_DATABASE_NOTIFY=off")
	require.Empty(t, examine(t, proxied, doctor.Options{NotifyOff: true}).Findings)
}

// deafProxy listens on a port and hands on to the server of the pool all but NotificationResponse.
func deafProxy(t *testing.T, pool *pgxpool.Pool) uint16 {
	t.Helper()
	config := pool.Config().ConnConfig
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			network, address := pgconnNetwork(config.Host, config.Port)
			server, err := net.Dial(network, address)
			if err != nil {
				client.Close()
				return
			}
			go func() { defer server.Close(); _, _ = io.Copy(server, client) }()
			go func() { defer client.Close(); _ = withoutNotifications(client, server) }()
		}
	}()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

func pgconnNetwork(host string, port uint16) (network, address string) {
	if strings.HasPrefix(host, "/") {
		return "unix", host + "/.s.PGSQL." + strconv.Itoa(int(port))
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func withoutNotifications(out io.Writer, in io.Reader) error {
	for {
		var header [5]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		if header[0] == 'A' {
			continue
		}
		if _, err := out.Write(append(header[:], body...)); err != nil {
			return err
		}
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	lead(t, pool, "a")
	enrol(t, pool, "a", `max_conns => current_setting('max_connections')::int - 50`)
	require.Empty(t, examine(t, pool, doctor.Options{}).Findings)
	enrol(t, pool, "b", `max_conns => 100`)
	f := only(t, examine(t, pool, doctor.Options{}), "connections", doctor.Fault)
	require.Contains(t, f.What, "the pools of 2 processes may open")

	exec(t, pool, `DELETE FROM towpath.process WHERE client_id = 'b'`)
	exec(t, pool, fmt.Sprintf(`ALTER DATABASE %s CONNECTION LIMIT 90`, pool.Config().ConnConfig.Database))
	f = only(t, examine(t, pool, doctor.Options{}), "connections", doctor.Fault)
	require.Contains(t, f.What, "and the connection limit of the database allows 90")
	require.Contains(t, f.Mend, "TOWPATH_DATABASE_MAX_CONNS=90")
}

func TestDeadRows(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	exec(t, pool, `ALTER TABLE towpath.counter SET (autovacuum_enabled = off)`)
	exec(t, pool, `INSERT INTO towpath.counter SELECT 'q', 'k', 'started', n, 1, 0 FROM generate_series(1, 300) n`)
	exec(t, pool, `DELETE FROM towpath.counter`)
	dead := func() (found bool) {
		for _, f := range examine(t, pool, doctor.Options{DeadRows: 100}).Findings {
			found = found || f.Check == "vacuum" && f.Severity == doctor.Warning && strings.Contains(f.What, "300 dead rows beside 0 live ones")
		}
		return found
	}
	// Counts are told to the server when a session is idle.
	require.Eventually(t, dead, testLimit, 1)
	exec(t, pool, `VACUUM (ANALYZE) towpath.counter`)
	require.Eventually(t, func() bool { return !dead() }, testLimit, 1)
}

// A look-up by id locks all of a long history. What is told of it is what Postgres does.
func TestLocksOfHistory(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	exec(t, pool, `SELECT towpath.ensure_partitions(20)`)
	require.Empty(t, examine(t, pool, doctor.Options{}).Findings)
	f := only(t, examine(t, pool, doctor.Options{LockUsage: 1e-3}), "partitions", doctor.Warning)
	require.Contains(t, f.What, "history has 63 partitions")
	var told int
	_, err := fmt.Sscanf(f.What, "history has 63 partitions, and to look up one job by its id takes %d locks", &told)
	require.NoError(t, err)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	var locks int
	_, err = tx.Exec(t.Context(), `SELECT FROM towpath.jobs WHERE id = 1`)
	require.NoError(t, err)
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN (
		SELECT relid FROM pg_partition_tree('towpath.job_history') WHERE isleaf UNION ALL
		SELECT indexrelid FROM pg_index JOIN pg_partition_tree('towpath.job_history') ON relid = indrelid WHERE isleaf)`).Scan(&locks))
	require.Equal(t, locks, told)
}

// ownServer starts a server for one test alone, with settings.
func ownServer(t *testing.T, settings map[string]string) (*pgdev.Server, *pgxpool.Pool) {
	t.Helper()
	server, err := pgdev.Start(t.Context(), pgdev.Options{Ephemeral: true, Fast: true, Settings: settings})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	pool, err := pgxpool.New(t.Context(), server.URL())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, migrate.Up(t.Context(), pool))
	return server, pool
}

// What the server does by itself is no session of anybody, though a plain owner sees as little of it.
func TestAutovacuumAtWork(t *testing.T) {
	t.Parallel()
	_, pool := ownServer(t, map[string]string{
		"autovacuum_naptime": "1", "autovacuum_vacuum_cost_delay": "100", "autovacuum_vacuum_cost_limit": "1",
	})
	exec(t, pool, `CREATE TABLE large AS SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n`)
	exec(t, pool, `DELETE FROM large WHERE n % 2 = 0`)
	atWork := `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NULL)`
	awaitTrue(t, pool, atWork)
	report := examine(t, pool, doctor.Options{OldTransaction: 1})
	awaitTrue(t, pool, atWork)
	require.Empty(t, report.Skipped)
	require.Empty(t, report.Findings)
}

// What belongs to a whole server is made wrong on one of this test's own.
func TestServerFaults(t *testing.T) {
	t.Parallel()
	server, pool := ownServer(t, map[string]string{
		"autovacuum": "off", "wal_level": "replica", "max_wal_senders": "1", "max_connections": "20", "tcp_keepalives_idle": "7200",
	})
	super, err := pgxpool.New(t.Context(), strings.Replace(server.SuperURL(), "/postgres?", "/towpath?", 1))
	require.NoError(t, err)
	defer super.Close()
	exec(t, super, `SELECT pg_create_physical_replication_slot('standby', true)`)

	found := map[string]doctor.Finding{}
	for _, f := range examine(t, pool, doctor.Options{}).Findings {
		found[f.Check] = f
	}
	require.Contains(t, found["vacuum"].What, "autovacuum is off")
	require.Contains(t, found["slots"].Where, `"standby"`)
	require.Contains(t, found["keepalives"].What, "2h0m0s")
	require.Len(t, found, 3)

	exec(t, super, found["vacuum"].Mend[:strings.Index(found["vacuum"].Mend, ";")])
	exec(t, super, `SELECT pg_drop_replication_slot('standby')`)
	exec(t, pool, found["keepalives"].Mend)
	t.Run("all connections in use", func(t *testing.T) {
		var held []*pgx.Conn
		defer func() {
			for _, conn := range held {
				conn.Close(context.WithoutCancel(t.Context()))
			}
		}()
		for range 11 {
			conn, err := pgx.Connect(t.Context(), server.URL())
			require.NoError(t, err)
			held = append(held, conn)
		}
		// Between these, the pools' own and the reserved ones there is room for two or three.
		var last doctor.Finding
		require.Eventually(t, func() bool {
			conn, err := pgx.Connect(context.Background(), server.URL())
			if err == nil {
				held = append(held, conn)
			}
			for _, f := range examine(t, pool, doctor.Options{}).Findings {
				if f.Check == "connections" {
					last = f
				}
			}
			return last.What != ""
		}, testLimit, 1)
		require.Contains(t, last.What, "of 17 connections are in use")
	})
	t.Run("a listener that does not read", func(t *testing.T) {
		tx, err := super.Begin(t.Context())
		require.NoError(t, err)
		defer tx.Rollback(context.WithoutCancel(t.Context()))
		listener, err := pgx.Connect(t.Context(), server.URL())
		require.NoError(t, err)
		defer listener.Close(context.WithoutCancel(t.Context()))
		for _, sql := range []string{`LISTEN mine`, `BEGIN`, `SELECT 1`} {
			_, err = listener.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		exec(t, pool, `SELECT pg_notify('mine', repeat(n::text, 1000)) FROM generate_series(1, 500) n`)
		var found bool
		for _, f := range examine(t, pool, doctor.Options{QueueUsage: 1e-9, NotifyOff: true}).Findings {
			found = found || f.Check == "notify"
		}
		require.True(t, found)
	})
}
