package doctor_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/doctor"
	"github.com/towpath/towpath/internal/testdb"
)

// Each fault is really made, found, and mended by the SQL that the finding gives.
func TestSchemaFaultsAreFoundAndMended(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fault    string
		check    string
		severity doctor.Severity
		what     string
	}{
		"function missing": {`DROP FUNCTION towpath.pause_queue`, "schema", doctor.Fault, "the function towpath.pause_queue(text,text) is missing"},
		"function changed": {
			`CREATE OR REPLACE FUNCTION towpath.duration_bucket(seconds double precision) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 0::smallint`,
			"schema", doctor.Fault, "the function towpath.duration_bucket(double precision) was changed",
		},
		"index missing":   {`DROP INDEX towpath.towpath_job_due_idx`, "schema", doctor.Fault, "the index towpath_job_due_idx is missing"},
		"history's index": {`DROP INDEX towpath.job_history_id_idx`, "schema", doctor.Fault, "the index job_history_id_idx is missing"},
		"view missing":    {`DROP VIEW towpath.failures`, "schema", doctor.Fault, "the view failures is missing"},
		"view changed": {
			`CREATE OR REPLACE VIEW towpath.fleet AS SELECT ''::text AS queue, 0::bigint AS processes, 0::bigint AS slots, false AS slots_unknown`,
			"schema", doctor.Fault, "the view fleet was changed",
		},
		"column missing": {
			`ALTER TABLE towpath.process DROP COLUMN running CASCADE; CREATE VIEW towpath.processes AS SELECT 1`, "schema", doctor.Fault,
			"the column process.running is missing",
		},
		"option changed":     {`ALTER TABLE towpath.river_job SET (fillfactor = 100)`, "schema", doctor.Note, "the option river_job.fillfactor is 100; ours is 85"},
		"trigger":            {`CREATE TRIGGER mine BEFORE INSERT ON towpath.river_job FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, "schema", doctor.Warning, "the trigger river_job.mine is not ours"},
		"table of somebody":  {`CREATE TABLE towpath.mine (id int)`, "schema", doctor.Note, "the table mine is not ours"},
		"constraint added":   {`ALTER TABLE towpath.job_history ADD CONSTRAINT nope CHECK (priority < 3)`, "constraints", doctor.Fault, "the constraint job_history.nope is not ours"},
		"constraint missing": {`ALTER TABLE towpath.river_job DROP CONSTRAINT kind_length`, "constraints", doctor.Fault, "the constraint river_job.kind_length is missing"},
		"constraint of a day": {`DO $$ BEGIN EXECUTE format('ALTER TABLE towpath.job_history_completed_%s ADD CONSTRAINT nope CHECK (priority < 3)',
			to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$`, "constraints", doctor.Fault, "the constraint nope refuses rows"},
		"reference":     {`CREATE TABLE public.invoice (job_id bigint REFERENCES towpath.river_job)`, "constraints", doctor.Fault, "invoice_job_id_fkey refuses rows"},
		"grant missing": {`REVOKE SELECT ON towpath.jobs FROM towpath_reader`, "grants", doctor.Warning, "towpath_reader lacks the right SELECT ON TABLE towpath.jobs"},
		"grant to all":  {`GRANT SELECT ON towpath.river_job TO PUBLIC`, "grants", doctor.Warning, "PUBLIC has the right SELECT ON TABLE towpath.river_job"},
		"no partition of today": {
			`DO $$ BEGIN EXECUTE format('DROP TABLE towpath.job_history_completed_%s', to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')); END $$`,
			"partitions", doctor.Fault, "no partition for today",
		},
		"no partition ahead": {
			`DO $$ BEGIN EXECUTE format('DROP TABLE towpath.job_event_%s', to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')); END $$`,
			"partitions", doctor.Warning, "the leader should have made it",
		},
		"autovacuum off": {`ALTER TABLE towpath.river_job SET (autovacuum_enabled = off)`, "vacuum", doctor.Fault, "autovacuum is switched off"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			exec(t, pool, test.fault)
			report := examine(t, pool, doctor.Options{})
			var found doctor.Finding
			for _, f := range report.Findings {
				if f.Check == test.check && f.Severity == test.severity && found.What == "" {
					found = f
				}
			}
			require.Contains(t, found.What, test.what, "%+v", report.Findings)
			require.NotEmpty(t, found.Mend)
			switch name {
			case "column missing": // what the view lost, other statements bring back
				exec(t, pool, found.Mend)
				require.NotContains(t, whats(examine(t, pool, doctor.Options{})), found.What)
				return
			case "table of somebody":
				require.False(t, found.SQL)
				return
			}
			require.Len(t, report.Findings, 1, "%+v", report.Findings)
			apply(t, pool, report.Script())
			require.Empty(t, examine(t, pool, doctor.Options{}).Findings, "after %s", report.Script())
		})
	}
}

