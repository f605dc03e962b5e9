package cmd_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// Whatever is wrong is found, and problems fail the command.
func TestStatusFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const (
		process = `INSERT INTO towpath.process (client_id, host, queues, kinds, beat_at) VALUES ('web-1', 'web-1', '{"default": 5}', '{mail.send}', now() + interval '1 hour'); `
		leader  = `INSERT INTO towpath.river_leader (leader_id, elected_at, expires_at, name) VALUES ('web-1', now(), now() + interval '1 hour', 'default'); `
		firing  = `INSERT INTO towpath.alert (rule, subject, state, since, summary) VALUES ('work_stuck', 'mail.send', 'firing', now(), 'An attempt has been running for 2h'); `
		waiting = `INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at) VALUES ('{}', 'mail.send', 25, 'default', 'available', now()); `
	)
	for name, test := range map[string]struct {
		sql    string
		code   int
		wanted map[string]string // code to subject
	}{
		"Nothing":      {``, 1, map[string]string{"no_process": ""}},
		"Fine":         {process + leader + waiting, 0, map[string]string{}},
		"NoLeader":     {process, 1, map[string]string{"no_leader": ""}},
		"RiverLeads":   {process + `INSERT INTO towpath.river_leader (leader_id, elected_at, expires_at, name) VALUES ('plain', now(), now() + interval '1 hour', 'default'); `, 0, map[string]string{}},
		"RiverAlone":   {`INSERT INTO towpath.river_leader (leader_id, elected_at, expires_at, name) VALUES ('plain', now(), now() + interval '1 hour', 'default'); `, 0, map[string]string{}},
		"Firing":       {process + leader + firing, 1, map[string]string{"alert": "mail.send"}},
		"Pending":      {process + leader + firing + `UPDATE towpath.alert SET state = 'pending'`, 0, map[string]string{}},
		"Silenced":     {process + leader + firing + `SELECT towpath.silence('work_*', '*', now() + interval '1 hour')`, 0, map[string]string{"alert": "mail.send"}},
		"Information":  {process + leader + firing + `SELECT towpath.put_alert_rule('work_stuck', severity => 'info')`, 0, map[string]string{"alert": "mail.send"}},
		"DeadForLong":  {process + leader + `INSERT INTO towpath.process (client_id, host, pid, running, dead_at) VALUES ('web-2', 'web-2', 7, 3, now() - interval '16 minutes')`, 0, map[string]string{}},
		"LeaderOfOld":  {process + leader + `UPDATE towpath.river_leader SET expires_at = now() - interval '1 minute'`, 1, map[string]string{"no_leader": ""}},
		"Silent":       {process + leader + `INSERT INTO towpath.process (client_id, host, pid, beat_at) VALUES ('web-2', 'web-2', 7, now() - interval '25 seconds')`, 1, map[string]string{"silent_process": "web-2 pid 7"}},
		"Dead":         {process + leader + `INSERT INTO towpath.process (client_id, host, pid, running, dead_at) VALUES ('web-2', 'web-2', 7, 3, now())`, 1, map[string]string{"dead_process": "web-2 pid 7"}},
		"Stopped":      {process + leader + `INSERT INTO towpath.process (client_id, host, stopped_at) VALUES ('web-2', 'web-2', now())`, 0, map[string]string{}},
		"NobodyWorks":  {process + leader + waiting + `UPDATE towpath.river_job SET queue = 'mail'`, 1, map[string]string{"queue_without_process": "mail"}},
		"Old":          {process + leader + waiting + `UPDATE towpath.river_job SET scheduled_at = now() - interval '11 minutes'`, 1, map[string]string{"old_job": "default"}},
		"Paused":       {process + leader + waiting + `INSERT INTO towpath.river_queue (name) VALUES ('default'); SELECT towpath.pause_queue('default')`, 0, map[string]string{"queue_paused": "default"}},
		"UnknownKind":  {process + leader + waiting + `UPDATE towpath.river_job SET kind = 'other.kind'; SELECT towpath.refresh_queue_depth()`, 1, map[string]string{"unknown_kind": "other.kind"}},
		"FailingKind":  {process + leader + `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'mail.send', 'retried', 3, 6), ('default', 'mail.send', 'discarded', 3, 5), ('default', 'mail.send', 'completed', 3, 10)`, 1, map[string]string{"failing_kind": "mail.send"}},
		"FailedSeldom": {process + leader + `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'mail.send', 'retried', 3, 9)`, 0, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			_, err := pool.Exec(t.Context(), test.sql)
			require.NoError(t, err)
			code, found := statusOf(t, pool)
			require.Equal(t, test.wanted, found)
			require.Equal(t, test.code, code)
		})
	}
}

