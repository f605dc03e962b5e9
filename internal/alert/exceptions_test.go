package alert_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/alert"
)

// Which of a rule's exceptions holds is decided alike here and in SQL.
func TestWhichExceptionHolds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	subjects := []string{"*", "mail", "m*", "mail*", "*mail", "m*l", "m*il", "reports-daily", "reports-*daily", "*reports-daily", "reports-*", "*-daily", "ä*", "a*b", "*a*b*", "B*", "b*"}
	for _, subject := range subjects[1:] {
		r.exec(`SELECT towpath.put_alert_rule('queue_old', threshold => 1, subject => $1)`, subject)
	}
	for range 20 {
		var all alert.Exceptions
		for _, i := range rand.Perm(len(subjects)) {
			all = append(all, &alert.Rule{Name: "queue_old", Subject: subjects[i]})
		}
		alert.Sort(all)
		for value, want := range map[string]string{
			"mail": "mail", "mails": "mail*", "email": "*mail", "moil": "m*il", "mill": "m*l", "me": "m*", "reports-daily": "reports-daily", "reports-x-daily": "reports-*daily",
			"x-reports-daily": "*reports-daily", "reports-x": "reports-*", "sums-daily": "*-daily", "är": "ä*", "ab": "*a*b*", "a*b": "a*b", "Bb": "B*", "other": "*", "": "*",
		} {
			require.Equal(t, want, all.For(value).Subject, value)
			require.Equal(t, want, one[string](t, r.pool, `SELECT subject FROM towpath.alert_rule_for('queue_old', $1)`, value), value)
		}
	}
	require.Nil(t, alert.Exceptions{}.For("mail"))
}

// What is stuck is judged and counted by the limit of its own kind, however many of another one run for long.
func TestStuckByKind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	running := `INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at, attempted_at, attempted_by)
		SELECT '{}', $1, 1, 'other', 'running', now(), now() - $2::interval, '{web-1}' FROM generate_series(1, $3)`
	r.exec(running, "export", 2*time.Hour, 1)
	r.exec(running, "export", 5*time.Minute, 50)
	r.exec(running, "archive", 50*time.Minute, 1500)
	r.exec(running, "short", 20*time.Minute, 2)
	for subject, seconds := range map[string]int{"archive": 86400, "short": 600, "thumbnail": 60} {
		r.exec(`SELECT towpath.put_alert_rule('work_stuck', threshold => $2, enabled => $3, subject => $1)`, subject, seconds, subject != "thumbnail")
	}
	r.round(r.evaluator())
	require.Equal(t, "1 attempt of kind export has been running for 2h; 2 attempts of kind short have been running for 20m",
		one[string](t, r.pool, `SELECT string_agg(summary, '; ' ORDER BY subject) FROM towpath.alerts`))
	r.exec(`SELECT towpath.put_alert_rule('work_stuck', enabled => false)`)
	r.exec(`SELECT towpath.revert_alert_rule('work_stuck', subject) FROM unnest('{archive,short,thumbnail}'::text[]) subject`)
	r.round(r.evaluator())
	require.Zero(t, one[int](t, r.pool, `SELECT count(*) FROM towpath.alerts WHERE state <> 'resolved'`))
}

// An exception is otherwise as its rule, and of several the one that says the most about a subject holds, here and in SQL.
func TestExceptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, sql := range []string{
		`SELECT towpath.put_alert_rule('queue_old', threshold => 60, after => '0', severity => 'critical')`,
		`SELECT towpath.put_alert_rule('queue_old', threshold => 7200, severity => 'info', subject => 'reports-*')`,
		`SELECT towpath.put_alert_rule('queue_old', threshold => 600, severity => 'warning', subject => '*-daily')`,
		`SELECT towpath.put_alert_rule('queue_old', enabled => false, subject => 'reports-daily')`,
		`SELECT towpath.put_alert_rule('queue_old', notifiers => '{}', subject => 'quiet')`,
		`SELECT towpath.put_alert_rule('work_stuck', threshold => 600, after => '0', subject => 'sh*rt')`,
		`SELECT towpath.put_alert_rule('process_gone', enabled => false)`,
		`SELECT towpath.put_alert_rule('process_gone', enabled => true, subject => 'web-*')`,
	} {
		r.exec(sql)
	}
	for _, queue := range []string{"mail", "reports-weekly", "reports-x-daily", "sums-daily", "reports-daily", "quiet"} {
		r.exec(`INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at) VALUES ('{}', 'k', 1, $1, 'available', now() - interval '20 minutes')`, queue)
	}
	for _, kind := range []string{"short", "long"} {
		r.exec(`INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at, attempted_at, attempted_by)
			VALUES ('{}', $1, 1, 'other', 'running', now(), now() - interval '20 minutes', '{web-1}')`, kind)
	}
	for _, process := range []string{"web-2", "cron-1"} {
		r.exec(`INSERT INTO towpath.process (client_id, host, pid, started_at, beat_at, running, dead_at) VALUES ($1, $1, 7, now() - interval '1 day',
			now() - interval '2 minutes', 3, now() - interval '1 minute')`, process)
	}
	e := r.evaluator("slack")
	r.round(e)
	shown := one[string](t, r.pool, `SELECT string_agg(concat_ws(' ', rule, subject, state, severity), '; ' ORDER BY rule, subject COLLATE "C") FROM towpath.alerts`)
	require.Equal(t, "process_gone web-2 firing warning; queue_old mail firing critical; queue_old quiet firing critical; queue_old sums-daily firing warning; "+
		"work_stuck short firing warning", shown)
	require.Equal(t, shown, one[string](t, r.pool, `SELECT string_agg(concat_ws(' ', rule, subject, state, severity), '; ' ORDER BY rule, subject COLLATE "C")
		FROM towpath.alert_events`), "what was written down then is what the view says now")
	r.pass(15 * time.Second)
	r.round(e)
	require.NotContains(t, r.sent(), "quiet", "nobody is told of it")
	require.Contains(t, r.sent(), "queue_old mail")

	// What an exception is taken back for is judged by the rule again.
	require.True(t, one[bool](t, r.pool, `SELECT towpath.revert_alert_rule('queue_old', 'reports-*')`))
	require.False(t, one[bool](t, r.pool, `SELECT towpath.revert_alert_rule('queue_old', 'reports-*')`))
	r.exec(`SELECT towpath.put_alert_rule('queue_old', enabled => false, subject => 'mail')`)
	r.round(e)
	require.Equal(t, "mail resolved; quiet firing; reports-weekly firing; reports-x-daily firing; sums-daily firing",
		one[string](t, r.pool, `SELECT string_agg(subject || ' ' || state, '; ' ORDER BY subject COLLATE "C") FROM towpath.alerts WHERE rule = 'queue_old'`))
}

