package alert_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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
