package migrations_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

var (
	sqlBlock = regexp.MustCompile("(?s)```sql( error)?\n(.*?)```")
	jobInDoc = regexp.MustCompile(`\b8\d{4}\b`)
)

// What docs/sql.md shows can be run.
func TestDocumentedSQLRuns(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	doc, err := os.ReadFile("../docs/sql.md")
	require.NoError(t, err)
	exec(t, tx, `INSERT INTO towpath.river_queue (name) VALUES ('default'), ('mail')`)

	blocks := sqlBlock.FindAllStringSubmatch(string(doc), -1)
	require.Greater(t, len(blocks), 20)
	for _, block := range blocks {
		savepoint(t, tx, func(tx pgx.Tx) {
			for _, id := range jobInDoc.FindAllString(block[2], -1) {
				exec(t, tx, `INSERT INTO towpath.river_job (id, args, kind, max_attempts) VALUES ($1::text::bigint, '{}', 'mail.send', 25) ON CONFLICT DO NOTHING`, id)
			}
			sql := strings.NewReplacer("BEGIN;", "", "COMMIT;", "").Replace(block[2])
			if block[1] == "" {
				_, err := tx.Conn().PgConn().Exec(t.Context(), sql).ReadAll()
				require.NoError(t, err, sql)
				return
			}
			for line := range strings.SplitSeq(strings.TrimSpace(sql), "\n") {
				savepoint(t, tx, func(tx pgx.Tx) { require.Equal(t, "22023", refused(t, tx, line).Code) })
			}
		})
	}
}
