package cmd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/badinput"
	"github.com/towpath/towpath/internal/testdb"
)

// What is refused is refused in the words of the SQL function: by the flags with the exit code of wrong usage, from a file
// with the line.
func TestEnqueueRefusesBadInput(t *testing.T) {
	t.Parallel()
	env := append(os.Environ(), "TOWPATH_DATABASE_URL="+testdb.URL(t))
	enqueue := func(input string, args ...string) (code int, said string) {
		command := exec.CommandContext(t.Context(), "towpath", append([]string{"enqueue"}, args...)...)
		var stderr bytes.Buffer
		command.Env, command.Stdin, command.Stderr = env, strings.NewReader(input), &stderr
		if err := command.Run(); err != nil {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			return exit.ExitCode(), stderr.String()
		}
		return 0, stderr.String()
	}
	var noFlags []string // the cases that no command line can be written for
	for _, test := range badinput.Cases {
		t.Run(test.Name, func(t *testing.T) {
			job := map[string]any{"kind": "mail.send"}
			maps.Copy(job, test.Job)
			line, err := json.Marshal(job)
			require.NoError(t, err)
			code, said := enqueue("\n"+string(line)+"\n", "--many", "-")
			require.Equal(t, 1, code, said)
			require.Regexp(t, `^towpath: (input:2: )?`+regexp.QuoteMeta(test.Message), said)
			require.True(t, test.Code != "" || strings.HasPrefix(said, "towpath: input:2: "), "what a function refuses is told by its line: %s", said)
			require.Contains(t, said, test.Hint)

			args, ok := asFlags(t, job)
			if !ok {
				noFlags = append(noFlags, test.Name)
				return
			}
			code, said = enqueue("", args...)
			require.Equal(t, 2, code, said)
			require.True(t, strings.HasPrefix(said, "towpath: "+test.Message), said)
			require.Contains(t, said, test.Hint)
		})
	}
	require.Equal(t, []string{"NoKind", "NullTag"}, noFlags, "all others are tried by flags as well")
	code, said := enqueue("", "mail.send", "{nope")
	require.Equal(t, 2, code)
	require.True(t, strings.HasPrefix(said, "towpath: "+badinput.NoJSON), said)
}

// asFlags writes a job as a command line; not every one can be.
func asFlags(t *testing.T, job map[string]any) ([]string, bool) {
	t.Helper()
	kind, ok := job["kind"].(string)
	if !ok {
		return nil, false
	}
	args := []string{kind}
	for _, name := range slices.Sorted(maps.Keys(job)) {
		flag := "--" + strings.ReplaceAll(name, "_", "-")
		switch value := job[name].(type) {
		case []any: // holds no text
			return nil, false
		case []string:
			if name == "tags" {
				for _, tag := range value {
					args = append(args, "--tag", tag)
				}
				continue
			}
			args = append(args, flag, strings.Join(value, ","))
		case bool:
			args = append(args, flag)
		default:
			text := fmt.Sprint(value)
			if name == "metadata" || name == "args" {
				encoded, err := json.Marshal(value)
				require.NoError(t, err)
				text = string(encoded)
			}
			switch name {
			case "kind":
			case "args":
				args = slices.Insert(args, 1, text)
			default:
				args = append(args, flag, text)
			}
		}
	}
	return args, true
}
