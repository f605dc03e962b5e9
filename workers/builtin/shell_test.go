package builtin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers/builtin"
)

var shell = builtin.Config{Shell: true}

func TestShellIsOffAtFirst(t *testing.T) {
	t.Parallel()
	result := work(t, builtin.Config{}, jobs.ShellArgs{Command: "true"})
	require.EqualError(t, result.Err, "this worker runs no commands; set TOWPATH_SHELL=on where whoever may enqueue jobs may run commands")
	require.Equal(t, rivertype.JobStateDiscarded, result.Job.State)
}

func TestShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, test := range map[string]struct {
		args   jobs.ShellArgs
		status int
		output string
		err    string
	}{
		"both streams":    {jobs.ShellArgs{Command: "echo out; echo err >&2; echo out again"}, 0, "out\nerr\nout again\n", ""},
		"without a shell": {jobs.ShellArgs{Argv: []string{"printf", "%s|", "a b", "$HOME"}}, 0, "a b|$HOME|", ""},
		"stdin":           {jobs.ShellArgs{Command: "tr a-z A-Z", Stdin: "hello"}, 0, "HELLO", ""},
		"dir":             {jobs.ShellArgs{Command: "pwd -P", Dir: dir}, 0, dir + "\n", ""},
		"env":             {jobs.ShellArgs{Command: "echo $A $TOWPATH_JOB_ATTEMPT", Env: map[string]string{"A": "b"}}, 0, "b 1\n", ""},
		"small env":       {jobs.ShellArgs{Command: "env | cut -d= -f1 | grep -v -e PWD -e SHLVL -e '^_' | sort | tr '\\n' ' '"}, 0, "HOME LANG LOGNAME PATH SHELL TOWPATH_JOB_ATTEMPT TOWPATH_JOB_ID USER ", ""},
		"fails":           {jobs.ShellArgs{Command: "echo 'no space left' >&2; exit 3"}, 3, "no space left\n", "the command ended with exit status 3: no space left"},
		"signal":          {jobs.ShellArgs{Command: "kill -9 $$"}, 137, "", "the command was ended by signal 9 (killed)"},
		"not found":       {jobs.ShellArgs{Argv: []string{"no-such-program"}}, 127, "", "the command ended with exit status 127"},
		"no text":         {jobs.ShellArgs{Command: `printf 'a\000\377b'`}, 0, "a\ufffd\ufffdb", ""},
	} {
		t.Run(name, func(t *testing.T) {
			result := work(t, shell, test.args)
			if test.err == "" {
				require.NoError(t, result.Err)
			} else {
				require.ErrorContains(t, result.Err, test.err)
			}
			kept := output[builtin.ShellOutput](t, result.Job)
			require.Equal(t, test.status, kept.ExitStatus)
			if test.status != 127 { // whose words are the shell's
				require.Equal(t, test.output, kept.Output)
			}
		})
	}
	result := work(t, shell, jobs.ShellArgs{Command: "true", Dir: "/no/such/dir"})
	require.ErrorContains(t, result.Err, `dir "/no/such/dir" is no directory on this machine`)
}

// Output is readable while the command runs, and its end is kept however much there is.
func TestShellOutput(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	r := start(t, pool, shell)
	release := filepath.Join(t.TempDir(), "release")
	require.NoError(t, syscall.Mkfifo(release, 0o600))
	id := insert(t, r, jobs.ShellArgs{Command: "echo first; cat " + release + "; for i in $(seq 1000); do printf '%0100d\\n' $i; done; printf last"})
	lines := func() (lines []string) {
		events, err := store.JobEvents(t.Context(), pool, id, 0, 100_000)
		require.NoError(t, err)
		for _, event := range events {
			lines = append(lines, *event.Message)
		}
		return lines
	}
	require.Eventually(t, func() bool { return len(lines()) == 1 }, patience, 10*time.Millisecond)
	require.NoError(t, os.WriteFile(release, []byte("second\n"), 0o600))
	result := await(t, r, id)
	require.NoError(t, result.Err())
	logged := lines()
	require.Equal(t, []string{"first", "second"}, logged[:2])
	require.Equal(t, "last", logged[len(logged)-1], "a line without an end")
	kept := output[builtin.ShellOutput](t, result.Job)
	require.True(t, kept.Truncated)
	require.Len(t, kept.Output, 64<<10)
	require.True(t, strings.HasSuffix(kept.Output, "01000\nlast"))
}

// family is a command whose grandchildren ignore SIGTERM and write their pids to a file: one holds the output open, one
// does not.
func family(pids string) string {
	return fmt.Sprintf(`(trap '' TERM; echo $(sh -c 'echo $PPID') >> %[1]s; while :; do sleep 0.1; done) &
		(trap '' TERM; echo $(sh -c 'echo $PPID') >> %[1]s; while :; do sleep 0.1; done) >/dev/null 2>&1 &
		while [ $(wc -l < %[1]s) -lt 2 ]; do sleep 0.05; done; echo ready; `, pids)
}

func requireGone(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	pids := strings.Fields(string(text))
	require.Len(t, pids, 2)
	for _, pid := range pids {
		require.Eventually(t, func() bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ") // gone, or nobody has collected it
		}, patience, 10*time.Millisecond, "process %s is gone", pid)
	}
	_, err = strconv.Atoi(pids[0])
	require.NoError(t, err)
}

func TestShellLeavesNobodyBehind(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("the test looks at processes in /proc, which this system has not")
	}
	for name, test := range map[string]struct {
		end     string
		seconds float64
		cancel  bool
		state   rivertype.JobState
		err     string
	}{
		"success": {"exit 0", 0, false, rivertype.JobStateCompleted, ""},
		"timeout": {"wait", 8, false, rivertype.JobStateDiscarded, "the command ran into its time limit of 8s and was ended"},
		"cancel":  {"wait", 0, true, rivertype.JobStateCancelled, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			r := start(t, pool, shell)
			pids := filepath.Join(t.TempDir(), "pids")
			require.NoError(t, os.WriteFile(pids, nil, 0o600))
			id := insert(t, r, jobs.ShellArgs{Command: family(pids) + test.end, TimeoutSeconds: test.seconds})
			if test.cancel {
				require.Eventually(t, func() bool {
					events, err := store.JobEvents(t.Context(), pool, id, 0, 10)
					return err == nil && len(events) > 0 && *events[0].Message == "ready"
				}, patience, 10*time.Millisecond)
				_, err := r.Client().JobCancel(t.Context(), id)
				require.NoError(t, err)
			}
			result := await(t, r, id)
			require.Equal(t, test.state, result.State)
			if test.err != "" {
				require.ErrorContains(t, result.Err(), test.err)
			}
			requireGone(t, pids)
		})
	}
}

// A process that stops ends its commands, and hands the jobs back with their attempts.
func TestShellStop(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	r := startWithGrace(t, pool, shell, 50*time.Millisecond)
	pids := filepath.Join(t.TempDir(), "pids")
	require.NoError(t, os.WriteFile(pids, nil, 0o600))
	id := insert(t, r, jobs.ShellArgs{Command: family(pids) + "wait"})
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(pids)
		return err == nil && strings.Count(string(text), "\n") == 2
	}, patience, 10*time.Millisecond)
	require.NoError(t, r.Stop())
	requireGone(t, pids)
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	job, err := client.JobGet(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateAvailable, job.State)
	require.Zero(t, job.Attempt)
}
