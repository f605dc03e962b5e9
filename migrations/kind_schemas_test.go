package migrations_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

const orderSchema = `{
	"type": "object", "required": ["customer", "lines"], "additionalProperties": false,
	"properties": {
		"customer": {"type": "integer", "minimum": 1},
		"state": {"enum": ["new", "paid", null]},
		"version": {"const": 2},
		"note": {"type": "string", "minLength": 2, "maxLength": 5},
		"any": true, "never": false,
		"lines": {"type": ["null", "array"], "maxItems": 2, "items": {
			"type": "object", "properties": {"few": {"type": "integer", "minimum": 0, "maximum": 255}, "price": {"type": "number"}}}},
		"labels": {"type": "object", "additionalProperties": {"type": "string"}}
	}}`

// Args that do not fit the schema of a checked kind are refused, with the place of what is wrong; others are not looked at.
func TestArgsAreChecked(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	exec(t, tx, `INSERT INTO towpath.kind_schema (kind, schema) VALUES ('order.pay', '`+orderSchema+`')`)
	exec(t, tx, `SELECT * FROM towpath.enqueue('order.pay', '{"customer": "x"}')`)
	var changed bool
	for _, want := range []bool{true, false} {
		require.NoError(t, tx.QueryRow(t.Context(), `SELECT towpath.check_kind('order.pay')`).Scan(&changed))
		require.Equal(t, want, changed)
	}
	exec(t, tx, `SELECT * FROM towpath.enqueue('another', '{"customer": "x"}')`)
	for _, args := range []string{
		`{"customer": 1, "lines": null}`,
		`{"customer": 7.0, "lines": [], "state": "paid", "version": 2, "note": "äöü", "any": [1, {}], "labels": {"a": "b"}}`,
		`{"customer": 1, "lines": [{"few": 255, "price": 1.5, "more": 1}, {}], "state": null, "labels": {}}`,
	} {
		exec(t, tx, fmt.Sprintf(`SELECT * FROM towpath.enqueue('order.pay', '%s')`, args))
	}
	for args, want := range map[string]string{
		`{"lines": []}`:                                              `args.customer is missing`,
		`{"customer": "x", "lines": []}`:                             `args.customer must be integer, not "x"`,
		`{"customer": 1.5, "lines": []}`:                             `args.customer must be integer, not 1.5`,
		`{"customer": 0, "lines": []}`:                               `args.customer must be at least 1, not 0`,
		`{"customer": 1, "lines": {}}`:                               `args.lines must be null or array, not object`,
		`{"customer": 1, "lines": [{}, {"few": 256}]}`:               `args.lines[1].few must be at most 255, not 256`,
		`{"customer": 1, "lines": [{"price": true}]}`:                `args.lines[0].price must be number, not true`,
		`{"customer": 1, "lines": [1]}`:                              `args.lines[0] must be`,
		`{"customer": 1, "lines": [{}, {}, {}]}`:                     `args.lines must have at most 2 items, not 3`,
		`{"customer": 1, "lines": [], "custmer": 1}`:                 `args.custmer is unknown; known are any, customer, labels, lines, never, note, state, version`,
		`{"customer": 1, "lines": [], "state": "lost"}`:              `args.state must be one of ["new", "paid", null], not "lost"`,
		`{"customer": 1, "lines": [], "version": 3}`:                 `args.version must be 2, not 3`,
		`{"customer": 1, "lines": [], "note": "x"}`:                  `args.note must have at least 2 characters, not 1`,
		`{"customer": 1, "lines": [], "note": "xxxxxx"}`:             `args.note must have at most 5 characters, not 6`,
		`{"customer": 1, "lines": [], "never": 1}`:                   `args.never must not be there`,
		`{"customer": 1, "lines": [], "labels": {"a": "b", "c": 1}}`: `args.labels.c must be string, not 1`,
	} {
		for _, call := range []string{
			`SELECT * FROM towpath.enqueue('order.pay', $1::text::json)`,
			`SELECT * FROM towpath.enqueue_many(json_build_array(json_build_object('kind', 'order.pay', 'args', $1::text::json)))`,
			`SELECT * FROM towpath.enqueue_many(json_build_array(json_build_object('kind', 'order.pay', 'unique_key', 'k', 'args', $1::text::json)))`,
		} {
			nested, err := tx.Begin(t.Context())
			require.NoError(t, err)
			_, err = nested.Exec(t.Context(), call, args)
			var refused *pgconn.PgError
			require.ErrorAs(t, err, &refused, args)
			require.Equal(t, "22023", refused.Code)
			require.Equal(t, "args", refused.ColumnName)
			require.Contains(t, refused.Message, want, call)
			require.Contains(t, refused.Message, "as kind")
			require.NoError(t, nested.Rollback(t.Context()))
		}
	}
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT towpath.check_kind('order.pay', false)`).Scan(&changed))
	require.True(t, changed)
	exec(t, tx, `SELECT * FROM towpath.enqueue('order.pay', '{"customer": "x"}')`)
	var actions int
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT count(*) FROM towpath.audit WHERE action = 'check_kind' AND target = 'kind order.pay'`).Scan(&actions))
	require.Equal(t, 2, actions)
	_, err := tx.Exec(t.Context(), `SELECT towpath.check_kind('nobody')`)
	require.ErrorContains(t, err, `kind "nobody" has no schema`)
}
