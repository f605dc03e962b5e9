package cmd_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/internal/testdb"
)

// exampleData is what examples find: jobs 4711 (discarded), 4712 (completed) and 4713 (waiting), queues, a leader, a check,
// the probes orders and stock, the schedules digest and nightly, alert 1 and silence 1, and backfill 1.
const exampleData = `
	INSERT INTO towpath.river_queue (name) VALUES ('default'), ('mail');
	INSERT INTO towpath.job_history (id, args, attempt, attempted_at, attempted_by, created_at, errors, finalized_at, kind, max_attempts,
			metadata, priority, queue, state, scheduled_at, tags) VALUES
		(4711, '{"customer": 42}', 1, now(), '{web-1}', now(), ARRAY['{"at": "2026-01-02T03:04:05Z", "attempt": 1, "error": "dial: i/o timeout", "trace": ""}'::jsonb],
			now(), 'mail.send', 1, '{}', 1, 'mail', 'discarded', now(), '{}'),
		(4712, '{"customer": 42}', 1, now(), '{web-1}', now(), NULL, now(), 'mail.send', 25, '{}', 1, 'mail', 'completed', now(), '{}');
	INSERT INTO towpath.river_job (id, args, kind, max_attempts, queue, state, tags) VALUES (4713, '{"customer": 42}', 'mail.send', 25, 'mail', 'available', '{vip}');
	INSERT INTO towpath.job_event (job_id, attempt, event, level, message) VALUES (4711, 1, 'log', 'WARN', 'slow answer');
	INSERT INTO towpath.process (client_id, host, pid, roles, queues, kinds, beat_at)
		VALUES ('web-1', 'web-1', 17, '{worker}', '{"default": 5, "mail": 5}', '{mail.send,report.daily}', now() + interval '1 hour');
	INSERT INTO towpath.river_leader (leader_id, elected_at, expires_at, name) VALUES ('web-1', now(), now() + interval '1 hour', 'default');
	INSERT INTO towpath.kind_schema (kind, schema) VALUES ('mail.send', '{"type": "object"}');
	SELECT towpath.put_check('backup', period => '1 day');
	INSERT INTO towpath.alert (rule, subject, state, since, bad_since, summary) VALUES ('queue_old', 'mail', 'pending', now(), now(), 'The first job of queue mail has been waiting for 6m');
	INSERT INTO towpath.alert_event (rule, subject, at, state, severity) VALUES ('queue_old', 'mail', now(), 'pending', 'warning');
	SELECT towpath.silence('queue_old', 'mail', now() + interval '1 hour');
	SELECT towpath.put_probe('orders', 'SELECT count(*) FROM towpath.queues', '5 minutes');
	INSERT INTO towpath.probe (name, code) SELECT 'stock', towpath.full_probe('{"query": "SELECT 1", "every": 60}');
	INSERT INTO towpath.schedule (name, code, edited, settled, next_tick, next_due)
		SELECT name, CASE name WHEN 'digest' THEN d END, d, true, now() + interval '1 day', now() + interval '1 day'
		FROM unnest('{digest,nightly}'::text[]) name, towpath.full_definition('{"expression": "0 6 * * MON", "kind": "report.digest"}') d;
	SELECT towpath.backfill_schedule('nightly', '2025-11-01', '2025-11-25');`

// How the examples of a command run where that is not simply to the end, with exit code 0.
var (
	// exampleServers go on until they are interrupted.
	exampleServes = regexp.MustCompile(`\btowpath (all|api|dev|scheduler|worker)\b`)

	// exampleMeasures take minutes: only their flags are tried. What they do is tested in internal/bench.
	exampleMeasures = "towpath bench "

	// examplePrograms are not ours; where they are missing, lines that need them are passed over.
	examplePrograms = map[string]string{"towpath pg psql": "psql", "pg_dump": "pg_dump", "curl": "-"}

	// exampleWords stand for something else in the test.
	exampleWords = strings.NewReplacer("TOWPATH_DATABASE_URL=postgres://app@localhost/app ", "", "127.0.0.1:8080", "127.0.0.1:0", "/tmp/towpath", "data")
)

// Every line of every example does what it says.
func TestExamples(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	shop, err := exec.LookPath("shop")
	require.NoError(t, err)
	// The roles need a program with workers.
	require.NoError(t, os.WriteFile(filepath.Join(bin, "towpath"), []byte("#!/bin/sh\nexec "+shop+" \"$@\"\n"), 0o700)) //nolint:gosec // a program

	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
				walk(sub)
			}
		}
		if cmd.IsGroup(c) {
			return
		}
		t.Run(c.CommandPath(), func(t *testing.T) {
			t.Parallel()
			env := append(os.Environ(), "TOWPATH_DATABASE_URL="+exampleDatabase(t, c), "TOWPATH_LISTEN=127.0.0.1:0")
			if isServer(c) {
				env = append(env, "PATH="+bin+":"+os.Getenv("PATH"))
			}
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.com/shop\n"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "shop.go"), []byte("package shop\n"), 0o600))
			for line := range strings.SplitSeq(c.Example, "\n") {
				runExample(t, c, env, dir, exampleWords.Replace(strings.TrimSpace(line)))
			}
		})
	}
	walk(cmd.Root())
}

func isServer(c *cobra.Command) bool { return exampleServes.MatchString(c.Example) }

// exampleDatabase returns a database with something in it; for adoption, one with River's tables alone.
func exampleDatabase(t *testing.T, c *cobra.Command) string {
	t.Helper()
	if c.CommandPath() == "towpath migrate adopt" {
		pool := testdb.Empty(t)
		migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
		require.NoError(t, err)
		_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
		require.NoError(t, err)
		return pool.Config().ConnString()
	}
	url := testdb.URL(t)
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), exampleData)
	require.NoError(t, err)
	switch {
	case c.CommandPath() == "towpath migrate down": // which nobody may be in the way of
		_, err = conn.Exec(t.Context(), `DELETE FROM towpath.process`)
		require.NoError(t, err)
	case isServer(c):
		up := exec.CommandContext(t.Context(), "shop", "migrate", "up")
		up.Env = append(os.Environ(), "TOWPATH_DATABASE_URL="+url)
		require.NoError(t, up.Run())
	}
	return url
}

func runExample(t *testing.T, c *cobra.Command, env []string, dir, line string) {
	t.Helper()
	for word, program := range examplePrograms {
		if strings.HasPrefix(line, word) {
			if _, err := exec.LookPath(program); err != nil {
				return
			}
		}
	}
	if strings.HasPrefix(line, exampleMeasures) {
		line += " --help"
	}
	command := exec.CommandContext(t.Context(), "/bin/sh", "-c", "trap : INT\n"+line) // the shell waits for what is interrupted
	command.Env, command.Dir = env, dir
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	command.Stdout = &out
	if !exampleServes.MatchString(line) || strings.Contains(line, "--drain") {
		command.Stderr = &out
		require.NoError(t, command.Run(), "%s\n%s", line, &out)
		return
	}
	stderr, err := command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	var said strings.Builder
	buffer := make([]byte, 4096)
	for stopped := false; ; {
		n, err := stderr.Read(buffer)
		said.Write(buffer[:n])
		if !stopped && strings.Contains(said.String(), "towpath started") {
			stopped = true
			require.NoError(t, syscall.Kill(-command.Process.Pid, syscall.SIGINT))
		}
		if err != nil {
			break
		}
	}
	require.NoError(t, command.Wait(), "%s\n%s", line, &said)
	require.Contains(t, said.String(), "towpath started", line)
}
