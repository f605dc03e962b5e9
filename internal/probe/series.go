package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	// maxRows bounds the rows of a run, and so its series.
	maxRows = 100
	// maxName bounds a series' name.
	maxName = 200
)

// column is one of a query's result.
type column struct {
	name    string
	oid     uint32
	numeric bool
}

// columnsOf reads what Postgres says about a query's result.
func columnsOf(fields []pgconn.FieldDescription) ([]column, error) {
	if len(fields) == 0 {
		return nil, errors.New("the query returns no columns; write one statement that reads, such as SELECT count(*) FROM shop.orders")
	}
	columns := make([]column, len(fields))
	for i, f := range fields {
		columns[i] = column{name: f.Name, oid: f.DataTypeOID}
		switch f.DataTypeOID {
		case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID, pgtype.BoolOID:
			columns[i].numeric = true
		}
		if slices.ContainsFunc(columns[:i], func(c column) bool { return c.name == f.Name }) {
			return nil, fmt.Errorf("the query has two columns named %q; name one of them with AS", f.Name)
		}
	}
	return columns, nil
}

// split tells the columns whose values name series from those whose values are kept.
func split(columns []column, keys []string) (labels, numbers []column, err error) {
	for _, key := range keys {
		if !slices.ContainsFunc(columns, func(c column) bool { return c.name == key }) {
			return nil, nil, fmt.Errorf("key column %q is none of the query", key)
		}
	}
	for _, c := range columns {
		switch {
		case len(keys) > 0 && slices.Contains(keys, c.name), len(keys) == 0 && !c.numeric:
			labels = append(labels, c)
		case c.numeric:
			numbers = append(numbers, c)
		}
	}
	if len(numbers) == 0 {
		return nil, nil, errors.New("the query has no column of numbers; series come from columns of the types integer, numeric, double precision and boolean")
	}
	return labels, numbers, nil
}

// seriesOf makes series of rows, each a JSON object. A row's series is named by its labels; where there are none, or several
// columns of numbers, by the column as well. What is NULL, or no finite number, is no value.
func seriesOf(columns []column, keys []string, rows [][]byte) (map[string]float64, error) {
	labels, numbers, err := split(columns, keys)
	if err != nil {
		return nil, err
	}
	if len(rows) > maxRows {
		return nil, fmt.Errorf("the query returned more than %d rows, each of which would be a series; group what belongs together", maxRows)
	}
	if len(rows)*len(numbers) > maxRows && len(numbers) > 1 {
		return nil, fmt.Errorf("the query returned %d rows with %d numbers each, more than %d series; select less", len(rows), len(numbers), maxRows)
	}
	if len(labels) == 0 && len(rows) > 1 {
		return nil, fmt.Errorf("the query returned %d rows and no column that tells them apart; select a text as well, or name key columns", len(rows))
	}
	series := make(map[string]float64)
	seen := make(map[string]bool)
	for _, row := range rows {
		values, err := decode(row)
		if err != nil {
			return nil, err
		}
		for _, c := range numbers {
			name := nameOf(labels, values, c, len(numbers))
			if seen[name] {
				return nil, fmt.Errorf("the series %q comes twice; select what tells its rows apart, or group them", name)
			}
			seen[name] = true
			if value, ok := numberOf(values[c.name]); ok {
				series[name] = value
			}
		}
	}
	return series, nil
}

func decode(row []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(row))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("read a row: %w", err)
	}
	return values, nil
}

func nameOf(labels []column, values map[string]any, number column, numbers int) string {
	parts := make([]string, 0, len(labels)+1)
	for _, label := range labels {
		parts = append(parts, textOf(values[label.name]))
	}
	if len(labels) == 0 || numbers > 1 {
		parts = append(parts, number.name)
	}
	return cut(strings.ToValidUTF8(strings.Join(parts, "/"), ""), maxName)
}

func textOf(value any) string {
	switch v := value.(type) {
	case nil:
		return "NULL"
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	default:
		text, _ := json.Marshal(v) // it was JSON a moment ago
		return string(text)
	}
}

func numberOf(value any) (float64, bool) {
	switch v := value.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case json.Number:
		number, err := v.Float64()
		return number, err == nil && !math.IsInf(number, 0)
	default:
		return 0, false
	}
}
