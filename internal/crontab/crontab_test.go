package crontab_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/crontab"
	"github.com/towpath/towpath/jobs"
)

var options = crontab.Options{Zone: "Europe/Paris", Prefix: "cron/", User: "root"}

// one parses a crontab that has one line to take.
func one(t *testing.T, text string) (crontab.Entry, []crontab.Fault) {
	t.Helper()
	entries, faults := crontab.Parse(text, options)
	require.Len(t, entries, 1, "%v", faults)
	return entries[0], faults
}

func shellOf(t *testing.T, e crontab.Entry) (args jobs.ShellArgs) {
	t.Helper()
	require.Equal(t, "shell", e.Definition.Kind)
	require.NoError(t, json.Unmarshal(e.Definition.Args, &args))
	require.NoError(t, args.Check())
	return args
}

func TestCommands(t *testing.T) {
	t.Parallel()
	e, faults := one(t, `
# nightly backup
SHELL = /bin/bash
PATH="/usr/local/bin:/usr/bin"
HOME=/srv/shop
MAILTO=ops@example.com
MAILTO=
CRON_TZ=America/New_York
30 2 * * mon-fri	/srv/backup.sh --all "a b" | logger -t backup
`)
	require.Equal(t, 9, e.Line)
	require.Equal(t, "30 2 * * mon-fri", e.Definition.Expression)
	require.Equal(t, "America/New_York", e.Definition.Zone)
	require.Equal(t, "skip", e.Definition.Missed, "as with cron, a run that was missed is not made up for")
	require.Equal(t, 1, e.Definition.MaxAttempts)
	require.Contains(t, e.Words, "02:30")
	require.NoError(t, e.Definition.Check(e.Name))
	args := shellOf(t, e)
	require.Equal(t, `/srv/backup.sh --all "a b" | logger -t backup`, args.Command)
	require.Equal(t, "/bin/bash", args.Shell)
	require.Equal(t, "/srv/shop", args.Dir)
	require.Equal(t, map[string]string{"PATH": "/usr/local/bin:/usr/bin", "HOME": "/srv/shop"}, args.Env)
	require.Len(t, faults, 1)
	require.Equal(t, 6, faults[0].Line)
	require.Contains(t, faults[0].Reason, "nobody sends mail")

	e, _ = one(t, `0 0 1 * * date +\%F > /tmp/d%first%second`)
	args = shellOf(t, e)
	require.Equal(t, "date +%F > /tmp/d", args.Command)
	require.Equal(t, "first\nsecond\n", args.Stdin)

	e, _ = one(t, "@daily /usr/bin/true\r\n")
	require.Equal(t, "@daily", e.Definition.Expression)
	require.Equal(t, "/usr/bin/true", shellOf(t, e).Command)
}

// Variables hold for the lines below them.
func TestVariablesHoldFromTheirLine(t *testing.T) {
	t.Parallel()
	entries, _ := crontab.Parse("* * * * * a\nX=1\n* * * * * b\nX=2\n* * * * * c\n", options)
	require.Len(t, entries, 3)
	require.Nil(t, shellOf(t, entries[0]).Env)
	require.Equal(t, "1", shellOf(t, entries[1]).Env["X"])
	require.Equal(t, "2", shellOf(t, entries[2]).Env["X"])
}

