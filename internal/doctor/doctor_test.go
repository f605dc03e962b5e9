package doctor_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/doctor"
	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// testLimit is far more than anything here takes.
const testLimit = time.Minute

func examine(t *testing.T, pool *pgxpool.Pool, options doctor.Options) *doctor.Report {
	t.Helper()
	migrator, err := migrate.New(pool)
	require.NoError(t, err)
	report, err := doctor.Examine(t.Context(), pool, migrator, options)
	require.NoError(t, err)
	return report
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

// only returns the one finding that the report has, and demands its check and severity.
func only(t *testing.T, report *doctor.Report, check string, severity doctor.Severity) doctor.Finding {
	t.Helper()
	require.Len(t, report.Findings, 1, "%+v", report.Findings)
	f := report.Findings[0]
	require.Equal(t, check, f.Check)
	require.Equal(t, severity, f.Severity)
	require.NotEmpty(t, f.Where)
	require.Equal(t, severity == doctor.Note, report.Healthy())
	return f
}

type towArgs struct{}

func (towArgs) Kind() string { return "tow" }

// work starts a process that works the default queue.
func work(t *testing.T, pool *pgxpool.Pool, change func(*jobs.Config)) {
	t.Helper()
	bundle := workers.NewBundle()
	workers.Add(bundle, river.WorkFunc(func(context.Context, *river.Job[towArgs]) error { return nil }))
	config := workers.Config{Pool: pool, Client: jobs.Config{Config: river.Config{Logger: slog.New(slog.DiscardHandler)}}}
	if change != nil {
		change(&config.Client)
	}
	runner, err := workers.New(config, bundle)
	require.NoError(t, err)
	require.NoError(t, runner.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, runner.Stop()) })
}

func awaitTrue(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	require.Eventually(t, func() bool {
		var is bool
		return pool.QueryRow(context.Background(), sql).Scan(&is) == nil && is
	}, testLimit, 20*time.Millisecond, sql)
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	report := examine(t, pool, doctor.Options{})
	require.Empty(t, report.Findings, "a database that nobody works on")
	require.Empty(t, report.Skipped)
	require.True(t, report.Healthy())

	work(t, pool, nil)
	awaitTrue(t, pool, `SELECT EXISTS (SELECT FROM towpath.river_leader)`)
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	inserted, err := client.Insert(t.Context(), towArgs{}, nil)
	require.NoError(t, err)
	_, err = client.Await(t.Context(), inserted.Job.ID)
	require.NoError(t, err)
	report = examine(t, pool, doctor.Options{})
	require.Empty(t, report.Findings, "a database with a process")
	require.Empty(t, report.Skipped)
	require.Len(t, report.Checks, 14)
	raw, err := json.Marshal(report)
	require.NoError(t, err)
	require.Contains(t, string(raw), `"findings":[],"skipped":[]`)
}

