package cmd_test

import (
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
)

func putCheck(t *testing.T, pool *pgxpool.Pool, name string) (key string) {
	t.Helper()
	period := time.Hour
	key, _, err := store.PutCheck(t.Context(), pool, store.CheckDefinition{Name: name, Period: &period, Zone: "UTC", Grace: time.Minute})
	require.NoError(t, err)
	return key
}

func checkStatus(t *testing.T, pool *pgxpool.Pool, name string) *store.Check {
	t.Helper()
	check, err := store.ShowCheck(t.Context(), pool, name)
	require.NoError(t, err)
	return check
}

// Signals are the command's: exec waits for what it makes of them.
func TestExecPassesSignals(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	putCheck(t, pool, "backup")
	env := []string{"TOWPATH_DATABASE_URL=" + pool.Config().ConnString()}
	for _, test := range []struct {
		trap string
		want int
	}{{`trap 'echo saved; exit 7' TERM`, 7}, {`:`, 128 + int(syscall.SIGTERM)}} {
		p := launch(t, env, "towpath", "exec", "backup", "--", "sh", "-c", test.trap+`; echo ready >&2; while :; do sleep 0.05; done`)
		p.line(t, "ready")
		require.NoError(t, p.Process.Signal(syscall.SIGTERM))
		require.Equal(t, test.want, p.end(t))
		check := checkStatus(t, pool, "backup")
		require.Equal(t, "failed", check.Status)
		require.EqualValues(t, test.want, *check.LastExitStatus)
	}
}

// A process with the role api takes pings over HTTP, with the check's address and by its name; one without it does not.
func TestPingsOverHTTP(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	const key = "a-ping-key-of-the-test-42"
	env := []string{"TOWPATH_DATABASE_URL=" + pool.Config().ConnString(), "TOWPATH_PING_KEY=" + key, "TOWPATH_PING_CREATE=on"}
	address := "http://" + listening(t, launch(t, env, "towpath", "all"))
	own := putCheck(t, pool, "own")
	worker := "http://" + listening(t, launch(t, env, "towpath", "worker"))

	run := func(env []string, args ...string) (string, error) {
		command := exec.CommandContext(t.Context(), "towpath", append([]string{"exec"}, args...)...)
		command.Env = append(command.Environ(), env...)
		out, err := command.CombinedOutput()
		return string(out), err
	}
	out, err := run(nil, address+"/ping/"+own, "--", "echo", "hi")
	require.NoError(t, err, out)
	require.Equal(t, "hi\n", out)
	require.Equal(t, "ok", checkStatus(t, pool, "own").Status)

	out, err = run([]string{"TOWPATH_URL=" + address, "TOWPATH_PING_KEY=" + key}, "new-one", "--", "false")
	require.Error(t, err)
	require.Empty(t, out)
	require.Equal(t, "failed", checkStatus(t, pool, "new-one").Status)

	out, err = run(nil, worker+"/ping/"+own, "--", "true")
	require.NoError(t, err, "the command succeeds all the same")
	require.Contains(t, out, "404")

	// The leader in that process notes what time changes.
	_, err = pool.Exec(t.Context(), `UPDATE towpath.heartbeat SET watched_since = watched_since - interval '1 day', status_since = status_since - interval '1 day',
		last_sign_at = last_sign_at - interval '1 day', turns_at = now() WHERE name = 'own'`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		events, err := store.ListCheckEvents(t.Context(), pool, "own", 1)
		return err == nil && events[0].Status == "missed"
	}, testLimit, 50*time.Millisecond)
}
