package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// A definition as JSON has nothing that would be passed over.
func TestDefinitionsRefused(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	for call, message := range map[string]string{
		`define_schedule('a', '{"expression": "0 7 * * *", "kind": "report", "pirority": 2}')`: `a schedule has no property "pirority"`,
		`define_schedule('a', '[]')`:                                           `definition must be a JSON object, not array`,
		`define_schedule('a', '"x"')`:                                          `definition must be a JSON object, not string`,
		`define_probe('a', '{"query": "SELECT 1", "every": 60, "tmeout": 3}')`: `a probe has no property "tmeout"`,
		`define_probe('a', '4')`:                                               `definition must be a JSON object, not number`,
	} {
		savepoint(t, tx, func(tx pgx.Tx) {
			_, err := tx.Exec(t.Context(), `SELECT towpath.`+call)
			var pgErr *pgconn.PgError
			require.ErrorAs(t, err, &pgErr, call)
			require.Equal(t, "22023", pgErr.Code, "%s: %s", call, pgErr.Message)
			require.Equal(t, message, pgErr.Message, call)
			require.NotEmpty(t, pgErr.Hint, call)
		})
	}
	exec(t, tx, `SELECT towpath.define_schedule('a', '{"expression": "0 7 * * *", "kind": "report", "args": {"pirority": 2}, "priority": 2}')`)
}
