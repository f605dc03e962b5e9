package probe

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/towpath/towpath/internal/store"
)

// The series of a comparison. The first three are what is judged.
const (
	seriesMissing   = "missing"
	seriesExtra     = "extra"
	seriesDiffering = "differing"
	seriesRows      = "rows"
	seriesOther     = "rows compared with"
)

// sameColumns says what keeps two queries from being compared.
func sameColumns(query, other []column) error {
	if len(query) != len(other) {
		return fmt.Errorf("the two queries have different columns: %s, and %s; select the same in the same order", list(query), list(other))
	}
	for i := range query {
		if query[i].name != other[i].name {
			return fmt.Errorf("the two queries have different columns: column %d is %q, and %q; select the same in the same order, and name them with AS",
				i+1, query[i].name, other[i].name)
		}
		if query[i].oid != other[i].oid {
			return fmt.Errorf("the two queries have different columns: %q is not of the same type in both; cast one of them", query[i].name)
		}
	}
	return nil
}

func list(columns []column) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// comparison is the statement that compares the rows of two queries by their keys: all columns, unless key columns are
// named; the others then are what may differ. A row that comes several times has to come as often on the other side. Each
// query stands between parentheses and new lines; that it is a whole statement was seen before.
func comparison(d *Definition, columns []column) (string, error) {
	for _, key := range d.KeyColumns {
		if !slices.ContainsFunc(columns, func(c column) bool { return c.name == key }) {
			return "", fmt.Errorf("key column %q is none of the queries", key)
		}
	}
	var keys, shown, order, values []string
	for _, c := range columns {
		name := pgx.Identifier{c.name}.Sanitize()
		if len(d.KeyColumns) > 0 && !slices.Contains(d.KeyColumns, c.name) {
			values = append(values, name)
			continue
		}
		place := fmt.Sprintf("%q", fmt.Sprintf("key %d", len(keys)+1))
		keys = append(keys, name+" AS "+place)
		order = append(order, place)
		shown = append(shown, "coalesce("+place+"::text, 'NULL')")
	}
	differs := "false"
	if len(values) > 0 {
		row := "(ROW(" + strings.Join(values, ", ") + ")::text)"
		side := func(not string) string { return "array_agg(DISTINCT " + row + ") FILTER (WHERE " + not + `"is other")` }
		differs = `bool_or(NOT "is other") AND bool_or("is other") AND ` + side("NOT ") + " IS DISTINCT FROM " + side("")
	}
	by := strings.Join(order, ", ")
	examples := func(which string) string {
		return fmt.Sprintf(`(SELECT coalesce(json_agg("shown"), '[]') FROM (SELECT left(concat_ws(', ', %s), 200) AS "shown" FROM "the keys" WHERE %s ORDER BY %s LIMIT %d) e)`,
			strings.Join(shown, ", "), which, by, d.Examples)
	}
	return fmt.Sprintf(`WITH "the rows" AS (
SELECT false AS "is other", q.* FROM (
%s
) AS q UNION ALL SELECT true, q.* FROM (
%s
) AS q), "the keys" AS (
SELECT %s, count(*) FILTER (WHERE NOT "is other") AS "here", count(*) FILTER (WHERE "is other") AS "there", %s AS "differs"
FROM "the rows" GROUP BY %s)
SELECT json_build_object('rows', coalesce(sum("here"), 0), 'other', coalesce(sum("there"), 0), 'missing', coalesce(sum(greatest("here" - "there", 0)), 0),
'extra', coalesce(sum(greatest("there" - "here", 0)), 0), 'differing', count(*) FILTER (WHERE "differs"), 'keyed', %t,
'examples', json_build_object('missing', %s, 'extra', %s, 'differing', %s)) FROM "the keys"`,
		d.Query, d.CompareWith, strings.Join(keys, ", "), differs, by, len(values) > 0,
		examples(`"here" > "there"`), examples(`"there" > "here"`), examples(`"differs"`)), nil
}

// compared is the result of a comparison.
type compared struct {
	Rows, Other, Missing, Extra, Differing int64
	Keyed                                  bool // whether values beside the keys were compared
	Examples                               map[string][]string
}

// end says how a comparison ended.
func (c *compared) end(d *Definition) store.ProbeEnd {
	if !d.EmptyIsFine && (c.Rows == 0 || c.Other == 0) {
		detail := "the query returned nothing"
		switch {
		case c.Rows == 0 && c.Other == 0:
			detail = "both queries returned nothing"
		case c.Other == 0:
			detail = "the query compared with returned nothing"
		}
		return store.ProbeEnd{Outcome: Empty, Detail: detail}
	}
	found := &store.ProbeFound{
		Missing: &c.Missing, Extra: &c.Extra, Examples: c.Examples,
		Values: map[string]float64{
			seriesMissing: float64(c.Missing), seriesExtra: float64(c.Extra), seriesRows: float64(c.Rows), seriesOther: float64(c.Other),
		},
	}
	judged := map[string]float64{seriesMissing: float64(c.Missing), seriesExtra: float64(c.Extra)}
	if c.Keyed {
		found.Differing = &c.Differing
		found.Values[seriesDiffering], judged[seriesDiffering] = float64(c.Differing), float64(c.Differing)
	}
	for kind, examples := range c.Examples {
		if len(examples) == 0 {
			delete(c.Examples, kind)
		}
	}
	end := judge(d, judged)
	end.Found = found
	if end.Outcome == OK {
		differences := float64(c.Missing + c.Extra + c.Differing)
		end.Value = &differences
	}
	return end
}

func readComparison(row []byte) (*compared, error) {
	c := &compared{}
	if err := json.Unmarshal(row, c); err != nil {
		return nil, fmt.Errorf("read the comparison: %w", err)
	}
	return c, nil
}