func TestRequests(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]jobs.HTTPArgs{
		"curl -fsS https://example.com/cron.php?a=1 > /dev/null 2>&1": {URL: "https://example.com/cron.php?a=1"},
		"curl --silent -L 'https://example.com/?a=1&b=2' >/dev/null":  {URL: "https://example.com/?a=1&b=2", Redirects: 10},
		"/usr/bin/curl -sS -m 20 -X PUT -H 'X-A: b' -d a=b example.com": {
			URL: "http://example.com", Method: "PUT", Body: "a=b", TimeoutSeconds: 20,
			Headers: map[string]string{"X-A": "b", "Content-Type": "application/x-www-form-urlencoded"},
		},
		"wget -q -O /dev/null http://example.com/x":       {URL: "http://example.com/x", Redirects: 10},
		"wget -qO- --timeout=5 http://example.com/x":      {URL: "http://example.com/x", Redirects: 10, TimeoutSeconds: 5},
		"curl -o /dev/null --retry 3 http://example.com/": {URL: "http://example.com/"},
	} {
		e, _ := one(t, "*/5 * * * * "+command)
		require.Equal(t, "http", e.Definition.Kind, command)
		var args jobs.HTTPArgs
		require.NoError(t, json.Unmarshal(e.Definition.Args, &args))
		require.Equal(t, want, args, command)
		require.NotEmpty(t, e.Notes)
	}
	// Whatever is more than a plain request, or not understood for certain, is the shell's.
	for _, command := range []string{
		"curl -fsS https://example.com/a | sh", "curl https://example.com/$(hostname)", "curl -u a:b https://example.com", "curl -k https://example.com",
		"curl -H 'Authorization: Bearer x' https://example.com", "curl -d @file https://example.com", "curl https://a.example https://b.example",
		"curl -o out.html https://example.com", "cd /srv && curl https://example.com", "curl ftp://example.com", "curl 'https://example.com", "curl",
		"curl https://user:secret@example.com/", `curl "https://example.com/$X"`, "wget https://example.com/file.tgz -O file.tgz", "wget -r https://example.com",
		"curl https://example.com%stdin",
	} {
		e, _ := one(t, "*/5 * * * * "+command)
		require.Equal(t, "shell", e.Definition.Kind, command)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"@reboot /srv/start.sh": "a schedule knows no start of a machine",
		"61 * * * * a":          "61",
		"0 0 30 2 * a":          "0 0 30 2 *",
		"* * * *":               "is no line of a crontab",
		"hello":                 "is no line of a crontab",
		"* * * * *":             "has no command",
		"* * * * * %in":         "has no command",
		"@sometimes a":          "@sometimes",
		"CRON_TZ=Mars":          "the zone is not known; Europe/Paris holds on",
		"RANDOM_DELAY=10":       "has no meaning here",
	} {
		entries, faults := crontab.Parse(line+"\n", options)
		require.Empty(t, entries, line)
		require.Len(t, faults, 1, line)
		require.Contains(t, faults[0].Reason, want, line)
		require.Equal(t, 1, faults[0].Line)
	}
	_, faults := crontab.Parse("SHELL=bash\n* * * * * a\n", options)
	require.Len(t, faults, 1)
	require.Contains(t, faults[0].Reason, `shell "bash" is no absolute path`)
}

func TestSystemForm(t *testing.T) {
	t.Parallel()
	system := options
	system.System = true
	entries, faults := crontab.Parse("17 * * * * root cd / && run-parts --report /etc/cron.hourly\n0 3 * * * www-data php /srv/cron.php\n* * * * * root\n", system)
	require.Len(t, entries, 1)
	require.Equal(t, "cd / && run-parts --report /etc/cron.hourly", shellOf(t, entries[0]).Command)
	require.Len(t, faults, 2)
	require.Contains(t, faults[0].Reason, "runs as www-data")
	require.Contains(t, faults[0].Reason, "--user www-data --queue NAME")
	require.Contains(t, faults[1].Reason, "has no command")
}

// A name depends on the command alone: other lines, other times and another order change none.
func TestNames(t *testing.T) {
	t.Parallel()
	names := func(lines ...string) map[string]string {
		entries, faults := crontab.Parse(strings.Join(lines, "\n")+"\n", options)
		require.Empty(t, faults)
		byText := map[string]string{}
		seen := map[string]bool{}
		for _, e := range entries {
			require.NoError(t, e.Definition.Check(e.Name))
			require.False(t, seen[e.Name], "%s is there twice", e.Name)
			seen[e.Name] = true
			byText[fmt.Sprintf("%d %s", e.Line, e.Text)] = e.Name
		}
		return byText
	}
	first := names("0 1 * * * /srv/backup.sh a", "0 2 * * * /srv/backup.sh b", "0 3 * * * /srv/backup.sh a")
	second := names("0 5 * * * /srv/backup.sh b", "0 6 * * * /srv/backup.sh a")
	require.Equal(t, first["1 0 1 * * * /srv/backup.sh a"], second["2 0 6 * * * /srv/backup.sh a"])
	require.Equal(t, first["2 0 2 * * * /srv/backup.sh b"], second["1 0 5 * * * /srv/backup.sh b"])
	require.Equal(t, first["1 0 1 * * * /srv/backup.sh a"]+"-2", first["3 0 3 * * * /srv/backup.sh a"])
	for text, name := range names("* * * * * ~/äöü", "* * * * * [ -x /usr/bin/x ] && x", "* * * * * "+strings.Repeat("x", 300)) {
		require.Regexp(t, `^cron/[A-Za-z0-9_-]{1,48}$`, name, text)
	}
}