// What an alert tells too is one finding, which says that it fires; an alert about something else stays one of its own.
func TestStatusNamesATroubleOnce(t *testing.T) {
	t.Parallel()
	const (
		process = `INSERT INTO towpath.process (client_id, host, queues, kinds, beat_at) VALUES ('web-1', 'web-1', '{"default": 5}', '{mail.send}', now() + interval '1 hour'); `
		leader  = `INSERT INTO towpath.river_leader (leader_id, elected_at, expires_at, name) VALUES ('web-1', now(), now() + interval '1 hour', 'default'); `
		waiting = `INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at) VALUES ('{}', 'mail.send', 25, 'default', 'available', now() - interval '20 minutes'); `
		failing = `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'mail.send', 'discarded', 3, 20); `
		gone    = `INSERT INTO towpath.process (client_id, host, pid, running, beat_at, dead_at) VALUES ('c-7', 'web-2', 7, 3, now() - interval '1 minute', now()); `
		silent  = `INSERT INTO towpath.process (client_id, host, pid, beat_at) VALUES ('c-7', 'web-2', 7, now() - interval '25 seconds'); `
	)
	fires := func(rule, subject string) string {
		return `INSERT INTO towpath.alert (rule, subject, state, since, summary) VALUES ('` + rule + `', '` + subject + `', 'firing', now(), 'It is so'); `
	}
	const silenced = `SELECT towpath.silence('*', '*', now() + interval '1 hour'); `
	for name, test := range map[string]struct {
		sql  string
		want []string // level, code, subject; and the rule of an alert that the text names
	}{
		"OldJob":         {process + leader + waiting + fires("queue_old", "default"), []string{"problem old_job default: queue_old"}},
		"OldJobSilenced": {process + leader + waiting + fires("queue_old", "default") + silenced, []string{"problem old_job default: queue_old silenced"}},
		"AnotherQueue":   {process + leader + waiting + fires("queue_old", "mail"), []string{"problem old_job default:", "problem alert mail: queue_old"}},
		"NobodyWorks": {
			process + leader + waiting + `UPDATE towpath.river_job SET queue = 'mail'; ` + fires("queue_old", "mail"),
			[]string{"problem queue_without_process mail: queue_old"},
		},
		"FailingKind": {
			process + leader + failing + fires("kind_failing", "mail.send") + fires("work_stuck", "mail.send"),
			[]string{"problem failing_kind mail.send: kind_failing", "problem alert mail.send: work_stuck"},
		},
		"NoLeader":  {process + fires("no_leader", "leader"), []string{"problem no_leader : no_leader"}},
		"NoProcess": {fires("no_leader", "leader"), []string{"problem no_process : no_leader"}},
		"Dead":      {process + leader + gone + fires("process_gone", "c-7"), []string{"problem dead_process web-2 pid 7: process_gone"}},
		"Silent":    {process + leader + silent + fires("process_gone", "c-7"), []string{"problem silent_process web-2 pid 7: process_gone"}},
		"OtherDead": {process + leader + silent + fires("process_gone", "c-8"), []string{"problem silent_process web-2 pid 7:", "problem alert c-8: process_gone"}},
		"Schedule":  {process + leader + fires("schedule_missed", "weekly"), []string{"problem alert weekly: schedule_missed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			_, err := pool.Exec(t.Context(), test.sql)
			require.NoError(t, err)
			_, found := findingsOf(t, pool)
			var got []string
			for _, one := range found {
				line := one.Level + " " + one.Code + " " + one.Subject + ":"
				if _, after, named := strings.Cut(one.Text, " ("); named {
					rule, _, _ := strings.Cut(after, " since ")
					line += " " + rule
				}
				if strings.Contains(one.Text, ", silenced until ") {
					line += " silenced"
				}
				got = append(got, line)
			}
			require.Equal(t, test.want, got)
		})
	}
}

// foundFinding is a finding as --json prints it.
type foundFinding struct{ Level, Code, Subject, Text, Mend string }

func statusOf(t *testing.T, pool *pgxpool.Pool) (code int, found map[string]string) {
	t.Helper()
	code, all := findingsOf(t, pool)
	found = map[string]string{}
	for _, one := range all {
		found[one.Code] = one.Subject
	}
	return code, found
}

func findingsOf(t *testing.T, pool *pgxpool.Pool) (code int, found []foundFinding) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "towpath", "status", "--json")
	command.Env = append(os.Environ(), "TOWPATH_DATABASE_URL="+pool.Config().ConnString())
	out, err := command.Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		code = exit.ExitCode()
	} else {
		require.NoError(t, err)
	}
	var status struct {
		Status   string
		Findings []foundFinding
	}
	require.NoError(t, json.Unmarshal(out, &status))
	require.Equal(t, code == 0, status.Status == "fine")
	for _, one := range status.Findings {
		require.NotEmpty(t, one.Text)
		require.NotEmpty(t, one.Mend)
	}
	return code, status.Findings
}
