package cmd_test

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever follows a job sees its lines while it runs in another process, and is told how it ended.
func TestLogsFollowAJobThatRuns(t *testing.T) {
	t.Parallel()
	_, client, env := shopDatabase(t)
	worker := launch(t, env, "shop", "worker")
	worker.line(t, "towpath started")
	id := strconv.FormatInt(enqueue(t, client, napArgs{Millis: 600_000})[0], 10)

	follow := exec.CommandContext(t.Context(), "towpath", "jobs", "logs", "-f", id)
	follow.Env = append(os.Environ(), env...)
	out, err := follow.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, follow.Start())
	wait := launch(t, env, "towpath", "jobs", "wait", id, "--quiet")

	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan(), "a line while it runs")
	require.Regexp(t, `#1 INFO  napping \{"millis": 600000\}$`, lines.Text())
	require.Zero(t, launch(t, env, "towpath", "jobs", "cancel", id).end(t))
	require.False(t, lines.Scan(), "and none when it has ended, but got %q", lines.Text())
	require.NoError(t, follow.Wait())
	require.Equal(t, 1, wait.end(t), "it was cancelled, not completed")
	require.NoError(t, worker.Process.Signal(os.Interrupt))
	require.Zero(t, worker.end(t))
}
