package cmd_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// What can be wrong with a probe is said when it is put, with the place in its query.
func TestProbesByCommand(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	env := append(os.Environ(), "TOWPATH_DATABASE_URL="+pool.Config().ConnString())
	probes := func(input string, args ...string) (code int, out, said string) {
		command := exec.CommandContext(t.Context(), "towpath", append([]string{"probes"}, args...)...)
		var stdout, stderr bytes.Buffer
		command.Env, command.Stdin, command.Stdout, command.Stderr = env, strings.NewReader(input), &stdout, &stderr
		if err := command.Run(); err != nil {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			return exit.ExitCode(), stdout.String(), stderr.String()
		}
		return 0, stdout.String(), stderr.String()
	}
	const queues = "SELECT queue, available FROM towpath.queues"
	for _, test := range []struct {
		want string
		code int
		args []string
	}{
		{`needs --every, such as --every 5m`, 2, []string{"put", "a", queues}},
		{`it must be longer than nothing`, 2, []string{"put", "a", queues, "--every", "0s"}},
		{`"-5m"`, 2, []string{"put", "a", queues, "--every", "-5m"}},
		{`name "a b!" must have 1 to 200 characters`, 2, []string{"put", "a b!", queues, "--every", "5m"}},
		{`the query is refused at line 2, character 6: relation "towpath.ques" does not exist`, 2, []string{"put", "a", "SELECT 1\nFROM towpath.ques;", "--every", "5m"}},
		{`the query compared with is refused at line 1, character 8: column "nme" does not exist`, 2, []string{"put", "a", "SELECT name FROM towpath.checks", "--compare-with", "SELECT nme FROM towpath.probes", "--every", "5m"}},
		{`the query is refused at line 1, character 10: syntax error at or near "FORM"`, 2, []string{"put", "a", "SELECT * FORM towpath.queues", "--every", "5m"}},
		{`query "DELETE FROM towpath.river_job" is no query; write one statement that reads`, 2, []string{"put", "a", "DELETE FROM towpath.river_job", "--every", "5m"}},
		{`a probe's query is one statement, and "SELECT 1; SELECT 2" holds more`, 2, []string{"put", "a", "SELECT 1; SELECT 2", "--every", "5m"}},
		{`the two queries have different columns: each UNION query must have the same number of columns`, 2, []string{"put", "a", queues, "--compare-with", "SELECT 1", "--every", "5m"}},
		{`timeout 00:10:00 must be more than nothing, and no more than every, 00:05:00`, 2, []string{"put", "a", queues, "--every", "5m", "--timeout", "10m"}},
		{`no such file or directory`, 1, []string{"put", "a", "@nothing.sql", "--every", "5m"}},
		{`probe "a" does not exist`, 1, []string{"show", "a"}},
		{`probe "a" does not exist`, 1, []string{"values", "a"}},
		{`probe "a" does not exist; the view probes lists them`, 1, []string{"run", "a"}},
		{`probe "a" does not exist`, 1, []string{"pause", "a"}},
		{`probe "a" does not exist`, 1, []string{"delete", "a"}},
		{`--status "late": there is no such status; choose from pending, ok, beyond, empty, failed, stale, paused`, 2, []string{"list", "--status", "late"}},
		{`--limit 0: give a number from 1`, 2, []string{"list", "--limit", "0"}},
	} {
		code, out, said := probes("", test.args...)
		require.Contains(t, said, test.want, "%q", test.args)
		require.Equal(t, test.code, code, said)
		require.Empty(t, out)
	}

	file := filepath.Join(t.TempDir(), "queues.sql")
	require.NoError(t, os.WriteFile(file, []byte(queues+";\n"), 0o600))
	for _, how := range []struct{ input, query, want string }{
		{"", queues, "queues runs every 5m\n"},
		{"", "@" + file, "queues was so already: it runs every 5m\n"},
		{queues + "\n", "-", "queues was so already: it runs every 5m\n"},
	} {
		code, out, said := probes(how.input, "put", "queues", how.query, "--every", "5m")
		require.Zero(t, code, said)
		require.Equal(t, how.want, out)
	}
	_, out, _ := probes("", "run", "queues")
	require.Equal(t, "queues is asked for run 1\n", out)
	code, _, said := probes("", "run", "queues", "--wait", "10ms")
	require.Equal(t, 1, code)
	require.Contains(t, said, `run 1 of probe "queues" has not ended after 10ms; does a leader run?`)
	for _, step := range [][2]string{{"pause", "queues is paused\n"}, {"pause", "queues was paused already\n"}, {"resume", "queues is resumed\n"}, {"resume", "queues was not paused\n"}} {
		_, out, said = probes("", step[0], "queues")
		require.Equal(t, step[1], out, said)
	}

	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.probe_series (probe, name, value, at) VALUES ('queues', 'default', 3, '2026-01-02 03:04:05Z'), ('queues', 'mail', 4, '2026-01-02 03:04:05Z');
		INSERT INTO towpath.probe_point (series_id, at, value) SELECT id, now() - n * interval '1 minute', n FROM towpath.probe_series, generate_series(1, 3) n;
		UPDATE towpath.probe SET outcome = 'beyond', status = 'beyond', detail = 'mail is 4, above 3', last_run_at = now(), last_ok_at = '2026-01-02 03:04:05Z', examples = '{"missing": ["17", "18"]}'`)
	require.NoError(t, err)
	var page struct {
		Values []struct {
			Series string
			Value  float64
		}
		Next *string
	}
	_, out, said = probes("", "values", "queues", "--limit", "4", "--json")
	require.NoError(t, json.Unmarshal([]byte(out), &page), said)
	require.Len(t, page.Values, 4)
	_, out, said = probes("", "values", "queues", "--limit", "4", "--json", "--after", *page.Next)
	page.Next = nil
	require.NoError(t, json.Unmarshal([]byte(out), &page), said)
	require.Len(t, page.Values, 2)
	require.Nil(t, page.Next)
	require.InDelta(t, 3, page.Values[1].Value, 0)
	_, out, _ = probes("", "show", "queues")
	for _, want := range []string{"beyond since", "mail is 4, above 3", "SELECT queue, available FROM towpath.queues", "default", "missing, for example: 17; 18", "beyond, was pending"} {
		require.Contains(t, out, want)
	}
	_, out, _ = probes("", "list")
	require.Contains(t, out, "mail is 4, above 3")
	_, out, _ = probes("", "delete", "queues")
	require.Equal(t, "queues is deleted\n", out)
}
