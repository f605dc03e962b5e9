package migrations_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/internal/testdb"
)

// All statements that a role might try, and which of the three may.
var attempts = []struct {
	sql                        string
	producer, reader, operator bool
}{
	{`SELECT * FROM towpath.enqueue('mail.send')`, true, false, false},
	{`SELECT * FROM towpath.enqueue('mail.send', '{"a": 1}', unique_by_args => true)`, true, false, false},
	{`SELECT * FROM towpath.enqueue_many('[{"kind": "mail.send", "unique_key": "k"}]')`, true, false, false},

	{`SELECT * FROM towpath.jobs`, false, true, true},
	{`SELECT * FROM towpath.counters`, false, true, true},
	{`SELECT * FROM towpath.activity`, false, true, true},
	{`SELECT * FROM towpath.kinds`, false, true, true},
	{`SELECT * FROM towpath.kinds_since('1 day')`, false, true, true},
	{`SELECT * FROM towpath.queues`, false, true, true},
	{`SELECT * FROM towpath.processes`, false, true, true},
	{`SELECT * FROM towpath.failures`, false, true, true},
	{`SELECT * FROM towpath.failures_since('1 day', 10)`, false, true, true},
	{`SELECT * FROM towpath.timeline WHERE job_id = 1`, false, true, true},
	{`SELECT * FROM towpath.waiting`, false, true, true},
	{`SELECT * FROM towpath.why(1000)`, false, true, true},
	{`SELECT * FROM towpath.find_jobs()`, false, true, true},
	{`SELECT towpath.histogram_quantile('{1}', '{1}', 0.5)`, false, true, true},
	{`SELECT towpath.error_pattern('x 1')`, false, true, true},

	{`SELECT * FROM towpath.cancel_job(1000)`, false, false, true},
	{`SELECT * FROM towpath.retry_job(1000)`, false, false, true},
	{`SELECT * FROM towpath.delete_job(1000)`, false, false, true},
	{`SELECT * FROM towpath.cancel_jobs(kind => 'mail.send')`, false, false, true},
	{`SELECT * FROM towpath.retry_jobs(kind => 'mail.send')`, false, false, true},
	{`SELECT * FROM towpath.delete_jobs(kind => 'mail.send')`, false, false, true},
	{`SELECT * FROM towpath.pause_queue('default')`, false, false, true},
	{`SELECT * FROM towpath.resume_queue('default')`, false, false, true},
	{`SELECT * FROM towpath.audit`, false, false, true},

	{`SELECT * FROM towpath.river_job`, false, false, false},
	{`INSERT INTO towpath.river_job (args, kind, max_attempts) VALUES ('{}', 'mail.send', 1)`, false, false, false},
	{`UPDATE towpath.river_job SET state = 'available'`, false, false, false},
	{`DELETE FROM towpath.river_job`, false, false, false},
	{`SELECT nextval('towpath.river_job_id_seq')`, false, false, false},
	{`SELECT * FROM towpath.job_history`, false, false, false},
	{`INSERT INTO towpath.audit (action, target) VALUES ('forged', 'job 1')`, false, false, false},
	{`DELETE FROM towpath.audit`, false, false, false},
	{`UPDATE towpath.river_queue SET paused_at = now()`, false, false, false},
	{`SELECT * FROM towpath.river_queue`, false, false, false},
	{`SELECT * FROM towpath.process`, false, false, false},
	{`SELECT towpath.refresh_queue_depth()`, false, false, false},
	{`SELECT towpath.ensure_partitions(14)`, false, false, false},
	{`SELECT towpath.grant_roles()`, false, false, false},
	{`SELECT towpath.cancel_ids('{1}', true)`, false, false, false},
	{`SELECT towpath.delete_ids('{1}', true)`, false, false, false},
	{`SELECT towpath.job_unique_key('k', '{}', 'q', now(), NULL, true, NULL, NULL, false, false)`, false, false, false},
	{`CREATE TABLE towpath.mine (id int)`, false, false, false},
}

func TestRolesMayNoMoreThanTheyShould(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	super := testdb.Super(t, pool)
	exec(t, pool, `INSERT INTO towpath.river_queue (name) VALUES ('default')`)

	for i, role := range []string{"towpath_producer", "towpath_reader", "towpath_operator"} {
		t.Run(role, func(t *testing.T) {
			for _, attempt := range attempts {
				may := []bool{attempt.producer, attempt.reader, attempt.operator}[i]
				tx, err := super.Begin(t.Context())
				require.NoError(t, err)
				exec(t, tx, `INSERT INTO towpath.river_job (id, args, kind, max_attempts, state, finalized_at) VALUES (1000, '{}', 'mail.send', 1, 'discarded', now())`)
				exec(t, tx, `INSERT INTO towpath.river_job (id, args, kind, max_attempts, state, unique_key, unique_states)
					VALUES (1001, '{}', 'mail.send', 1, 'scheduled', '\x01', B'11110101')`)
				exec(t, tx, `SET LOCAL ROLE `+role)
				_, err = tx.Exec(t.Context(), attempt.sql)
				if may {
					require.NoError(t, err, attempt.sql)
				} else {
					var pgErr *pgconn.PgError
					require.ErrorAs(t, err, &pgErr, attempt.sql)
					require.Equal(t, "42501", pgErr.Code, "%s: %s", attempt.sql, pgErr.Message)
				}
				require.NoError(t, tx.Rollback(t.Context()))
			}
		})
	}
}

