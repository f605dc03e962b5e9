package alert_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/alert"
)

// told writes deliveries down: notifier status subject,subject.
func told(due []alert.Delivery) string {
	var lines []string
	for _, d := range due {
		var subjects []string
		for _, a := range d.Alerts {
			subjects = append(subjects, a.Subject)
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", d.Notifier, d.Status, strings.Join(subjects, ",")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "; ")
}

func schedules(name, severity string) alert.Exceptions {
	return alert.Exceptions{{Name: name, Subject: "*", Family: "schedule", Title: "Cron Jobs alert", Severity: severity, Enabled: true, Reminder: time.Hour}}
}

func testBook() *alert.Book {
	return &alert.Book{
		Rules: map[string]alert.Exceptions{
			"schedule_missed": schedules("schedule_missed", "critical"), "schedule_failed": schedules("schedule_failed", "critical"),
			"schedule_late": {{Name: "schedule_late", Subject: "*", Family: "schedule", Title: "Cron Jobs alert", Severity: "info", Enabled: true, Notifiers: []string{}}},
			"queue_old":     {{Name: "queue_old", Subject: "*", Family: "queue", Title: "Queues alert", Severity: "warning", Enabled: true}},
		},
		Notifiers: []string{"slack", "pagerduty:ops"},
		Wait:      30 * time.Second,
	}
}

func firing(rule, subject string, minute float64) *alert.Alert {
	return &alert.Alert{Rule: rule, Subject: subject, State: alert.Firing, Since: at(minute)}
}

func resolve(a *alert.Alert, minute float64) { a.State, a.Since = alert.Resolved, at(minute) }

// Alerts of one title that change within the wait share a message; incidents are opened one by one.
func TestGrouping(t *testing.T) {
	t.Parallel()
	b := testBook()
	alerts := []*alert.Alert{
		firing("schedule_missed", "weekly", 0), firing("schedule_failed", "nightly", 0.25), firing("queue_old", "mail", 0.25),
	}
	due, next := b.Plan(alerts, at(0))
	require.Empty(t, due)
	require.Equal(t, at(0.5), next)

	due, next = b.Plan(alerts, at(0.5))
	require.Equal(t, "pagerduty:ops firing nightly; pagerduty:ops firing weekly; slack firing nightly,weekly", told(due))
	require.Equal(t, at(0.75), next)
	for _, d := range due {
		require.Equal(t, "Cron Jobs alert", d.Title)
		require.Equal(t, "critical", d.Severity)
		if d.Notifier != "slack" {
			require.Equal(t, "schedule:"+d.Alerts[0].Subject, d.Key)
		}
	}
	due, _ = b.Plan(alerts, at(0.75))
	require.Equal(t, "pagerduty:ops firing mail; slack firing mail", told(due))
	due, next = b.Plan(alerts, at(10))
	require.Empty(t, due, "each is told once")
	require.Equal(t, at(60.5), next, "the reminder")

	resolve(alerts[0], 20)
	due, _ = b.Plan(alerts, at(20.5))
	require.Equal(t, "pagerduty:ops resolved weekly; slack resolved weekly", told(due))
	due, _ = b.Plan(alerts, at(21))
	require.Empty(t, due)
}

// A reminder comes an interval after the last message, as long as it fires.
func TestReminders(t *testing.T) {
	t.Parallel()
	b := testBook()
	b.Notifiers = []string{"slack"}
	weekly := firing("schedule_missed", "weekly", 0)
	alerts := []*alert.Alert{weekly, firing("queue_old", "mail", 0)}
	var log []string
	for minute := range 200 {
		if minute == 130 {
			resolve(weekly, 130)
		}
		if due, _ := b.Plan(alerts, at(float64(minute))); len(due) > 0 {
			log = append(log, fmt.Sprintf("%d %s", minute, told(due)))
		}
	}
	require.Equal(t, []string{
		"1 slack firing mail; slack firing weekly", "61 slack reminder weekly", "121 slack reminder weekly", "131 slack resolved weekly",
	}, log, "queue_old has no reminder")
}

// What is over before it was told is not told, and what comes back within the wait is not told again.
func TestFlapping(t *testing.T) {
	t.Parallel()
	b := testBook()
	b.Notifiers = []string{"slack"}
	a := firing("schedule_missed", "weekly", 0)
	due, _ := b.Plan([]*alert.Alert{a}, at(0.1))
	require.Empty(t, due)
	resolve(a, 0.2)
	due, next := b.Plan([]*alert.Alert{a}, at(5))
	require.Empty(t, due)
	require.Zero(t, next)

	a = firing("schedule_missed", "weekly", 10)
	due, _ = b.Plan([]*alert.Alert{a}, at(11))
	require.Equal(t, "slack firing weekly", told(due))
	resolve(a, 12)
	due, _ = b.Plan([]*alert.Alert{a}, at(12.1))
	require.Empty(t, due)
	a.State, a.Since = alert.Firing, at(12.2)
	due, _ = b.Plan([]*alert.Alert{a}, at(13))
	require.Empty(t, due)
}

// A silence keeps everything back; what still is so at its end is told then.
func TestSilences(t *testing.T) {
	t.Parallel()
	b := testBook()
	b.Notifiers = []string{"slack"}
	b.Silences = []alert.Silence{{Rule: "schedule_*", Subject: "weekly", Ends: at(100)}}
	weekly, nightly := firing("schedule_missed", "weekly", 0), firing("schedule_missed", "nightly", 0)
	alerts := []*alert.Alert{weekly, nightly}
	due, next := b.Plan(alerts, at(1))
	require.Equal(t, "slack firing nightly", told(due))
	require.Equal(t, at(100), next)
	b.Silences = append(b.Silences, alert.Silence{Rule: "*", Subject: "nightly", Ends: at(50)})
	resolve(nightly, 10)
	due, next = b.Plan(alerts, at(11))
	require.Empty(t, due, "a recovery is kept back too")
	require.Equal(t, at(50), next)
	due, _ = b.Plan(alerts, at(50))
	require.Equal(t, "slack resolved nightly", told(due))
	due, _ = b.Plan(alerts, at(100))
	require.Equal(t, "slack firing weekly", told(due))
}

// A schedule that was missed and has now failed is not told to be in order; when it is, all who were told are.
func TestAnotherRuleOfTheFamilyTakesOver(t *testing.T) {
	t.Parallel()
	b := testBook()
	missed := firing("schedule_missed", "weekly", 0)
	b.Rules["schedule_failed"][0].Notifiers = []string{"slack"}
	due, _ := b.Plan([]*alert.Alert{missed}, at(1))
	require.Equal(t, "pagerduty:ops firing weekly; slack firing weekly", told(due))

	resolve(missed, 10)
	failed := firing("schedule_failed", "weekly", 10)
	alerts := []*alert.Alert{missed, failed}
	due, _ = b.Plan(alerts, at(10))
	require.Empty(t, due)
	due, _ = b.Plan(alerts, at(11))
	require.Equal(t, "slack firing weekly", told(due))
	require.False(t, missed.Told)

	resolve(failed, 20)
	due, _ = b.Plan(alerts, at(21))
	require.Equal(t, "pagerduty:ops resolved weekly; slack resolved weekly", told(due))

	// One that is told to nobody takes nothing over.
	missed = firing("schedule_missed", "weekly", 30)
	_, _ = b.Plan([]*alert.Alert{missed}, at(31))
	resolve(missed, 40)
	due, _ = b.Plan([]*alert.Alert{missed, firing("schedule_late", "weekly", 40)}, at(41))
	require.Equal(t, "pagerduty:ops resolved weekly; slack resolved weekly", told(due))
}

// A rule names who tells it; what nobody can tell waits for somebody who can.
func TestNotifiersOfARule(t *testing.T) {
	t.Parallel()
	b := testBook()
	b.Rules["queue_old"][0].Notifiers = []string{"email", "slack"}
	mail := firing("queue_old", "mail", 0)
	due, _ := b.Plan([]*alert.Alert{mail}, at(1))
	require.Equal(t, "slack firing mail", told(due))
	require.Equal(t, []string{"slack"}, mail.ToldTo)

	b.Notifiers = nil
	other := firing("queue_old", "other", 0)
	due, _ = b.Plan([]*alert.Alert{other}, at(1))
	require.Empty(t, due)
	require.False(t, other.Told)
	b.Notifiers = []string{"email"}
	due, _ = b.Plan([]*alert.Alert{other}, at(5))
	require.Equal(t, "email firing other", told(due))

	// Whoever was told and is not configured any more cannot be told the end.
	resolve(mail, 6)
	due, _ = b.Plan([]*alert.Alert{mail}, at(7))
	require.Empty(t, due)
	require.False(t, mail.Told)
}
