package testdb_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/internal/testdb"
)

func externalServer() bool { return os.Getenv("TOWPATH_DATABASE_URL") != "" }

// TestReport says which server and template a process uses, for the tests below
// that run it in processes of its own.
func TestReport(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	var port, template string
	require.NoError(t, pool.QueryRow(t.Context(), `
		SELECT current_setting('port'), string_agg(oid || ' ' || datname, ', ' ORDER BY oid)
		FROM pg_catalog.pg_database WHERE starts_with(datname, 'towpath_test_template_')`).Scan(&port, &template))
	t.Logf("port=%s template=%s", port, template)
}

var reported = regexp.MustCompile(`port=(\d+) template=(.*)`)

// environment is ours with another TOWPATH_DATABASE_URL, "" for none.
func environment(url string) []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TOWPATH_DATABASE_URL=") {
			env = append(env, entry)
		}
	}
	if url != "" {
		env = append(env, "TOWPATH_DATABASE_URL="+url)
	}
	return env
}

// The command above the test binaries is called `go`, as it is in a real run.
func TestBinariesOfOneRunShareAServer(t *testing.T) {
	t.Parallel()
	run := filepath.Join(t.TempDir(), "go")
	require.NoError(t, os.Symlink("/bin/sh", run))
	binary := fmt.Sprintf("'%s' -test.run='^TestReport$' -test.v", os.Args[0])
	cmd := exec.CommandContext(t.Context(), run, "-c", binary+" & "+binary+" & wait; "+binary+"; echo run=$$")
	cmd.Env = environment("")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	reports := reported.FindAllStringSubmatch(string(out), -1)
	require.Len(t, reports, 3, "%s", out)
	require.Equal(t, reports[0], reports[1])
	require.Equal(t, reports[0], reports[2])
	require.NotContains(t, reports[0][2], ",", "one of them built the template")

	base, err := pgdev.TempBase()
	require.NoError(t, err)
	dir := filepath.Join(base, "towpath-test-"+strconv.Itoa(os.Getuid()), strconv.Itoa(cmd.Process.Pid))
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	}, 30*time.Second, 50*time.Millisecond, "the server ends with the run")
}

func TestGivenServer(t *testing.T) {
	t.Parallel()
	server, err := pgdev.Start(t.Context(), pgdev.Options{Ephemeral: true, Fast: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.Background())) })
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })

	report := func() []string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^(TestReport|TestTx|TestPool|TestDatabase|TestEmpty|TestConnectsAs)", "-test.v")
		cmd.Env = environment(server.URL())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return reported.FindStringSubmatch(string(out))
	}
	first, second := report(), report()
	require.Equal(t, strconv.Itoa(server.Port), first[1])
	require.Equal(t, first, second, "the template is built once")

	// What the second run's Tx has left, the third drops. The present process's
	// databases are not its to drop.
	var left []string
	databases := func() []string {
		rows, err := conn.Query(t.Context(), `SELECT datname FROM pg_catalog.pg_database WHERE starts_with(datname, 'towpath_test_')
			AND NOT starts_with(datname, 'towpath_test_template_') ORDER BY datname`)
		require.NoError(t, err)
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return names
	}
	left = databases()
	require.Len(t, left, 1)
	report()
	require.Len(t, databases(), 1)
	require.NotEqual(t, left, databases())
}

func TestWithoutPostgresTestsFail(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReport$")
	cmd.Env = environment("postgres://nobody@127.0.0.1:1/nothing?connect_timeout=5")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Contains(t, string(out), "this test needs Postgres")
	require.Contains(t, string(out), "--- FAIL: TestReport")
}
