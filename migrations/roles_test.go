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
	{`SELECT * FROM towpath.lifecycle`, false, true, true},
	{`SELECT * FROM towpath.lifecycle_now()`, false, true, true},
	{`SELECT * FROM towpath.queues_now()`, false, true, true},
	{`SELECT * FROM towpath.lease`, false, false, false},
	{`SELECT towpath.take_lease('x', 'y', '1 minute')`, false, false, false},
	{`SELECT * FROM towpath.activity`, false, true, true},
	{`SELECT * FROM towpath.kinds`, false, true, true},
	{`SELECT * FROM towpath.kinds_since('1 day')`, false, true, true},
	{`SELECT * FROM towpath.queues`, false, true, true},
	{`SELECT * FROM towpath.processes`, false, true, true},
	{`SELECT * FROM towpath.leader`, false, true, true},
	{`SELECT * FROM towpath.failures`, false, true, true},
	{`SELECT * FROM towpath.failures_since('1 day', 10)`, false, true, true},
	{`SELECT * FROM towpath.timeline WHERE job_id = 1`, false, true, true},
	{`SELECT * FROM towpath.logs WHERE job_id = 1`, false, true, true},
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

	{`SELECT * FROM towpath.schedules`, false, true, true},
	{`SELECT * FROM towpath.schedule_runs`, false, true, true},
	{`SELECT * FROM towpath.schedule_events`, false, true, true},
	{`SELECT * FROM towpath.schedule_backfills`, false, true, true},
	{`SELECT * FROM towpath.put_schedule('other', '@daily', 'mail.send')`, false, false, true},
	{`SELECT * FROM towpath.define_schedule('other', '{"expression": "@daily", "kind": "mail.send"}')`, false, false, true},
	{`SELECT * FROM towpath.pause_schedule('nightly')`, false, false, true},
	{`SELECT * FROM towpath.resume_schedule('nightly')`, false, false, true},
	{`SELECT * FROM towpath.run_schedule('nightly')`, false, false, true},
	{`SELECT * FROM towpath.skip_schedule('nightly')`, false, false, true},
	{`SELECT * FROM towpath.backfill_schedule('nightly', now() - interval '1 day', now())`, false, false, true},
	{`SELECT * FROM towpath.cancel_backfill(1000)`, false, false, true},
	{`SELECT * FROM towpath.revert_schedule('in code')`, false, false, true},
	{`SELECT * FROM towpath.delete_schedule('nightly')`, false, false, true},

	{`SELECT * FROM towpath.checks`, false, true, true},
	{`SELECT * FROM towpath.check_pings`, false, true, true},
	{`SELECT * FROM towpath.check_events`, false, true, true},
	{`SELECT * FROM towpath.put_check('backup', period => '1 day')`, false, false, true},
	{`SELECT towpath.check_key('nothing')`, false, false, true},
	{`SELECT towpath.pause_check('beat')`, false, false, true},
	{`SELECT towpath.resume_check('beat')`, false, false, true},
	{`SELECT towpath.delete_check('beat')`, false, false, true},

	{`SELECT * FROM towpath.kind_schemas`, false, true, true},
	{`SELECT towpath.check_kind('schooled')`, false, false, true},

	{`SELECT * FROM towpath.probes`, false, true, true},
	{`SELECT * FROM towpath.probe_latest`, false, true, true},
	{`SELECT * FROM towpath.probe_values`, false, true, true},
	{`SELECT * FROM towpath.probe_events`, false, true, true},
	{`SELECT * FROM towpath.put_probe('other', 'SELECT count(*) FROM towpath.queues', '5 minutes')`, false, false, true},
	{`SELECT * FROM towpath.define_probe('other', '{"query": "SELECT 1", "every": 60}')`, false, false, true},
	{`SELECT towpath.check_probe_query('SELECT 1', NULL, '{}')`, false, false, true},
	{`SELECT * FROM towpath.pause_probe('orders')`, false, false, true},
	{`SELECT * FROM towpath.resume_probe('orders')`, false, false, true},
	{`SELECT * FROM towpath.run_probe('orders')`, false, false, true},
	{`SELECT * FROM towpath.revert_probe('probe in code')`, false, false, true},
	{`SELECT * FROM towpath.delete_probe('orders')`, false, false, true},
	{`SELECT * FROM towpath.probe`, false, false, false},
	{`SELECT * FROM towpath.claim_probes(1)`, false, false, false},
	{`SELECT towpath.finish_probe('orders', 1, 'ok', NULL, 1, '1 second', '{"values": {"n": 1}}')`, false, false, false},
	{`SELECT towpath.note_stale_probes()`, false, false, false},
	{`SELECT towpath.compact_probes(0, 1)`, false, false, false},
	{`SELECT towpath.deploy_probes('a', 'b', 'c', '{}')`, false, false, false},
	{`INSERT INTO towpath.probe_event (probe, status, before, since) VALUES ('orders', 'ok', 'failed', now())`, false, false, false},
	{`SELECT * FROM towpath.alerts`, false, true, true},
	{`SELECT * FROM towpath.alert_rules`, false, true, true},
	{`SELECT * FROM towpath.alert_events`, false, true, true},
	{`SELECT * FROM towpath.alert_evaluator`, false, true, true},
	{`SELECT * FROM towpath.silences`, false, true, true},
	{`SELECT towpath.put_alert_rule('no_leader', enabled => false)`, false, false, true},
	{`SELECT towpath.revert_alert_rule('no_leader')`, false, false, true},
	{`SELECT towpath.silence('*', 'nightly', now() + interval '1 hour')`, false, false, true},
	{`SELECT towpath.end_silence(1000)`, false, false, true},
	{`SELECT * FROM towpath.alert`, false, false, false},
	{`SELECT * FROM towpath.alert_rule`, false, false, false},
	{`DELETE FROM towpath.alert_silence`, false, false, false},
	{`SELECT towpath.save_alerts(0, '[]', '[]', '[]')`, false, false, false},
	{`SELECT towpath.prune_alerts()`, false, false, false},

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
	{`SELECT * FROM towpath.heartbeat`, false, false, false},
	{`SELECT * FROM towpath.schedule`, false, false, false},
	{`UPDATE towpath.schedule SET next_due = now()`, false, false, false},
	{`SELECT towpath.advance_schedules('[]', '[]')`, false, false, false},
	{`SELECT towpath.fire_schedules('[]', 'tick')`, false, false, false},
	{`SELECT towpath.enqueue_ticks('[]', 'tick')`, false, false, false},
	{`SELECT * FROM towpath.count_ticks('[]')`, false, false, false},
	{`SELECT towpath.deploy_schedules('a', 'b', 'c', '{}')`, false, false, false},
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
				exec(t, tx, `INSERT INTO towpath.schedule (name, edited, next_tick, next_due, settled) VALUES ('nightly', towpath.full_definition('{"expression": "@daily", "kind": "mail.send"}'), now(), now(), true)`)
				exec(t, tx, `INSERT INTO towpath.schedule (name, code) VALUES ('in code', towpath.full_definition('{"expression": "@daily", "kind": "mail.send"}'))`)
				exec(t, tx, `INSERT INTO towpath.schedule_backfill (id, schedule, from_at, to_at, at_once, after) OVERRIDING SYSTEM VALUE VALUES (1000, 'nightly', now(), now(), 1, now())`)
				exec(t, tx, `SELECT towpath.put_check('beat', period => '1 hour')`)
				exec(t, tx, `INSERT INTO towpath.kind_schema (kind, schema) VALUES ('schooled', '{}')`)
				exec(t, tx, `INSERT INTO towpath.alert_silence (id, rule, subject, author, ends_at) OVERRIDING SYSTEM VALUE VALUES (1000, '*', '*', 'me', now() + interval '1 hour')`)
				exec(t, tx, `INSERT INTO towpath.probe (name, edited) VALUES ('orders', towpath.full_probe('{"query": "SELECT 1", "every": 60}'))`)
				exec(t, tx, `INSERT INTO towpath.probe (name, code) VALUES ('probe in code', towpath.full_probe('{"query": "SELECT 1", "every": 60}'))`)
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
	exec(t, super, `DROP ROLE towpath_producer, towpath_reader, towpath_operator, towpath_probe`)
	t.Run("ManyDatabasesAtOnce", func(t *testing.T) { rolesOfManyDatabases(t, server) })
}

