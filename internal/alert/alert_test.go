package alert_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/alert"
)

var base = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

func at(minutes float64) time.Time { return base.Add(time.Duration(minutes * float64(time.Minute))) }

// What is seen, minute by minute, and what becomes of the alert: w is well, a number is the measure, b is brewing, - means
// that the rule was switched off.
func TestStates(t *testing.T) {
	t.Parallel()
	threshold := 5.0
	for name, test := range map[string]struct {
		after time.Duration
		seen  string
		want  string
	}{
		"Well":               {0, "w w 4", ". . ."},
		"AtOnce":             {0, "w 5 9 w", ". firing firing resolved"},
		"Pending":            {2 * time.Minute, "5 5 5 5", "pending pending firing firing"},
		"PendingAgain":       {2 * time.Minute, "5 5 w 5 5 5", "pending pending resolved pending pending firing"},
		"Settles":            {2 * time.Minute, "5 5 5 w 5 w w", "pending pending firing firing firing firing resolved"},
		"Brewing":            {0, "b b 5 w", "pending pending firing resolved"},
		"BrewingForNothing":  {0, "b b w w", "pending pending resolved resolved"},
		"BrewingStartsAnew":  {2 * time.Minute, "b b b 5 5 5", "pending pending pending pending pending firing"},
		"FiresAgain":         {0, "5 w 5 w", "firing resolved firing resolved"},
		"RecoversToBrewing":  {0, "5 b b", "firing resolved pending"},
		"SwitchedOff":        {0, "5 - 5", "firing resolved firing"},
		"SwitchedOffPending": {2 * time.Minute, "5 - -", "pending resolved resolved"},
		"SwitchedOffAlways":  {0, "- -", ". ."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := alert.Alert{Rule: "queue_old", Subject: "mail"}
			var states []string
			for minute, seen := range strings.Fields(test.seen) {
				rule := alert.Rule{Name: "queue_old", Enabled: seen != "-", Threshold: &threshold, After: test.after}
				var o *alert.Observation
				switch seen {
				case "w", "-":
				case "b":
					o = &alert.Observation{Subject: "mail", Brewing: true}
				default:
					o = &alert.Observation{Subject: "mail", Value: seen}
					_, err := fmt.Sscan(seen, &o.Measure)
					require.NoError(t, err)
				}
				before := a
				a = rule.Advance(a, o, at(float64(minute)))
				if a.State != before.State {
					require.Equal(t, at(float64(minute)), a.Since)
				}
				if a.State == alert.Unknown {
					states = append(states, ".")
				} else {
					states = append(states, string(a.State))
				}
			}
			require.Equal(t, test.want, strings.Join(states, " "))
		})
	}
}

// What is known to be wrong for long need not wait again, and its beginning is the one that is told.
func TestSinceWhen(t *testing.T) {
	t.Parallel()
	rule := alert.Rule{Enabled: true, After: 10 * time.Minute}
	a := rule.Advance(alert.Alert{}, &alert.Observation{Since: at(-10)}, at(0))
	require.Equal(t, alert.Firing, a.State)
	require.Equal(t, at(-10), a.BadSince)
	require.Equal(t, at(0), a.Since)

	// A schedule was late and is missed now: wrong since it was missed.
	rule.After = 0
	a = rule.Advance(alert.Alert{}, &alert.Observation{Brewing: true, Since: at(0), Value: "0"}, at(1))
	require.Equal(t, alert.Pending, a.State)
	require.True(t, a.BadSince.IsZero())
	a = rule.Advance(a, &alert.Observation{Since: at(5), Value: "-1"}, at(6))
	require.Equal(t, alert.Firing, a.State)
	require.Equal(t, at(5), a.BadSince)
	require.Equal(t, "-1", a.Value)
	a = rule.Advance(a, nil, at(7))
	require.Equal(t, alert.Resolved, a.State)
	require.Equal(t, "1", a.Value, "the recovery's figure")
	require.Equal(t, at(5), a.BadSince)

	// The clock of what was seen runs ahead.
	a = rule.Advance(alert.Alert{}, &alert.Observation{Since: at(90)}, at(0))
	require.Equal(t, at(0), a.BadSince)
}

// Names are matched whole, and * stands for any characters, none included.
func TestSilencesCover(t *testing.T) {
	t.Parallel()
	for _, test := range silenceCases {
		s := alert.Silence{Rule: "*", Subject: test.pattern, Ends: at(10)}
		require.Equal(t, test.matches, s.Covers(&alert.Alert{Rule: "x", Subject: test.value}, at(0)), "%s %s", test.pattern, test.value)
	}
	s := alert.Silence{Rule: "schedule_*", Subject: "nightly", Ends: at(10)}
	require.True(t, s.Covers(&alert.Alert{Rule: "schedule_missed", Subject: "nightly"}, at(9)))
	require.False(t, s.Covers(&alert.Alert{Rule: "check_missed", Subject: "nightly"}, at(9)))
	require.False(t, s.Covers(&alert.Alert{Rule: "schedule_missed", Subject: "nightly"}, at(10)), "it has ended")
}

var silenceCases = []struct {
	pattern, value string
	matches        bool
}{
	{"*", "", true},
	{"*", "anything at all", true},
	{"mail", "mail", true},
	{"mail", "mails", false},
	{"mail", "Mail", false},
	{"mail*", "mail", true},
	{"mail*", "mail.send", true},
	{"*send", "mail.send", true},
	{"*send", "mail.sender", false},
	{"m*l*d", "mail.send", true},
	{"m*l*x", "mail.send", false},
	{"a*a", "a", false},
	{"ab*b", "ab", false},
	{"a**b", "a-b", true},
	{"50%", "500", false},
	{"50%", "50%", true},
	{"a_c", "abc", false},
	{`a\*`, `a\b`, true},
	{"myads_pipeline - *", "myads_pipeline - weekly", true},
	{"*.*.*", "a.b", false},
	{"", "", true},
	{"", "x", false},
}
