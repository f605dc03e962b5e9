package jobs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// The README's program is whole: it enqueues in the transaction of an order.
func TestProgramOfTheReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(readme), "```go\npackage main\n")
	require.True(t, found, "the README has a program")
	program, _, _ := strings.Cut(rest, "```")
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte("package main\n"+program), 0o600))

	pool := testdb.Pool(t)
	_, err = pool.Exec(t.Context(), "CREATE TABLE public.orders (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL)")
	require.NoError(t, err)
	run := exec.CommandContext(t.Context(), "go", "run", file) //nolint:gosec // our own
	run.Env = append(os.Environ(), "TOWPATH_DATABASE_URL="+pool.Config().ConnString())
	said, err := run.CombinedOutput()
	require.NoError(t, err, "%s", said)
	var args string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT j.args->>'order_id' FROM towpath.jobs j JOIN public.orders o ON o.id = (j.args->>'order_id')::bigint
		WHERE j.kind = 'ship' AND j.state = 'available'`).Scan(&args))
	require.Equal(t, "1", args)
}