// What the program compares with is what its migrations make.
func TestExpectedIsCurrent(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	var major int
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int / 10000`).Scan(&major))
	if major != 15 {
		// Views are written down in another form, which the doctor bears.
		require.Empty(t, examine(t, pool, doctor.Options{}).Findings)
		return
	}
	fresh, err := doctor.Expected(t.Context(), pool)
	require.NoError(t, err)
	kept, err := os.ReadFile("expected.jsonl")
	require.NoError(t, err)
	require.Equal(t, string(kept), fresh, "run `go generate ./internal/doctor` after a change of the migrations")
}

func TestVersions(t *testing.T) {
	t.Parallel()
	require.Equal(t, doctor.Fault, doctor.JudgeServer(14)[0].Severity)
	require.Empty(t, doctor.JudgeServer(15))
	require.Empty(t, doctor.JudgeServer(18))
	require.Equal(t, doctor.Note, doctor.JudgeServer(19)[0].Severity)

	t.Run("no schema", func(t *testing.T) {
		t.Parallel()
		report := examine(t, testdb.Empty(t), doctor.Options{Program: "shop"})
		f := only(t, report, "versions", doctor.Fault)
		require.Contains(t, f.What, "missing: main 001")
		require.Equal(t, "shop migrate up", f.Mend)
		require.Len(t, report.Skipped, 9)
	})
	t.Run("newer schema", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		exec(t, pool, `INSERT INTO towpath.river_migration (line, version) VALUES ('towpath', 999)`)
		report := examine(t, pool, doctor.Options{})
		require.Contains(t, only(t, report, "versions", doctor.Note).What, "unknown: towpath 999")
		require.Equal(t, "schema", report.Skipped[0].Check)
	})
	t.Run("two versions", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		lead(t, pool, "a")
		enrol(t, pool, "a", `version => 'v1'`)
		enrol(t, pool, "b", `version => 'v2'`)
		f := only(t, examine(t, pool, doctor.Options{}), "versions", doctor.Warning)
		require.Equal(t, "v1: a; v2: b", f.Where)
	})
}

// enrol adds the row of a process that is alive for now, and changes it as `column => value, …` say.
func enrol(t *testing.T, pool *pgxpool.Pool, id string, changes ...string) {
	t.Helper()
	exec(t, pool, `INSERT INTO towpath.process (client_id, host, pid, version, roles, queues, max_conns)
		VALUES ($1, 'lock', 7, 'v1', '{worker}', '{"default": 10}', 10)`, id)
	for _, change := range changes {
		column, value, _ := cutArrow(change)
		exec(t, pool, "UPDATE towpath.process SET "+column+" = "+value+" WHERE client_id = $1", id)
	}
}

func cutArrow(change string) (column, value string, found bool) {
	for i := range change {
		if i+4 <= len(change) && change[i:i+4] == " => " {
			return change[:i], change[i+4:], true
		}
	}
	return change, "", false
}

func lead(t *testing.T, pool *pgxpool.Pool, id string) {
	t.Helper()
	exec(t, pool, `INSERT INTO towpath.river_leader (elected_at, expires_at, leader_id) VALUES (now(), now() + interval '1 hour', $1)`, id)
}

func TestFleet(t *testing.T) {
	t.Parallel()
	t.Run("nobody may lead", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		work(t, pool, func(c *jobs.Config) { c.LeaderElectionDisabled = true })
		f := only(t, examine(t, pool, doctor.Options{}), "fleet", doctor.Fault)
		require.Contains(t, f.What, "none of the 1 live processes may lead")
		require.Contains(t, f.Mend, "towpath scheduler")
	})
	t.Run("no leader", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		enrol(t, pool, "a")
		lead(t, pool, "gone")
		exec(t, pool, `UPDATE towpath.river_leader SET expires_at = now() - interval '1 minute'`)
		require.Contains(t, only(t, examine(t, pool, doctor.Options{}), "fleet", doctor.Fault).What, "there is no leader, though 1")
	})
	t.Run("one client id twice", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		lead(t, pool, "a")
		enrol(t, pool, "a")
		enrol(t, pool, "a")
		f := only(t, examine(t, pool, doctor.Options{}), "fleet", doctor.Fault)
		require.Contains(t, f.What, `2 live processes share the client id "a"`)
		require.Contains(t, f.Mend, "TOWPATH_CLIENT_ID")
	})
	t.Run("a queue that nobody works", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		lead(t, pool, "a")
		enrol(t, pool, "a")
		exec(t, pool, `SELECT towpath.enqueue('tow', '{}', queue => 'mail'), towpath.enqueue('tow', '{}')`)
		f := only(t, examine(t, pool, doctor.Options{}), "fleet", doctor.Fault)
		require.Contains(t, f.What, `no live process works the queue "mail"`)
		require.Equal(t, "TOWPATH_QUEUES=mail=100 towpath worker", f.Mend)
	})
	t.Run("the doctor and the views agree who works a queue", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		lead(t, pool, "a")
		exec(t, pool, `SELECT towpath.enqueue('tow', '{}')`)
		enrol(t, pool, "a", `beat_at => now() - interval '21 seconds'`)
		require.Empty(t, examine(t, pool, doctor.Options{}).Findings, "the view fleet still has it")
		exec(t, pool, `UPDATE towpath.process SET beat_at = now() - interval '35 seconds'`)
		require.Contains(t, only(t, examine(t, pool, doctor.Options{}), "fleet", doctor.Fault).What, `no live process works the queue "default"`)
	})
	t.Run("the dead do not count", func(t *testing.T) {
		t.Parallel()
		pool := testdb.Pool(t)
		enrol(t, pool, "a", `dead_at => now()`)
		enrol(t, pool, "a", `stopped_at => now()`)
		require.Empty(t, examine(t, pool, doctor.Options{}).Findings)
	})
}

func TestClocks(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	f := only(t, examine(t, pool, doctor.Options{Now: func() time.Time { return time.Now().Add(-time.Hour) }}), "clocks", doctor.Warning)
	require.Contains(t, f.What, "behind the database's")
	require.Equal(t, "this host", f.Where)

	lead(t, pool, "a")
	enrol(t, pool, "a", `clock_ahead => interval '1.5 seconds'`)
	enrol(t, pool, "b", `clock_ahead => interval '3 minutes'`)
	f = only(t, examine(t, pool, doctor.Options{}), "clocks", doctor.Warning)
	require.Contains(t, f.What, "3m0s ahead of")
	require.Equal(t, "b (lock, pid 7)", f.Where)
}

// asker makes a role of this test's own that is a member of others, and returns a pool with its rights.
func asker(t *testing.T, pool *pgxpool.Pool, memberOf ...string) (as *pgxpool.Pool, role string) {
	t.Helper()
	super := testdb.Super(t, pool)
	role = pool.Config().ConnConfig.Database + "_asker"
	quoted := pgx.Identifier{role}.Sanitize()
	exec(t, super, "CREATE ROLE "+quoted)
	t.Cleanup(func() {
		_, err := super.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+quoted+"; DROP ROLE "+quoted)
		require.NoError(t, err)
	})
	for _, other := range memberOf {
		exec(t, super, "GRANT "+other+" TO "+quoted)
	}
	return testdb.As(t, pool, role), role
}

// Who may not look is told so, by one finding whose mend is enough; to have seen nothing is not to be well.
func TestLackOfRights(t *testing.T) {
	t.Parallel()
	for name, memberOf := range map[string][]string{"reader": {"towpath_reader"}, "stranger": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			lead(t, pool, "a")
			enrol(t, pool, "a")
			as, role := asker(t, pool, memberOf...)
			report := examine(t, as, doctor.Options{})
			f := only(t, report, "rights", doctor.Warning)
			require.Contains(t, f.What, role)
			require.Contains(t, f.What, "may not look at versions, schema, constraints, partitions, grants, names, fleet, clocks, connections, vacuum")
			require.Equal(t, "schema towpath", f.Where)
			require.Equal(t, []string{"transactions", "slots", "keepalives", "notify"}, report.Checks, "those that were made")
			for _, s := range report.Skipped {
				require.NotContains(t, s.Reason, "is not there")
				require.NotEmpty(t, s.Mend, s.Check)
			}

			_, grant, found := strings.Cut(f.Mend, ", or: ")
			require.True(t, found, f.Mend)
			exec(t, pool, grant)
			report = examine(t, as, doctor.Options{})
			require.Empty(t, report.Findings)
			require.Len(t, report.Checks, 14)
		})
	}
}

// A role of ours has its rights from the migrations, and is given no others.
func TestLackOfRightsOfOurRoles(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	var owner string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT quote_ident(current_user)`).Scan(&owner))
	f := only(t, examine(t, testdb.As(t, pool, "towpath_reader"), doctor.Options{}), "rights", doctor.Warning)
	require.Equal(t, "run it as "+owner+", who owns the schema", f.Mend)
}

// A role that is called as our schema is finds it first, unless it is told otherwise.
func TestNames(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	lead(t, pool, "a")
	under := func(change func(*pgxpool.Config)) doctor.Finding {
		config := pool.Config()
		change(config)
		first, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(first.Close)
		return only(t, examine(t, first, doctor.Options{}), "names", doctor.Note)
	}
	f := under(func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["search_path"] = "towpath, public" })
	require.Contains(t, f.What, "lands in towpath")
	require.Contains(t, f.Mend, "out of the connection string")
	exec(t, pool, `DO $$ BEGIN EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = towpath, app, public', current_user, current_database()); END $$`)
	f = under(func(*pgxpool.Config) {})
	require.Contains(t, f.Mend, " SET search_path = app, public;   -- first move what landed there")
	exec(t, pool, `DO $$ BEGIN EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET search_path', current_user, current_database()); END $$`)
	pool.Reset()
	require.Empty(t, examine(t, pool, doctor.Options{}).Findings)
}
