package probe_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/probe"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
)

const role = "towpath_probe"

func runner(t *testing.T, pool *pgxpool.Pool, roles ...string) *probe.Runner {
	t.Helper()
	if roles == nil {
		roles = []string{role}
	}
	return probe.New(probe.Config{Pool: pool, Roles: roles, AtOnce: 2, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err, sql)
}

func one[T any](t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), sql, args...).Scan(&value), sql)
	return value
}

// shop makes tables, one of which probes may read.
func shop(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := testdb.Pool(t)
	exec(t, pool, `CREATE SCHEMA shop`)
	exec(t, pool, `CREATE TABLE shop.orders (id int PRIMARY KEY, region text, amount numeric, paid boolean, at timestamptz DEFAULT '2026-01-02 03:04:05+00', doc json)`)
	exec(t, pool, `INSERT INTO shop.orders VALUES (1, 'north', 10.5, true), (2, 'north', 4, false), (3, 'south', 7, true)`)
	exec(t, pool, `CREATE TABLE shop.secret (word text)`)
	exec(t, pool, `INSERT INTO shop.secret VALUES ('geheim')`)
	exec(t, pool, `CREATE SEQUENCE shop.numbers`)
	exec(t, pool, `GRANT USAGE ON SCHEMA shop TO towpath_probe`)
	exec(t, pool, `GRANT ALL ON shop.orders, shop.numbers TO towpath_probe`)
	return pool
}

// definition completes one as the database does.
func definition(t *testing.T, pool *pgxpool.Pool, d map[string]any) *probe.Definition {
	t.Helper()
	if d["every"] == nil {
		d["every"] = 60
	}
	document, err := json.Marshal(d)
	require.NoError(t, err)
	read, err := probe.Read(one[json.RawMessage](t, pool, `SELECT towpath.full_probe($1)`, document))
	require.NoError(t, err)
	return read
}

func ask(t *testing.T, pool *pgxpool.Pool, d map[string]any) store.ProbeEnd {
	t.Helper()
	return runner(t, pool).Run(t.Context(), definition(t, pool, d))
}

func TestRowsBecomeSeries(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	for _, test := range []struct {
		query string
		keys  []string
		want  map[string]float64
	}{
		{`SELECT count(*) FROM shop.orders`, nil, map[string]float64{"count": 3}},
		{`SELECT count(*) AS orders, sum(amount) AS amount, bool_and(paid) AS paid FROM shop.orders`, nil, map[string]float64{"orders": 3, "amount": 21.5, "paid": 0}},
		{`SELECT region, count(*) FROM shop.orders GROUP BY region`, nil, map[string]float64{"north": 2, "south": 1}},
		{`SELECT region, count(*), sum(amount) FROM shop.orders GROUP BY region`, nil, map[string]float64{"north/count": 2, "north/sum": 14.5, "south/count": 1, "south/sum": 7}},
		{`SELECT id, amount FROM shop.orders`, []string{"id"}, map[string]float64{"1": 10.5, "2": 4, "3": 7}},
		{`SELECT id, region, amount FROM shop.orders WHERE id = 1`, []string{"region", "id"}, map[string]float64{"1/north": 10.5}},
		{`SELECT CASE WHEN id > 1 THEN region END, max(amount) FROM shop.orders WHERE id < 3 GROUP BY 1`, nil, map[string]float64{"NULL": 10.5, "north": 4}},
		{`SELECT region, nullif(sum(amount), 7) FROM shop.orders GROUP BY region`, nil, map[string]float64{"north": 14.5}},
		{`SELECT 'a' AS n, 'NaN'::float8 AS v UNION ALL SELECT 'b', 'Infinity' UNION ALL SELECT 'c', 1`, nil, map[string]float64{"c": 1}},
		{"VALUES ('x', 1) -- a comment", nil, map[string]float64{"x": 1}},
		{`SELECT at, 1 AS n FROM shop.orders WHERE id = 1`, nil, map[string]float64{"2026-01-02T03:04:05+00:00": 1}},
	} {
		end := ask(t, pool, map[string]any{"query": test.query, "key_columns": test.keys})
		require.Equal(t, probe.OK, end.Outcome, "%s: %s", test.query, end.Detail)
		require.Equal(t, test.want, end.Found.Values, test.query)
		require.Positive(t, end.Took)
		require.Equal(t, len(test.want) == 1, end.Value != nil, "one series has a value that is the probe's")
	}
}