// Databases of one server that are migrated at the same time create the roles once.
func rolesOfManyDatabases(t *testing.T, server *pgdev.Server) {
	super := connectTo(t, server.SuperSocketURL(), "postgres")
	roles := `SELECT rolname FROM pg_roles WHERE rolname IN ('towpath_producer', 'towpath_reader', 'towpath_operator', 'towpath_probe') ORDER BY rolname`
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
	require.Equal(t, []string{"towpath_operator", "towpath_probe", "towpath_producer", "towpath_reader"}, all[string](t, super, roles))
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

	var lines []string
	migrator, err := migrate.New(pool, migrate.WithReport(func(line string) { lines = append(lines, line) }))
	require.NoError(t, err)
	require.NoError(t, migrator.Up(t.Context()), "a missing right is no reason not to migrate")
	require.Equal(t, []string{
		"roles missing: towpath_operator, towpath_probe, towpath_producer, towpath_reader, and modest may not create roles",
		"as an administrator: CREATE ROLE towpath_operator; CREATE ROLE towpath_probe; CREATE ROLE towpath_producer; CREATE ROLE towpath_reader; " +
			"then, as modest: SELECT towpath.grant_roles();",
	}, lines[len(lines)-2:], "what towpath migrate up prints")
	var told *pgconn.Notice
	for _, notice := range notices {
		if strings.HasPrefix(notice.Message, "roles missing") {
			told = notice
		}
	}
	require.NotNil(t, told)
	require.Equal(t, "roles missing: towpath_producer, towpath_reader, towpath_operator, towpath_probe, and modest may not create roles", told.Message)
	require.Equal(t, "As an administrator: CREATE ROLE towpath_producer; CREATE ROLE towpath_reader; CREATE ROLE towpath_operator; CREATE ROLE towpath_probe; "+
		"then, as modest: SELECT towpath.grant_roles();", told.Hint)

	for _, role := range []string{"towpath_producer", "towpath_reader", "towpath_operator", "towpath_probe"} {
		exec(t, super, `CREATE ROLE `+role)
	}
	exec(t, pool, `SELECT towpath.grant_roles()`)
	tx, err := asSuper.Begin(t.Context())
	require.NoError(t, err)
	exec(t, tx, `SET LOCAL ROLE towpath_producer`)
	require.Len(t, enqueueMany(t, tx, `[{"kind": "mail.send"}]`), 1)
	require.NoError(t, tx.Rollback(t.Context()))
}
