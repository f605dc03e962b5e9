package migrations_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// unnoticed are what nobody has to be told about: River's own, partitions and sequences (their parents are tried), and
// what says of itself that it is internal.
const unnoticed = `coalesce(obj_description(o.oid, o.catalog), '') LIKE 'Internal:%' OR o.name LIKE 'river\_%'`

// everybodys are functions that read nothing, or write with the rights of who calls.
const everybodys = `'duration_bucket', 'ensure_partitions', 'river_job_state_in_bitmask'`

// objects are the relations and functions of the schema.
const objects = `
	SELECT c.oid, 'pg_class' AS catalog, c.relname::text AS name, c.relkind::text AS kind FROM pg_class c
	WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
	UNION ALL
	SELECT p.oid, 'pg_proc', p.proname::text, 'function' FROM pg_proc p WHERE p.pronamespace = 'towpath'::regnamespace`

var triedName = regexp.MustCompile(`towpath\.(\w+)`)

// Whatever a migration adds has to be granted or withheld, and tried in the table of attempts.
func TestRightsAreDecidedForEverything(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	tried, allowed := []string{}, map[string][]string{"towpath_producer": {}, "towpath_reader": {}, "towpath_operator": {}}
	for _, attempt := range attempts {
		for _, match := range triedName.FindAllStringSubmatch(attempt.sql, -1) {
			tried = append(tried, match[1])
			for role, may := range map[string]bool{
				"towpath_producer": attempt.producer, "towpath_reader": attempt.reader, "towpath_operator": attempt.operator,
			} {
				if may {
					allowed[role] = append(allowed[role], match[1])
				}
			}
		}
	}
	require.Empty(t, all[string](t, tx, `SELECT kind || ' ' || name FROM (`+objects+`) o
		WHERE kind IN ('v', 'm', 'function') AND NOT (`+unnoticed+`) AND name <> ALL ($1::text[]) AND name NOT IN (`+everybodys+`) ORDER BY 1`, tried),
		"in no row of attempts (roles_test.go): who may use it?")

	for role, names := range allowed {
		held := all[string](t, tx, `SELECT kind || ' ' || name FROM (`+objects+`) o
			WHERE name <> ALL ($2::text[]) AND name NOT IN (`+everybodys+`) AND CASE kind
				WHEN 'function' THEN has_function_privilege($1, o.oid, 'EXECUTE')
				WHEN 'S' THEN has_sequence_privilege($1, o.oid, 'USAGE, SELECT, UPDATE')
				ELSE has_table_privilege($1, o.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
					OR has_any_column_privilege($1, o.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END ORDER BY 1`, role, names)
		require.ElementsMatch(t, helpers(role), held, "what %s may use and no attempt shows", role)

		// What they may read they may not write.
		require.Empty(t, all[string](t, tx, `SELECT name FROM (`+objects+`) o WHERE kind IN ('r', 'p', 'v', 'm')
			AND has_table_privilege($1, o.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')`, role), role)
	}
}

// The grants that docs/sql.md shows, for those who cannot have our roles, are those of our roles.
func TestDocumentedGrantsAreThoseOfTheRoles(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	doc, err := os.ReadFile("../docs/sql.md")
	require.NoError(t, err)
	block := ""
	for _, match := range sqlBlock.FindAllStringSubmatch(string(doc), -1) {
		if strings.Contains(match[2], "CREATE ROLE shop;") {
			block = match[2]
		}
	}
	require.NotEmpty(t, block)
	_, err = tx.Conn().PgConn().Exec(t.Context(), block).ReadAll()
	require.NoError(t, err)
	rights := func(role string) []string {
		return all[string](t, tx, `SELECT kind || ' ' || name FROM (`+objects+`) o WHERE CASE kind
			WHEN 'function' THEN has_function_privilege($1, o.oid, 'EXECUTE')
			WHEN 'S' THEN has_sequence_privilege($1, o.oid, 'USAGE, SELECT, UPDATE')
			ELSE has_table_privilege($1, o.oid, 'SELECT, INSERT, UPDATE, DELETE') END ORDER BY 1`, role)
	}
	require.Equal(t, rights("towpath_producer"), rights("shop"))
	require.Equal(t, rights("towpath_operator"), rights("support"))
}

// helpers are functions that views call with the rights of who looks.
func helpers(role string) []string {
	if role == "towpath_producer" {
		return []string{}
	}
	return []string{"function alert_defaults", "function alert_rule_for", "function glob_matches", "function key_holder", "function probe_detail", "function run_outcome"}
}