// The functions run with their owner's rights; what they find must not depend on who calls.
func TestFunctionsAreSafeToCall(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	require.Empty(t, all[string](t, tx, `SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'towpath'::regnamespace AND prosecdef
		AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))`), "a definer's function without its own search_path")
	require.Empty(t, all[string](t, tx, `SELECT p.oid::regprocedure::text FROM pg_proc p
		WHERE p.pronamespace = 'towpath'::regnamespace AND p.proname NOT IN ('river_job_state_in_bitmask', 'duration_bucket', 'ensure_partitions')
			AND has_function_privilege('public', p.oid, 'EXECUTE')`), "a function that everybody may call")

	// A function of the caller's own cannot get in between.
	exec(t, tx, `CREATE FUNCTION pg_temp.clock_timestamp() RETURNS timestamptz LANGUAGE sql RETURN '2001-01-01'::timestamptz`)
	exec(t, tx, `CREATE SCHEMA mine`)
	exec(t, tx, `CREATE FUNCTION mine.char_length(text) RETURNS int LANGUAGE sql RETURN 1/0`)
	exec(t, tx, `SET LOCAL search_path = pg_temp, mine, pg_catalog`)
	id := one[int64](t, tx, `SELECT id FROM towpath.enqueue('mail.send')`)
	require.True(t, one[bool](t, tx, `SELECT scheduled_at > '2020-01-01' FROM towpath.river_job WHERE id = $1`, id))
}

func connectTo(t *testing.T, url, database string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.Database = database
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// Roles belong to the whole server, so this test has one of its own.
func TestRolesOfAServer(t *testing.T) {
	t.Parallel()
	server, err := pgdev.Start(t.Context(), pgdev.Options{Ephemeral: true, Fast: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })

	t.Run("OwnerMayNotCreateRoles", func(t *testing.T) { rolesWithoutTheRight(t, server) })
	super := connectTo(t, server.SuperSocketURL(), "postgres")
	exec(t, super, `DROP DATABASE modest WITH (FORCE)`)
	exec(t, super, `DROP ROLE towpath_producer, towpath_reader, towpath_operator`)
	t.Run("ManyDatabasesAtOnce", func(t *testing.T) { rolesOfManyDatabases(t, server) })
}

// Databases of one server that are migrated at the same time create the roles once.
func rolesOfManyDatabases(t *testing.T, server *pgdev.Server) {
	super := connectTo(t, server.SuperSocketURL(), "postgres")
	roles := `SELECT rolname FROM pg_roles WHERE rolname IN ('towpath_producer', 'towpath_reader', 'towpath_operator') ORDER BY rolname`
	require.Empty(t, all[string](t, super, roles))

	const databases = 4
	var group sync.WaitGroup
	errs := make([]error, databases)
	for i := range databases {
		name := fmt.Sprintf("race%d", i)
		exec(t, super, `CREATE DATABASE `+name+` OWNER towpath`)
		pool := connectTo(t, server.SocketURL(), name)
		group.Go(func() { errs[i] = migrate.Up(t.Context(), pool) })
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, []string{"towpath_operator", "towpath_producer", "towpath_reader"}, all[string](t, super, roles))
	for i := range databases {
		require.True(t, one[bool](t, connectTo(t, server.SuperSocketURL(), fmt.Sprintf("race%d", i)),
			`SELECT has_function_privilege('towpath_producer', 'towpath.enqueue_many(json)', 'EXECUTE')`))
	}
}

func rolesWithoutTheRight(t *testing.T, server *pgdev.Server) {
	super := connectTo(t, server.SuperSocketURL(), "postgres")
	exec(t, super, `CREATE ROLE modest LOGIN`)
	exec(t, super, `CREATE DATABASE modest OWNER modest`)
	asSuper := connectTo(t, server.SuperSocketURL(), "modest")

	config := asSuper.Config()
	var notices []*pgconn.Notice
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { notices = append(notices, notice) }
	// Who connects as superuser and takes on another role has that one's rights.
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET ROLE modest`)
		return err
	}
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()

	require.NoError(t, migrate.Up(t.Context(), pool), "a missing right is no reason not to migrate")
	var told *pgconn.Notice
	for _, notice := range notices {
		if strings.HasPrefix(notice.Message, "roles missing") {
			told = notice
		}
	}
	require.NotNil(t, told)
	require.Equal(t, "roles missing: towpath_producer, towpath_reader, towpath_operator, and modest may not create roles", told.Message)
	require.Equal(t, "As an administrator: CREATE ROLE towpath_producer; CREATE ROLE towpath_reader; CREATE ROLE towpath_operator; "+
		"then, as modest: SELECT towpath.grant_roles();", told.Hint)

	for _, role := range []string{"towpath_producer", "towpath_reader", "towpath_operator"} {
		exec(t, super, `CREATE ROLE `+role)
	}
	exec(t, pool, `SELECT towpath.grant_roles()`)
	tx, err := asSuper.Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx, `SET LOCAL ROLE towpath_producer`)
	require.Len(t, enqueueMany(t, tx, `[{"kind": "mail.send"}]`), 1)
	require.NoError(t, tx.Rollback(t.Context()))
}