func TestRowsThatAreNoSeries(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	for query, want := range map[string]string{
		`SELECT region FROM shop.orders`:                                    "the query has no column of numbers",
		`SELECT amount FROM shop.orders`:                                    "the query returned 3 rows and no column that tells them apart; select a text as well, or name key columns",
		`SELECT region, amount FROM shop.orders`:                            `the series "north" comes twice`,
		`SELECT 1 AS a, 2 AS a`:                                             `the query has two columns named "a"`,
		`SELECT g::text AS t, g FROM generate_series(1, 101) g`:             "the query returned more than 100 rows",
		`SELECT g::text, g, g FROM generate_series(1, 51) g`:                `the query has two columns named "g"`,
		`SELECT g::text AS t, g AS a, g AS b FROM generate_series(1, 51) g`: "51 rows with 2 numbers each, more than 100 series",
		`SELECT repeat('x', 60000) || g, g FROM generate_series(1, 100) g`:  "more than 4194304; select less",
		`SELECT 1/0 AS n`: "division by zero",
	} {
		end := ask(t, pool, map[string]any{"query": query})
		require.Equal(t, probe.Failed, end.Outcome, query)
		require.Contains(t, end.Detail, want, query)
		require.Nil(t, end.Found, query)
	}
}

// A source without anything is no zero.
func TestEmpty(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	for query, want := range map[string]string{
		`SELECT region, amount FROM shop.orders WHERE id > 3`: "the query returned nothing",
		`SELECT max(amount) FROM shop.orders WHERE id > 3`:    "the query returned nothing but NULL",
	} {
		end := ask(t, pool, map[string]any{"query": query})
		require.Equal(t, probe.Empty, end.Outcome)
		require.Equal(t, want, end.Detail)
		require.Nil(t, end.Found)
		end = ask(t, pool, map[string]any{"query": query, "empty_is_fine": true})
		require.Equal(t, probe.OK, end.Outcome)
		require.Empty(t, end.Found.Values)
	}
	require.Equal(t, probe.OK, ask(t, pool, map[string]any{"query": `SELECT count(*) FROM shop.orders WHERE id > 3`}).Outcome, "a count of nothing is a count")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	query := `SELECT region, sum(amount) FROM shop.orders GROUP BY region`
	for _, test := range []struct {
		above, below any
		outcome      string
		detail       string
		value        any
	}{
		{14.5, 7, probe.OK, "", nil},
		{14, nil, probe.Beyond, "north is 14.5, above 14", 14.5},
		{nil, 7.5, probe.Beyond, "south is 7, below 7.5", 7.0},
		{5, nil, probe.Beyond, "north is 14.5, above 5; with it 1 more are beyond", 14.5},
		{14, 13, probe.Beyond, "south is 7, below 13; with it 1 more are beyond", 7.0},
	} {
		end := ask(t, pool, map[string]any{"query": query, "alert_above": test.above, "alert_below": test.below})
		require.Equal(t, test.outcome, end.Outcome)
		require.Equal(t, test.detail, end.Detail)
		require.Len(t, end.Found.Values, 2, "they are kept in any case")
		if test.value != nil {
			require.InDelta(t, test.value, *end.Value, 0)
		}
	}
}

// Whatever a query tries, it reads what its role may read, and that is all. It need not have come by put_probe.
func TestNothingEscapes(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `CREATE FUNCTION shop.write() RETURNS integer LANGUAGE sql AS 'DELETE FROM shop.orders RETURNING 1'`)
	for query, want := range map[string]string{
		`COMMIT; DELETE FROM shop.orders`:                        "cannot insert multiple commands into a prepared statement",
		`SELECT 1; DELETE FROM shop.orders`:                      "cannot insert multiple commands into a prepared statement",
		`SELECT 1) q; DELETE FROM shop.orders; SELECT (SELECT 1`: "syntax error",
		`COMMIT`:                      "the query returns no columns",
		`ROLLBACK`:                    "the query returns no columns",
		`RESET ROLE`:                  "the query returns no columns",
		`SET ROLE NONE`:               "the query returns no columns",
		`RESET SESSION AUTHORIZATION`: "the query returns no columns",
		`DELETE FROM shop.orders`:     "the query returns no columns",
		`SHOW role`:                   "the query has no column of numbers",
		`EXPLAIN ANALYZE DELETE FROM shop.orders`:                                  "the query has no column of numbers",
		`DELETE FROM shop.orders RETURNING id`:                                     "syntax error",
		`WITH d AS (DELETE FROM shop.orders RETURNING id) SELECT id FROM d`:        "WITH clause containing a data-modifying statement must be at the top level",
		`SELECT shop.write()`:                                                      "cannot execute DELETE in a read-only transaction",
		`SELECT nextval('shop.numbers')`:                                           "cannot execute nextval() in a read-only transaction",
		`SELECT id FROM shop.orders FOR UPDATE`:                                    "cannot execute SELECT FOR UPDATE in a read-only transaction",
		`SELECT count(*) FROM shop.secret`:                                         "permission denied for table secret; grant the role towpath_probe what the query needs",
		`SELECT count(*) FROM towpath.river_job`:                                   "permission denied for table river_job",
		`SELECT set_config('role', 'none', true) AS r, 1 AS n`:                     `cannot set parameter "role" within security-definer function`,
		`SELECT set_config('session_authorization', 'default', true) AS r, 1 AS n`: `within security-definer function`,
		`SELECT set_config('transaction_read_only', 'off', true) AS r, 1 AS n`:     "transaction read-write mode must be set before any query",
		`SELECT query_to_xml('SELECT set_config(''role'', ''none'', true)', true, true, '')::text AS a, query_to_xml('TABLE shop.secret', true, true, '')::text AS b, 1 AS n`: "within security-definer function",
		`SELECT query_to_xml('DELETE FROM shop.orders', true, true, '')::text, 1 AS n`:                                                                                        "DELETE is not allowed in a non-volatile function",
		`SELECT set_config('statement_timeout', '0', true), pg_sleep(100)::text, 1 AS n`:                                                                                      "the query took longer than its timeout, 500ms",
		`SELECT count(*) FROM generate_series(1, 1000000000000)`:                                                                                                              "the query took longer than its timeout, 500ms",
		`SELECT $1::integer AS n`: "there is no parameter $1",
	} {
		end := ask(t, pool, map[string]any{"query": query, "timeout": 0.5})
		require.Equal(t, probe.Failed, end.Outcome, query)
		require.Contains(t, end.Detail, want, query)
		require.NotContains(t, end.Detail, "geheim")
	}
	require.Equal(t, 3, one[int](t, pool, `SELECT count(*) FROM shop.orders`))
	require.False(t, one[bool](t, pool, `SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'towpath_probe')`), "nothing stays behind")
	end := ask(t, pool, map[string]any{"query": "SELECT current_user, 1 AS n"})
	require.Equal(t, map[string]float64{role: 1}, end.Found.Values)
}