func whats(report *doctor.Report) (all []string) {
	for _, f := range report.Findings {
		all = append(all, f.What)
	}
	return all
}

// apply runs a script as psql does, a statement at a time: some of them may not be in a transaction. None of the
// scripts here has a semicolon at the end of a line but at the end of a statement, outside of a function's body.
func apply(t *testing.T, pool *pgxpool.Pool, script string) {
	t.Helper()
	for _, statement := range statements(script) {
		exec(t, pool, statement)
	}
}

// An index whose concurrent build failed stays behind, is written and never read.
func TestInvalidIndex(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	exec(t, pool, `SELECT towpath.enqueue('tow', '{}'), towpath.enqueue('tow', '{}')`)
	_, err := pool.Exec(t.Context(), `CREATE UNIQUE INDEX CONCURRENTLY mine ON towpath.river_job (kind)`)
	require.Error(t, err)
	enrol(t, pool, "a")
	lead(t, pool, "a")
	report := examine(t, pool, doctor.Options{})
	require.Equal(t, "the index towpath.mine is invalid: it is written and never read", report.Findings[0].What)
	require.Equal(t, "REINDEX INDEX CONCURRENTLY towpath.mine;", report.Findings[0].Mend)
	exec(t, pool, `DELETE FROM towpath.river_job`)
	exec(t, pool, report.Findings[0].Mend)
	require.True(t, examine(t, pool, doctor.Options{}).Healthy())
}

// statements splits a script at semicolons at the end of lines, outside of the bodies of functions.
func statements(script string) (all []string) {
	var (
		current []byte
		quoted  string
	)
	for line := range strings.Lines(script) {
		current = append(current, line...)
		switch strings.TrimSpace(line) {
		case "BEGIN ATOMIC":
			quoted = "END"
		case quoted + ";":
			quoted = ""
		}
		for _, tag := range dollar.FindAllString(line, -1) {
			switch quoted {
			case "":
				quoted = tag
			case tag:
				quoted = ""
			}
		}
		if quoted == "" && strings.HasSuffix(strings.TrimSpace(line), ";") {
			all = append(all, string(current))
			current = nil
		}
	}
	return all
}

var dollar = regexp.MustCompile(`\$\w*\$`)

// What another build's migrations would have made is missing, and nothing that is there or that somebody added.
func TestMissing(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	missing, err := doctor.Missing(t.Context(), pool)
	require.NoError(t, err)
	require.Empty(t, missing)
	for _, change := range []string{"DROP FUNCTION towpath.pause_queue", "DROP VIEW towpath.failures", "DROP INDEX towpath.towpath_job_due_idx", "CREATE TABLE towpath.mine (id int)"} {
		_, err := pool.Exec(t.Context(), change)
		require.NoError(t, err)
	}
	missing, err = doctor.Missing(t.Context(), pool)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"function towpath.pause_queue(text,text)", "view failures"}, missing)
}
