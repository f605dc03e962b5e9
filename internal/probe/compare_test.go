package probe_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/probe"
)

const (
	classic = `SELECT id, region, amount FROM shop.orders`
	modern  = `SELECT id, region, amount FROM shop.modern`
)

func TestComparison(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	exec(t, pool, `CREATE TABLE shop.modern AS SELECT * FROM shop.orders`)
	exec(t, pool, `GRANT SELECT ON shop.modern TO towpath_probe`)
	both := map[string]any{"query": classic, "compare_with": modern}

	end := ask(t, pool, both)
	require.Equal(t, probe.OK, end.Outcome, end.Detail)
	require.Equal(t, map[string]float64{"missing": 0, "extra": 0, "rows": 3, "rows compared with": 3}, end.Found.Values)
	require.Zero(t, *end.Value)
	require.Empty(t, end.Found.Examples)

	// A record deleted, one added, one changed: by all columns, and by the key.
	exec(t, pool, `DELETE FROM shop.modern WHERE id = 1`)
	exec(t, pool, `INSERT INTO shop.modern VALUES (4, NULL, 1)`)
	exec(t, pool, `UPDATE shop.modern SET amount = 8 WHERE id = 3`)
	end = ask(t, pool, both)
	require.Equal(t, probe.Beyond, end.Outcome)
	require.Equal(t, "extra is 2, above 0; with it 1 more are beyond", end.Detail)
	require.Equal(t, map[string]float64{"missing": 2, "extra": 2, "rows": 3, "rows compared with": 3}, end.Found.Values)
	require.Equal(t, map[string][]string{"missing": {"1, north, 10.5", "3, south, 7"}, "extra": {"3, south, 8", "4, NULL, 1"}}, end.Found.Examples)

	keyed := maps.Clone(both)
	keyed["key_columns"] = []string{"id"}
	end = ask(t, pool, keyed)
	require.Equal(t, map[string]float64{"missing": 1, "extra": 1, "differing": 1, "rows": 3, "rows compared with": 3}, end.Found.Values)
	require.Equal(t, map[string][]string{"missing": {"1"}, "extra": {"4"}, "differing": {"3"}}, end.Found.Examples)
	require.EqualValues(t, 1, *end.Found.Missing)
	require.EqualValues(t, 1, *end.Found.Differing)

	keyed["alert_above"], keyed["examples"] = 1, 0
	end = ask(t, pool, keyed)
	require.Equal(t, probe.OK, end.Outcome, "within the limit")
	require.InDelta(t, 3, *end.Value, 0)
	require.Empty(t, end.Found.Examples)
	keyed["alert_above"] = 2.5
	require.Equal(t, probe.OK, ask(t, pool, keyed).Outcome, "how many rows there are is not judged")

	// An emptied source is no difference.
	exec(t, pool, `DELETE FROM shop.modern`)
	end = ask(t, pool, both)
	require.Equal(t, probe.Empty, end.Outcome)
	require.Equal(t, "the query compared with returned nothing", end.Detail)
	require.Nil(t, end.Found)
	fine := maps.Clone(both)
	fine["empty_is_fine"] = true
	require.Equal(t, map[string]float64{"missing": 3, "extra": 0, "rows": 3, "rows compared with": 0}, ask(t, pool, fine).Found.Values)
	exec(t, pool, `DELETE FROM shop.orders`)
	require.Equal(t, "both queries returned nothing", ask(t, pool, both).Detail)
	exec(t, pool, `INSERT INTO shop.modern VALUES (4, NULL, 1)`)
	require.Equal(t, "the query returned nothing", ask(t, pool, both).Detail)
}

// A column may have any name, one that looks like a format too.
func TestComparisonOfOddColumns(t *testing.T) {
	t.Parallel()
	end := ask(t, shop(t), map[string]any{
		"query": `SELECT 1 AS id, 2 AS "share %s"`, "compare_with": `SELECT 1 AS id, 3 AS "share %s"`, "key_columns": []string{"id"},
	})
	require.Equal(t, probe.Beyond, end.Outcome, end.Detail)
	require.EqualValues(t, 1, *end.Found.Differing)
}

// A row that comes twice has to come twice on the other side as well.
func TestComparisonCountsRows(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	end := ask(t, pool, map[string]any{"query": `SELECT * FROM (VALUES (1, 'a'), (1, 'a'), (2, 'b')) v (n, "t""x")`, "compare_with": `VALUES (1, 'a'), (2, 'b'), (3, 'c')`})
	require.Contains(t, end.Detail, `column 1 is "n", and "column1"; select the same in the same order, and name them with AS`)
	end = ask(t, pool, map[string]any{
		"query":        `SELECT * FROM (VALUES (1, 'a'), (1, 'a'), (2, 'b')) v (n, "t""x") -- a comment`,
		"compare_with": `SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) v (n, "t""x")`,
	})
	require.Equal(t, map[string]float64{"missing": 1, "extra": 1, "rows": 3, "rows compared with": 3}, end.Found.Values, end.Detail)
	require.Equal(t, map[string][]string{"missing": {"1, a"}, "extra": {"3, c"}}, end.Found.Examples)
	end = ask(t, pool, map[string]any{
		"query":        `SELECT g AS n FROM generate_series(1, 1000) g`,
		"compare_with": `SELECT g AS n FROM generate_series(501, 1500) g`, "examples": 3,
	})
	require.Equal(t, map[string][]string{"missing": {"1", "2", "3"}, "extra": {"1001", "1002", "1003"}}, end.Found.Examples)
}

func TestComparisonsThatCannotBe(t *testing.T) {
	t.Parallel()
	pool := shop(t)
	for other, want := range map[string]string{
		`SELECT id FROM shop.orders`:                                    "the two queries have different columns: id, region, amount, and id; select the same in the same order",
		`SELECT region, id, amount FROM shop.orders`:                    `the two queries have different columns: column 1 is "id", and "region"`,
		`SELECT id::bigint AS id, region, amount FROM shop.orders`:      `"id" is not of the same type in both; cast one of them`,
		`SELECT id, region, amount FROM shop.orders WHERE amount > 1/0`: "division by zero",
		`SELECT id, region, amount FROM shop.secret`:                    `column "id" does not exist`,
		`RESET ROLE`: "the query compared with: the query returns no columns",
	} {
		end := ask(t, pool, map[string]any{"query": classic, "compare_with": other})
		require.Equal(t, probe.Failed, end.Outcome, other)
		require.Contains(t, end.Detail, want, other)
	}
	end := ask(t, pool, map[string]any{"query": classic, "compare_with": classic, "key_columns": []string{"town"}})
	require.Equal(t, `key column "town" is none of the queries`, end.Detail)
	end = ask(t, pool, map[string]any{"query": `SELECT doc FROM shop.orders`, "compare_with": `SELECT doc FROM shop.orders`})
	require.Contains(t, end.Detail, "could not identify an equality operator for type json")
}