// Where a probe may not run, it says what to do.
func TestRoles(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	super := testdb.Super(t, pool)
	for _, test := range []struct {
		roles []string
		role  string
		want  string
	}{
		{[]string{role}, "postgres", `role "postgres" is not allowed; this leader allows towpath_probe (TOWPATH_PROBES_ROLES)`},
		{[]string{}, "postgres", `role "postgres" is not allowed; this leader allows none`},
		{[]string{"nobody_there"}, "", "the role nobody_there, under which probes run, does not exist; as an administrator: CREATE ROLE nobody_there;"},
		{[]string{one[string](t, super, `SELECT current_user::text`)}, "", "the login of the leader may not take on the role"},
	} {
		end := probe.New(probe.Config{Pool: pool, Roles: test.roles}).Run(t.Context(), definition(t, pool, map[string]any{"query": "SELECT 1 AS n", "role": test.role}))
		require.Equal(t, probe.Failed, end.Outcome)
		require.Contains(t, end.Detail, test.want)
	}
	// With a login that has no rights of its own no role is needed.
	config := pool.Config().ConnConfig
	login := "watcher_" + config.Database
	exec(t, super, `CREATE ROLE `+login+` LOGIN PASSWORD 'pass'`)
	exec(t, super, `GRANT USAGE ON SCHEMA shop TO `+login)
	t.Cleanup(func() {
		_, err := super.Exec(context.WithoutCancel(t.Context()), `DROP OWNED BY `+login+`; DROP ROLE `+login)
		require.NoError(t, err)
	})
	url := strings.Replace(pool.Config().ConnString(), config.User, login, 1)
	end := probe.New(probe.Config{Pool: pool, URL: url}).Run(t.Context(), definition(t, pool, map[string]any{"query": "SELECT current_user, 1 AS n"}))
	require.Equal(t, probe.OK, end.Outcome, end.Detail)
	require.Equal(t, map[string]float64{login: 1}, end.Found.Values)
	end = probe.New(probe.Config{Pool: pool, URL: url}).Run(t.Context(), definition(t, pool, map[string]any{"query": "SELECT count(*) FROM shop.orders"}))
	require.Equal(t, "permission denied for table orders", end.Detail)
	end = probe.New(probe.Config{Pool: pool, URL: "postgres://nobody:geheim@127.0.0.1:1/x?connect_timeout=1"}).Run(t.Context(), definition(t, pool, map[string]any{"query": "SELECT 1 AS n"}))
	require.Contains(t, end.Detail, "reach the database of TOWPATH_PROBES_DATABASE_URL")
	require.NotContains(t, end.Detail, "geheim")
}

func TestErrorsHaveAPlace(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	end := ask(t, pool, map[string]any{"query": "SELECT count(*)\nFROM shop.ordrs"})
	require.Equal(t, `relation "shop.ordrs" does not exist (line 2, character 6)`, end.Detail)
	line, char := probe.Place("SELECT 'ä',\n  totl", 15)
	require.Equal(t, []int{2, 3}, []int{line, char})
}
