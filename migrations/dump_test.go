package migrations_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

const dumpFile = "../testdata/schema.sql"

var updateDump = flag.Bool("update", false, "write testdata/schema.sql anew")

const dumpHead = `-- The schema as the migrations leave it, for people and for sqlc. Written by
--
--     go test ./migrations -run TestSchemaDump -update
--
-- from the catalogs, in words that every version of Postgres has alike: relations, columns, indexes, constraints and
-- signatures. It is to be read, not to be run: what is inside of functions is left out, a view is shown by the types of
-- its columns, and the daily partitions are missing.

CREATE SCHEMA towpath;
`

// The statements of the dump, each from one row of the catalogs.
const dumpSQL = `
	SELECT part, text FROM (
		SELECT 1 AS part, t.typname::text AS name, format(E'CREATE TYPE towpath.%I AS ENUM (\n    %s\n);', t.typname,
			(SELECT string_agg(quote_literal(e.enumlabel), E',\n    ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)) AS text
		FROM pg_type t WHERE t.typnamespace = 'towpath'::regnamespace AND t.typtype = 'e'
	UNION ALL
		SELECT 2, c.relname::text, format('CREATE SEQUENCE towpath.%I;', c.relname)
		FROM pg_class c WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind = 'S'
			AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i') -- of an identity
	UNION ALL
		SELECT 3, CASE WHEN c.relispartition THEN 'z' ELSE '' END || c.relname, CASE WHEN c.relispartition
			THEN format('CREATE TABLE towpath.%I PARTITION OF %s %s', c.relname, (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = c.oid),
				pg_get_expr(c.relpartbound, c.oid))
			ELSE format('CREATE %sTABLE towpath.%I (%s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, c.relname, E'\n    ')
				|| concat_ws(E',\n    ', (SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
						CASE WHEN a.attidentity <> '' THEN 'GENERATED ALWAYS AS IDENTITY' END,
						CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)), E',\n    ' ORDER BY a.attnum)
					FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
					WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
					(SELECT string_agg(format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), E',\n    ' ORDER BY k.conname)
					FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'c', 'x')))
				|| E'\n)' END
			|| coalesce(' PARTITION BY ' || pg_get_partkeydef(c.oid), '') || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') || ';'
		FROM pg_class c WHERE c.relnamespace = 'towpath'::regnamespace AND (c.relkind = 'p' OR c.relkind = 'r' AND NOT c.relispartition)
	UNION ALL
		SELECT 4, k.conrelid::regclass || k.conname, format('ALTER TABLE %s ADD CONSTRAINT %I %s;', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
		FROM pg_constraint k WHERE k.connamespace = 'towpath'::regnamespace AND k.contype = 'f' AND k.conparentid = 0
	UNION ALL
		SELECT 5, c.relname::text, pg_get_indexdef(c.oid) || ';'
		FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class o ON o.oid = i.indrelid
		WHERE c.relnamespace = 'towpath'::regnamespace AND NOT o.relispartition
			AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
	UNION ALL
		SELECT 6, p.proname || '(' || pg_get_function_identity_arguments(p.oid), format('CREATE %s towpath.%I(%s)%s LANGUAGE %s%s AS $$ … $$;',
			CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.proname, pg_get_function_arguments(p.oid), ' RETURNS ' || pg_get_function_result(p.oid), l.lanname,
			CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE '' END)
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'towpath'::regnamespace
	UNION ALL
		SELECT 7, c.relname::text, format(E'CREATE %sVIEW towpath.%I AS SELECT\n    %s;', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' ELSE '' END, c.relname,
			(SELECT string_agg(format('NULL::%s AS %I', format_type(a.atttypid, a.atttypmod), a.attname), E',\n    ' ORDER BY a.attnum)
			FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
		FROM pg_class c WHERE c.relnamespace = 'towpath'::regnamespace AND c.relkind IN ('v', 'm')
	UNION ALL
		SELECT 8, g.tgrelid::regclass || g.tgname, pg_get_triggerdef(g.oid) || ';'
		FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid WHERE c.relnamespace = 'towpath'::regnamespace AND NOT g.tgisinternal AND g.tgparentid = 0
	) statements ORDER BY part, name COLLATE "C"`

// The dump is what a fresh database holds.
func TestSchemaDump(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	// Types are written with their schema, and times of day in one zone.
	exec(t, tx, `SET LOCAL search_path = pg_catalog`)
	rows, err := tx.Query(t.Context(), dumpSQL)
	require.NoError(t, err)
	defer rows.Close()
	var dump strings.Builder
	dump.WriteString(dumpHead)
	for rows.Next() {
		var (
			part int
			text string
		)
		require.NoError(t, rows.Scan(&part, &text))
		dump.WriteString("\n" + text + "\n")
	}
	require.NoError(t, rows.Err())

	if *updateDump {
		require.NoError(t, os.WriteFile(dumpFile, []byte(dump.String()), 0o644)) //nolint:gosec // a file of the repository
	}
	kept, err := os.ReadFile(dumpFile)
	require.NoError(t, err)
	require.Equal(t, string(kept), dump.String(), "write it anew: go test ./migrations -run TestSchemaDump -update")
}
