package alert_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/alert"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
)

// rig is a database with a leader, and evaluators whose clock is the test's.
type rig struct {
	t    *testing.T
	pool *pgxpool.Pool

	mu  sync.Mutex
	now time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, pool: testdb.Pool(t)}
	r.now = one[time.Time](t, r.pool, `SELECT clock_timestamp()`)
	r.exec(`INSERT INTO towpath.river_leader (leader_id, elected_at, expires_at, name) VALUES ('web-1', now(), now() + interval '1 hour', 'default')`)
	return r
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *rig) clock(context.Context) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now, nil
}

// evaluator is one that waits ten seconds for alerts to share a message.
func (r *rig) evaluator(notifiers ...string) *alert.Evaluator {
	return alert.New(alert.Config{
		Pool: r.pool, ID: "test", Logger: slog.New(slog.DiscardHandler), Every: 15 * time.Second, Wait: 10 * time.Second, Notifiers: notifiers, Clock: r.clock,
	})
}

func (r *rig) round(e *alert.Evaluator) {
	r.t.Helper()
	_, err := e.Round(r.t.Context())
	require.NoError(r.t, err)
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err, sql)
}

func one[T any](t *testing.T, db *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	require.NoError(t, err, sql)
	value, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	require.NoError(t, err, sql)
	return value
}

// states writes the changes of the alerts down, the oldest first.
func (r *rig) states() string {
	r.t.Helper()
	return one[string](r.t, r.pool, `SELECT coalesce(string_agg(rule || ' ' || subject || ' ' || state, '; ' ORDER BY id), '') FROM towpath.alert_events`)
}

// messages are the deliveries that were enqueued, the oldest first.
func (r *rig) messages() (all []notify.Args) {
	r.t.Helper()
	rows, err := r.pool.Query(r.t.Context(), `SELECT args FROM towpath.river_job WHERE kind = 'towpath.notify' AND queue = 'towpath' AND max_attempts = 12 ORDER BY id`)
	require.NoError(r.t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
	require.NoError(r.t, err)
	for _, text := range texts {
		var args notify.Args
		require.NoError(r.t, json.Unmarshal(text, &args))
		all = append(all, args)
	}
	return all
}

// sent writes the deliveries down: notifier status rule subject value.
func (r *rig) sent() string {
	r.t.Helper()
	var lines []string
	for _, args := range r.messages() {
		line := args.Notifier + " " + args.Message.Status
		for _, a := range args.Message.Alerts {
			line += fmt.Sprintf(" %s %s %s", a.Rule, a.Subject, a.Value)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

const weekly = "myads_pipeline - weekly"

// putWeekly puts a schedule with a status.
func (r *rig) putWeekly() {
	r.exec(`INSERT INTO towpath.schedule (name, edited, next_tick, next_due, settled)
		VALUES ($1, towpath.full_definition('{"expression": "0 6 * * MON", "kind": "report"}'), now() + interval '1 day', now() + interval '1 day', true)`, weekly)
}

func (r *rig) setWeekly(status string) {
	r.exec(`UPDATE towpath.schedule SET status = $2, status_since = $3 WHERE name = $1`, weekly, status, r.now)
}

// A weekly schedule is in order, late, missed, and in order again: pending and firing once, one message, one on recovery.
func TestMissedWeeklySchedule(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.evaluator("slack")
	r.putWeekly()
	r.round(e)
	require.Empty(t, r.states())

	r.setWeekly("late")
	for range 3 {
		r.round(e)
		r.pass(time.Minute)
	}
	require.Equal(t, "schedule_late "+weekly+" firing; schedule_missed "+weekly+" pending", sorted(r.states()))
	require.Equal(t, "0", one[string](t, r.pool, `SELECT value FROM towpath.alerts WHERE rule = 'schedule_missed'`))
	require.Empty(t, r.sent())

	r.setWeekly("missed")
	missed := r.now
	r.round(e)
	require.Empty(t, r.sent(), "others may share the message")
	r.pass(10 * time.Second)
	for range 5 {
		r.round(e)
		r.pass(time.Minute)
	}
	require.Equal(t, "slack firing schedule_missed "+weekly+" -1", r.sent())
	message := r.messages()[0].Message
	require.Equal(t, "Cron Jobs alert", message.Title)
	require.Equal(t, "critical", message.Severity)
	require.Equal(t, "schedule:"+weekly, message.Key)
	require.Equal(t, "/schedules/myads_pipeline%20-%20weekly", message.Alerts[0].Link)
	require.WithinDuration(t, missed, message.Alerts[0].Since, time.Second)

	r.setWeekly("ok")
	r.round(e)
	r.pass(10 * time.Second)
	for range 5 {
		r.round(e)
		r.pass(time.Minute)
	}
	require.Equal(t, "slack firing schedule_missed "+weekly+" -1; slack resolved schedule_missed "+weekly+" 1", r.sent())
	require.Equal(t, 1, strings.Count(r.states(), "schedule_missed "+weekly+" pending"))
	require.Equal(t, 1, strings.Count(r.states(), "schedule_missed "+weekly+" firing"))
	require.Equal(t, 1, strings.Count(r.states(), "schedule_missed "+weekly+" resolved"))
}

func sorted(list string) string {
	parts := strings.Split(list, "; ")
	if len(parts) == 2 && parts[0] > parts[1] {
		parts[0], parts[1] = parts[1], parts[0]
	}
	return strings.Join(parts, "; ")
}

// Reminders come at their interval, which can be changed; the end is told once.
func TestRemindersUntilItIsOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.evaluator("slack")
	r.putWeekly()
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "schedule_failed", Reminder: new(time.Hour)}))
	r.setWeekly("failed")
	r.round(e)
	for range 150 {
		r.pass(time.Minute)
		r.round(e)
	}
	line := " schedule_failed " + weekly
	require.Equal(t, "slack firing"+line+" -1; slack reminder"+line+" -1; slack reminder"+line+" -1", r.sent())
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "schedule_failed", Reminder: new(time.Duration)}))
	for range 150 {
		r.pass(time.Minute)
		r.round(e)
	}
	require.Len(t, r.messages(), 3)
}