// Of an exception what it does not say is what its rule says, and of that what it does not, the default.
func TestExceptionsInherit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rule := func(subject string) string {
		return one[string](t, r.pool, `SELECT concat_ws(' ', enabled, severity, threshold, after, reminder, coalesce(notifiers::text, 'all'), changed) FROM towpath.alert_rules
			WHERE name = 'queue_old' AND subject = $1`, subject)
	}
	require.Equal(t, "t warning 300 00:01:00 04:00:00 all f", rule("*"))
	r.exec(`SELECT towpath.put_alert_rule('queue_old', threshold => 900, subject => 'mail')`)
	require.Equal(t, "t warning 900 00:01:00 04:00:00 all t", rule("mail"))
	require.Equal(t, "t warning 300 00:01:00 04:00:00 all f", rule("*"), "the rule stays")
	r.exec(`SELECT towpath.put_alert_rule('queue_old', enabled => false, severity => 'critical', threshold => 60, after => '5 minutes', reminder => '0', notifiers => '{slack}')`)
	require.Equal(t, "f critical 900 00:05:00 {slack} t", rule("mail"))
	r.exec(`SELECT towpath.put_alert_rule('queue_old', enabled => true, notifiers => '{all}', reminder => '1 hour', subject => 'mail')`)
	require.Equal(t, "t critical 900 00:05:00 01:00:00 all t", rule("mail"))
	require.True(t, one[bool](t, r.pool, `SELECT towpath.revert_alert_rule('queue_old')`))
	require.Equal(t, "t warning 900 00:01:00 01:00:00 all t", rule("mail"), "exceptions stay")
	require.Equal(t, "t warning 300 00:01:00 04:00:00 all f", rule("*"))
	require.True(t, one[bool](t, r.pool, `SELECT towpath.revert_alert_rule('queue_old', 'mail')`))
	require.Zero(t, one[int](t, r.pool, `SELECT count(*) FROM towpath.alert_rules WHERE changed`))
	require.Equal(t, "mail;-;mail;-;mail", one[string](t, r.pool, `SELECT string_agg(coalesce(details->>'subject', '-'), ';' ORDER BY id) FROM towpath.audit`))
}

func TestExceptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.exec(`SELECT towpath.put_alert_rule('queue_old', threshold => 1, subject => 's' || n) FROM generate_series(1, 200) n`)
	r.exec(`SELECT towpath.put_alert_rule('queue_old', threshold => 2, subject => 's7')`)
	r.exec(`SELECT towpath.put_alert_rule('queue_old', threshold => 2)`)
	r.exec(`SELECT towpath.put_alert_rule('work_stuck', threshold => 2, subject => 's7')`)
	for sql, says := range map[string]string{
		`SELECT towpath.put_alert_rule('queue_old', threshold => 2, subject => 'one more')`:        "rule queue_old has 200 exceptions already",
		`SELECT towpath.put_alert_rule('queue_old', threshold => 2, subject => '')`:                `subject "" is out of range`,
		`SELECT towpath.put_alert_rule('queue_old', threshold => 2, subject => repeat('x', 1001))`: "is out of range",
		`SELECT towpath.put_alert_rule('work_stuck', threshold => 2, subject => '***')`:            `subject "***" is out of range`,
		`SELECT towpath.put_alert_rule('no_leader', threshold => 2, subject => 'leader')`:          "rule no_leader has no threshold",
		`SELECT towpath.put_alert_rule('queue_young', threshold => 2, subject => 'mail')`:          `alert rule "queue_young" does not exist`,
		`SELECT towpath.revert_alert_rule('queue_young', 'mail')`:                                  `alert rule "queue_young" does not exist`,
	} {
		_, err := r.pool.Exec(t.Context(), sql)
		require.ErrorContains(t, err, says)
	}
}
