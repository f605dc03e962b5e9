package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestPutProbe(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	exec(t, tx, `CREATE TABLE orders (id int, region text, amount numeric)`)
	put := `SELECT name, changed, holds FROM towpath.put_probe('shop/orders', E'SELECT count(*) FROM orders ;\n', '5 minutes')`
	require.Equal(t, "shop/orders|t|edited", row(t, tx, put))
	require.Equal(t, "shop/orders|f|edited", row(t, tx, put))
	require.Equal(t, "pending|SELECT count(*) FROM orders|00:05:00|00:00:10|{}|f|run time|edited", row(t, tx,
		`SELECT status, query, every, timeout, key_columns, empty_is_fine, defined_in, holds FROM towpath.probes`))
	exec(t, tx, `SELECT towpath.put_probe('quick', 'TABLE orders', '2 seconds', description => 'd')`)
	require.Equal(t, "00:00:02|d", row(t, tx, `SELECT timeout, description FROM towpath.probes WHERE name = 'quick'`))
	exec(t, tx, `SELECT towpath.put_probe('two', 'TABLE orders', '1 hour', 'SELECT * FROM orders', key_columns => '{id}')`)
	require.Equal(t, "0|{id}", row(t, tx, `SELECT alert_above, key_columns FROM towpath.probes WHERE name = 'two'`), "a comparison is to find nothing")
	exec(t, tx, `SELECT towpath.put_probe('two', 'TABLE orders', '1 hour', 'SELECT * FROM orders', alert_below => 4)`)
	require.Equal(t, "4", row(t, tx, `SELECT alert_below FROM towpath.probes WHERE name = 'two' AND alert_above IS NULL`))
	require.Equal(t, "4", row(t, tx, `SELECT count(*) FROM towpath.audit WHERE target LIKE 'probe %' AND action = 'put_probe'`))
}

func TestPutProbeRefuses(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	exec(t, tx, `CREATE TABLE orders (id int, region text, amount numeric)`)
	for _, test := range []struct{ call, code, message string }{
		{`' a', 'SELECT 1', '1 hour'`, "22023", `name " a" must have 1 to 200 characters`},
		{`NULL, 'SELECT 1', '1 hour'`, "22023", `name NULL must have`},
		{`'a', NULL, '1 hour'`, "22023", `query NULL is no query`},
		{`'a', '', '1 hour'`, "22023", `query NULL is no query`},
		{`'a', 'DELETE FROM orders', '1 hour'`, "22023", `query "DELETE FROM orders" is no query`},
		{`'a', 'COMMIT; DELETE FROM orders', '1 hour'`, "22023", `is no query`},
		{`'a', 'RESET ROLE', '1 hour'`, "22023", `is no query`},
		{`'a', 'SELECT 1; DELETE FROM orders', '1 hour'`, "22023", `a probe's query is one statement, and "SELECT 1; DELETE FROM orders" holds more`},
		{`'a', 'SELECT 1) q, (SELECT 2', '1 hour'`, "42601", `syntax error at or near ")"`},
		{`'a', 'WITH d AS (DELETE FROM orders RETURNING 1) SELECT * FROM d', '1 hour'`, "0A000", `WITH clause containing a data-modifying statement must be at the top level`},
		{`'a', 'SELECT 1 INTO mine', '1 hour'`, "42601", `SELECT ... INTO is not allowed here`},
		{`'a', 'SELECT totl FROM orders', '1 hour'`, "42703", `column "totl" does not exist`},
		{`'a', 'SELECT count(*) FROM ordrs', '1 hour'`, "42P01", `relation "ordrs" does not exist`},
		{`'a', 'SELECT $1', '1 hour'`, "42P02", `there is no parameter $1`},
		{`'a', 'SELECT 1', '0 seconds'`, "22023", `every 00:00:00 must be from one second to 366 days`},
		{`'a', 'SELECT 1', '-5 minutes'`, "22023", `every -00:05:00 must be from`},
		{`'a', 'SELECT 1', NULL`, "22023", `every NULL must be from`},
		{`'a', 'SELECT 1', '2 years'`, "22023", `every 17532:00:00 must be from`},
		{`'a', 'SELECT 1', '1 hour', timeout => '2 hours'`, "22023", `timeout 02:00:00 must be more than nothing, and no more than every, 01:00:00, or an hour`},
		{`'a', 'SELECT 1', '1 hour', timeout => '0'`, "22023", `timeout 00:00:00 must be`},
		{`'a', 'SELECT 1', '1 hour', examples => 101`, "22023", `examples 101 must be from 0 to 100`},
		{`'a', 'SELECT 1', '1 hour', alert_above => 'NaN'`, "22023", `alert_above NaN is no limit`},
		{`'a', 'SELECT 1', '1 hour', alert_above => 1, alert_below => 2`, "22023", `alert_above 1 is below alert_below 2`},
		{`'a', 'TABLE orders', '1 hour', key_columns => '{id,id}'`, "22023", `key_columns {id,id} must be up to 16 names, each once`},
		{`'a', 'TABLE orders', '1 hour', key_columns => '{town}'`, "22023", `key column "town" is none of the query`},
		{`'a', 'TABLE orders', '1 hour', 'SELECT id FROM orders', key_columns => '{region}'`, "22023", `key column "region" is none of the query compared with`},
		{`'a', 'TABLE orders', '1 hour', 'SELECT id FROM orders'`, "22023", `the two queries have different columns: each UNION query must have the same number of columns`},
		{`'a', 'SELECT id FROM orders', '1 hour', 'SELECT region FROM orders'`, "22023", `the two queries have different columns: UNION types integer and text cannot be matched`},
		{`'a', 'SELECT id FROM orders', '1 hour', 'nope'`, "22023", `compare_with "nope" is no query`},
	} {
		savepoint(t, tx, func(tx pgx.Tx) {
			_, err := tx.Exec(t.Context(), `SELECT * FROM towpath.put_probe(`+test.call+`)`)
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr, test.call)
			require.Equal(t, test.code, pgErr.Code, "%s: %s", test.call, pgErr.Message)
			require.Contains(t, pgErr.Message, test.message, test.call)
			if pgErr.Code == "22023" {
				require.NotEmpty(t, pgErr.Hint, test.call)
			}
		})
	}
	savepoint(t, tx, func(tx pgx.Tx) {
		require.Equal(t, "22023", refused(t, tx, `SELECT towpath.define_probe('a', '{"query": "SELECT 1", "every": 60, "evry": 1}')`).Code)
	})
	for _, fine := range []string{
		"-- a comment\nSELECT 1", "/* a * comment */ (SELECT 1)", "VALUES (1)", "WITH a AS (SELECT 1 AS n) SELECT n FROM a", "SELECT 1 AS n -- behind it", "select '%s; %I' AS a, 1 AS n",
	} {
		savepoint(t, tx, func(tx pgx.Tx) { exec(t, tx, `SELECT towpath.put_probe('fine', $1, '1 hour')`, fine) })
	}
}

// Who puts a probe is lent nobody's rights: what the query names is looked up and not called.
func TestPutProbeLendsNoRights(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	super := testdb.Super(t, pool)
	exec(t, super, `CREATE SCHEMA evil`)
	exec(t, super, `GRANT ALL ON SCHEMA evil TO towpath_operator`)
	tx, err := super.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	exec(t, tx, `SET LOCAL ROLE towpath_operator`)
	exec(t, tx, `CREATE FUNCTION evil.who() RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'planned by %', current_user; END $$`)
	exec(t, tx, `SELECT towpath.put_probe('a', 'SELECT evil.who()', '1 hour', 'SELECT evil.who()')`)
}
