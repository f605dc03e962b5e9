package cmd_test

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// Each role may what it is for, and is told which one it needs for the rest.
func TestCommandsNeedNoMoreThanTheirRole(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	_, err := pool.Exec(t.Context(), exampleData)
	require.NoError(t, err)
	super := testdb.Super(t, pool).Config()

	const producer, reader, operator = "towpath_producer", "towpath_reader", "towpath_operator"
	looking, operating := []string{reader, operator}, []string{operator}
	for _, test := range []struct {
		args  []string
		roles []string // the first is the one that is named
	}{
		{[]string{"enqueue", "mail.send", `{"customer": 42}`}, []string{producer}},
		{[]string{"jobs", "list", "--arg", "customer=42"}, looking},
		{[]string{"jobs", "show", "4711"}, looking},
		{[]string{"jobs", "logs", "4711"}, looking},
		{[]string{"jobs", "logs", "-f", "4711"}, looking},
		{[]string{"jobs", "wait", "4712"}, looking},
		{[]string{"why", "4713"}, looking},
		{[]string{"queues", "list"}, looking},
		{[]string{"kinds"}, looking},
		{[]string{"failures"}, looking},
		{[]string{"processes"}, looking},
		{[]string{"status"}, looking},
		{[]string{"top"}, looking},
		{[]string{"jobs", "cancel", "4713"}, operating},
		{[]string{"jobs", "retry", "--kind", "mail.send", "--yes"}, operating},
		{[]string{"queues", "pause", "mail"}, operating},
		{[]string{"queues", "resume", "mail"}, operating},
		{[]string{"jobs", "delete", "4711"}, operating},
	} {
		for _, role := range []string{producer, reader, operator} {
			code, said := runAs(t, super.ConnConfig, role, test.args)
			if slices.Contains(test.roles, role) {
				require.Zero(t, code, "%s %v\n%s", role, test.args, said)
				continue
			}
			require.Equal(t, 1, code, "%s %v\n%s", role, test.args, said)
			require.Regexp(t, `towpath: .*permission denied .*; this needs the role `+test.roles[0]+`, as in GRANT `+test.roles[0]+` TO "`, said)
		}
	}
}

// runAs runs towpath with the rights of a role.
func runAs(t *testing.T, config *pgx.ConnConfig, role string, args []string) (code int, said string) {
	t.Helper()
	address, err := url.Parse(config.ConnString())
	require.NoError(t, err)
	query := address.Query()
	query.Set("options", "-c role="+role)
	address.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	command := exec.CommandContext(t.Context(), "towpath", args...)
	command.Env = append(os.Environ(), "TOWPATH_DATABASE_URL="+address.String())
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Run(); err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		return exit.ExitCode(), out.String()
	}
	return 0, out.String()
}

// A doctor that was not let in does not say that all is well.
func TestDoctorTellsLackOfRights(t *testing.T) {
	t.Parallel()
	config := testdb.Super(t, testdb.Pool(t)).Config().ConnConfig
	code, said := runAs(t, config, "towpath_reader", []string{"doctor"})
	require.Equal(t, 1, code, said)
	require.Contains(t, said, "WARNING  rights: the role towpath_reader may not look at versions, schema, ")
	require.Contains(t, said, "NOT SEEN  schema, constraints, partitions, grants, names, fleet, clocks, connections, vacuum: ")
	require.Regexp(t, `(?m)^4 of 14 checks; faults: 0, warnings: 1, notes: 0$`, said)
	require.NotContains(t, said, "is not there")
	code, _ = runAs(t, config, "towpath_reader", []string{"doctor", "--quiet"})
	require.Equal(t, 1, code)
}