// A rule that is disabled and an alert that is silenced send nothing; what still fires when the silence is over is told.
func TestDisabledAndSilenced(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.evaluator("slack")
	r.putWeekly()
	no, yes := false, true
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "schedule_failed", Enabled: &no}))
	rounds := func() {
		for range 4 {
			r.round(e)
			r.pass(10 * time.Second)
		}
	}
	r.setWeekly("failed")
	rounds()
	require.Empty(t, r.states())
	require.Empty(t, r.sent())

	id, _, err := store.MakeSilence(t.Context(), r.pool, "schedule_*", "myads*", time.Hour, "we know")
	require.NoError(t, err)
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "schedule_failed", Enabled: &yes}))
	rounds()
	require.Equal(t, "schedule_failed "+weekly+" firing", r.states())
	require.NotNil(t, one[*time.Time](t, r.pool, `SELECT silenced_until FROM towpath.alerts`))
	require.Empty(t, r.sent())

	ended, err := store.EndSilence(t.Context(), r.pool, id)
	require.NoError(t, err)
	require.True(t, ended)
	rounds()
	require.Equal(t, "slack firing schedule_failed "+weekly+" -1", r.sent())

	// Switched off while it fires, it is over without a word.
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "schedule_failed", Enabled: &no}))
	rounds()
	require.Equal(t, "schedule_failed "+weekly+" firing; schedule_failed "+weekly+" resolved", r.states())
	require.Len(t, r.messages(), 1)
}

// Two evaluators at once tell everything once, whoever is quicker.
func TestTwoEvaluatorsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.putWeekly()
	evaluators := []*alert.Evaluator{r.evaluator("slack", "email"), r.evaluator("slack", "email"), r.evaluator("slack", "email")}
	together := func() {
		var all sync.WaitGroup
		for _, e := range evaluators {
			all.Go(func() {
				if _, err := e.Round(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		r.pass(5 * time.Second)
	}
	for n := range 5 {
		r.setWeekly("missed")
		for range 4 {
			together()
		}
		r.setWeekly("ok")
		for range 4 {
			together()
		}
		require.Len(t, r.messages(), 4*(n+1), "firing and resolved, by two notifiers")
		require.Equal(t, 2*(n+1), strings.Count(r.states(), weekly))
	}
}

// An evaluator that was away for long and comes back with what it saw then, and with the message that was due then,
// changes nothing and sends nothing.
func TestStaleEvaluatorChangesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.putWeekly()
	r.setWeekly("missed")
	stalled, other := r.evaluator("slack"), r.evaluator("slack")
	r.round(other)
	r.pass(10 * time.Second)
	saw, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	alert.BeforeSave(stalled, func() {
		once.Do(func() {
			close(saw)
			<-goOn
		})
	})
	done := make(chan error, 1)
	go func() {
		_, err := stalled.Round(t.Context())
		done <- err
	}()
	<-saw
	firing, resolved := "slack firing schedule_missed "+weekly+" -1", "slack resolved schedule_missed "+weekly+" 1"
	r.round(other)
	require.Equal(t, firing, r.sent())
	r.setWeekly("ok")
	r.round(other)
	close(goOn)
	require.NoError(t, <-done)
	require.Equal(t, firing, r.sent(), "told by one of them")
	require.Equal(t, "schedule_missed "+weekly+" firing; schedule_missed "+weekly+" resolved", r.states())
	require.Equal(t, "resolved", one[string](t, r.pool, `SELECT state FROM towpath.alerts`))
	r.pass(10 * time.Second)
	r.round(stalled)
	r.round(other)
	require.Equal(t, firing+"; "+resolved, r.sent())
}

// The connection of an evaluator is cut while it writes: nothing is half done, and the next one does it once.
func TestCutWhileItWrites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.putWeekly()
	r.setWeekly("missed")
	e := r.evaluator("slack")
	r.round(e)
	r.pass(10 * time.Second)

	// The row that it has to lock is held, and so it is in the midst of its statement when it dies.
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT * FROM towpath.alert_round FOR UPDATE`)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := e.Round(t.Context())
		done <- err
	}()
	require.Eventually(t, func() bool {
		killed := one[int](t, r.pool, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%save_alerts%'`)
		return killed > 0
	}, time.Minute, 10*time.Millisecond)
	require.Error(t, <-done)
	require.NoError(t, tx.Rollback(t.Context()))
	require.Empty(t, r.sent())
	require.False(t, one[bool](t, r.pool, `SELECT told FROM towpath.alerts`))

	r.round(r.evaluator("slack"))
	r.round(e)
	require.Equal(t, "slack firing schedule_missed "+weekly+" -1", r.sent())
}

// Nobody is configured: what fires is kept, and told by the first who is.
func TestNobodyToTell(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.putWeekly()
	r.setWeekly("failed")
	r.round(r.evaluator())
	r.pass(time.Minute)
	r.round(r.evaluator())
	require.Empty(t, r.sent())
	r.round(r.evaluator("email"))
	require.Equal(t, "email firing schedule_failed "+weekly+" -1", r.sent())
}

// SQL covers what Go covers.
func TestSilencesCoverTheSameInSQL(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	for _, test := range silenceCases {
		require.Equal(t, test.matches, one[bool](t, pool, `SELECT towpath.glob_matches($1, $2)`, test.pattern, test.value), "%s %s", test.pattern, test.value)
	}
}

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
