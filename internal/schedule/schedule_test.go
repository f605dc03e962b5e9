package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/schedule"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return moment
}

func parse(t *testing.T, text, zone string) *schedule.Expression {
	t.Helper()
	e, err := schedule.Parse(text, zone)
	require.NoError(t, err)
	return e
}

// The next ticks after a moment, in the zone, and what the expression says in words.
func TestNext(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		expression, zone, after string
		want                    []string
	}{
		{"0 6 * * MON", "Europe/Paris", "2026-11-26T09:00:00Z", []string{"2026-11-30T06:00:00+01:00", "2026-12-07T06:00:00+01:00"}},
		{"30 0 6 * * 1-5", "UTC", "2026-11-27T06:00:30Z", []string{"2026-11-30T06:00:30Z"}},
		{"@every 90s", "UTC", "2026-11-26T09:00:00Z", []string{"2026-11-26T09:01:30Z", "2026-11-26T09:03:00Z"}},
		{"hourly> 30:15", "UTC", "2026-11-26T09:30:15Z", []string{"2026-11-26T10:30:15Z"}},
		{"daily> 07:00:00", "America/New_York", "2026-11-26T09:00:00Z", []string{"2026-11-26T07:00:00-05:00"}},
		{"weekly> Sun,09:30:00", "UTC", "2026-11-26T09:00:00Z", []string{"2026-11-29T09:30:00Z"}},
		{"monthly> 31,09:00:00", "UTC", "2026-11-26T09:00:00Z", []string{"2026-12-31T09:00:00Z", "2027-01-31T09:00:00Z", "2027-03-31T09:00:00Z"}},
		{"minutes_interval> 30", "UTC", "2026-11-26T09:10:00Z", []string{"2026-11-26T09:30:00Z"}},
		{"seconds_interval> 7", "UTC", "1970-01-01T00:00:08Z", []string{"1970-01-01T00:00:14Z"}},
		{"cron> 0 6 * * 7", "UTC", "2026-11-26T09:00:00Z", []string{"2026-11-29T06:00:00Z"}},
		{"0 0 * * 5-7", "UTC", "2026-11-26T09:00:00Z", []string{"2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z", "2026-12-04T00:00:00Z"}},
		{"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"0 0 29 2 */7", "UTC", "2032-03-01T00:00:00Z", []string{"2060-02-29T00:00:00Z"}},
		{"0 0 13 * 5", "UTC", "2026-11-26T09:00:00Z", []string{"2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z", "2026-12-13T00:00:00Z"}},

		// The clock skips 02:00 to 03:00: once, at the shift.
		{"30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"0,15,30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", []string{"2026-04-24T01:00:00+03:00", "2026-04-25T00:00:00+03:00"}},
		// It shows 02:00 to 03:00 twice: once, the first time.
		{"30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"30 2 * * *", "Europe/Paris", "2026-10-25T01:00:00Z", []string{"2026-10-26T02:30:00+01:00"}},
		// What comes every hour goes on as it went.
		{"*/30 * * * *", "Europe/Paris", "2026-10-25T00:20:00Z", []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"30 * * * *", "Europe/Paris", "2026-03-29T00:00:00Z", []string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"}},
		{"0 * * * *", "Europe/Paris", "2026-03-29T00:00:00Z", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"}},
		{"@every 30m", "Europe/Paris", "2026-10-25T00:20:00Z", []string{"2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"}},
		// The last day of a leap year beyond the shifts that the zone's data lists, where time.Time.ZoneBounds errs.
		{"daily> 07:00:00", "Europe/Paris", "2040-12-30T06:00:00Z", []string{"2040-12-31T07:00:00+01:00", "2041-01-01T07:00:00+01:00"}},
		{"0 * * * *", "Europe/Paris", "2040-12-30T22:30:00Z", []string{"2040-12-31T00:00:00+01:00", "2040-12-31T01:00:00+01:00", "2040-12-31T02:00:00+01:00"}},
		{"*/30 * * * *", "America/New_York", "2044-12-31T23:10:00Z", []string{"2044-12-31T18:30:00-05:00", "2044-12-31T19:00:00-05:00"}},
		{"0 23 * * *", "Australia/Sydney", "2040-12-31T01:00:00Z", []string{"2040-12-31T23:00:00+11:00", "2041-01-01T23:00:00+11:00"}},
		// A day that never was, and a shift of half an hour.
		{"0 6,18 * * *", "Pacific/Apia", "2011-12-30T04:30:00Z", []string{"2011-12-31T00:00:00+14:00", "2011-12-31T06:00:00+14:00"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
	} {
		e := parse(t, test.expression, test.zone)
		next := at(t, test.after)
		for _, want := range test.want {
			previous := next
			next = e.Next(next)
			require.Equal(t, want, next.Format(time.RFC3339), "%s in %s after %s", test.expression, test.zone, previous)
			require.Equal(t, next, e.Prev(next.Add(time.Second)))
			if before := e.Prev(next); !before.IsZero() {
				require.False(t, before.After(previous), "%s: %s is before %s", test.expression, before, next)
			}
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"0 6 * * MON":                 "every Monday at 06:00 Europe/Paris",
		"weekly> Sun,09:30:00":        "every Sunday at 09:30 Europe/Paris",
		"daily> 07:00:10":             "every day at 07:00:10 Europe/Paris",
		"0 6,18 * * *":                "every day at 06:00 and 18:00 Europe/Paris",
		"0 9 * * 1-5":                 "every weekday at 09:00 Europe/Paris",
		"0 9 * * 6,0":                 "every Saturday and Sunday at 09:00 Europe/Paris",
		"*/15 * * * *":                "every 15 minutes Europe/Paris",
		"*/15 9-17 * * 1-5":           "every 15 minutes from 09:00 to 17:45 on every weekday Europe/Paris",
		"@hourly":                     "every hour Europe/Paris",
		"hourly> 30:00":               "every hour at minute 30 Europe/Paris",
		"* * * * *":                   "every minute Europe/Paris",
		"*/10 * * * * *":              "every 10 seconds Europe/Paris",
		"@every 90s":                  "every 90 seconds",
		"@every 1s":                   "every second",
		"@every 1m":                   "every minute",
		"seconds_interval> 1":         "every second",
		"@every 1h30m":                "every 1 hour 30 minutes",
		"@every 1h":                   "every hour",
		"minutes_interval> 30":        "every 30 minutes",
		"monthly> 1,09:00:00":         "on the 1st of every month at 09:00 Europe/Paris",
		"0 0 1,15 * *":                "on the 1st and 15th of every month at 00:00 Europe/Paris",
		"0 0 1 1 *":                   "on the 1st of the month in January at 00:00 Europe/Paris",
		"0 0 13 * 5":                  "on the 13th of every month and every Friday at 00:00 Europe/Paris",
		"0 */2 * * *":                 "at minute 0 of every 2nd hour Europe/Paris",
		"7 3 */2 * *":                 "every 2nd day of the month at 03:07 Europe/Paris",
		"@yearly":                     "on the 1st of the month in January at 00:00 Europe/Paris",
		"5,35 * * * *":                "every hour at minute 5 and 35 Europe/Paris",
		"30 */5 8-9 1 3,6 2":          "at second 30, every 5 minutes from 08:00 to 09:55 on the 1st of the month and every Tuesday in March and June Europe/Paris",
		"0 0 2,5,7,11,13,17,19 * * *": "at minute 0 in the hours 2, 5, 7, 11, 13, 17 and 19 Europe/Paris",
	} {
		require.Equal(t, want, parse(t, expression, "Europe/Paris").Words(), expression)
	}
}

func TestImpossibleExpressions(t *testing.T) {
	t.Parallel()
	for expression, part := range map[string]string{
		"0 0 30 2 *":           `expression "0 0 30 2 *" never comes: no month that it names has such a day; the last day that February has is 29`,
		"0 0 31 4,6,9,11 *":    "never comes",
		"monthly> 32,09:00:00": "cannot be",
		"":                     "is no schedule",
		"tomorrow":             "has 1 fields",
		"* * * *":              "has 4 fields",
		"* * * * * * *":        "has 7 fields",
		"60 * * * *":           "cannot be",
		"* * * * 8":            "cannot be",
		"*/0 * * * *":          "cannot be",
		"1,,2 * * * *":         `has the minute "1,,2", which is none`,
		"5-1 * * * *":          "cannot be",
		"* * * FOO *":          "cannot be",
		"@every":               "is no schedule",
		"@every 0.5s":          "whole seconds",
		"@every -5s":           "whole seconds",
		"@every soon":          "has no duration",
		"@reboot":              "is no schedule",
		"TZ=UTC * * * * *":     "is no schedule",
		"yearly> 1":            "has an unknown form",
		"daily> 7":             `is not of that form; write it as in "daily> 07:00:00"`,
		"daily> 25:00:00":      "cannot be",
		"minutes_interval> 0":  "whole seconds",
		"minutes_interval> x":  "is not of that form",
	} {
		_, err := schedule.Parse(expression, "")
		var fault *schedule.Error
		require.ErrorAs(t, err, &fault, expression)
		require.Equal(t, "expression", fault.Field)
		require.Contains(t, err.Error(), part, expression)
	}
	_, err := schedule.Parse("@daily", "Mars/Olympus")
	require.EqualError(t, err, `zone "Mars/Olympus" is not known; give a name of the IANA database, as in "Europe/Paris" or "UTC"`)
	_, err = schedule.Parse("@daily", "Local")
	require.ErrorContains(t, err, "another one on each machine")
}

func TestDefinitionFaults(t *testing.T) {
	t.Parallel()
	moment := func(text string) *time.Time { m := at(t, text); return &m }
	valid := schedule.Definition{Expression: "@hourly", Kind: "k"}
	require.NoError(t, valid.Check("a"))
	for want, change := range map[string]func(d *schedule.Definition){
		`ends_at 2026-01-01T00:00:00Z is before starts_at 2026-02-01T00:00:00Z; give an end after the start, or leave one of them out`: func(d *schedule.Definition) {
			d.StartsAt, d.EndsAt = moment("2026-02-01T00:00:00Z"), moment("2026-01-01T00:00:00Z")
		},
		`jitter 2h0m0s is longer than the shortest time between two runs, 1h0m0s; give less, such as 6m0s`: func(d *schedule.Definition) {
			d.Jitter = schedule.Seconds(2 * time.Hour)
		},
		`jitter -1s is negative; give a length of time, such as 30s`:                                   func(d *schedule.Definition) { d.Jitter = schedule.Seconds(-time.Second) },
		`missed "later" is no policy; choose "coalesce", "catch_up" or "skip"`:                         func(d *schedule.Definition) { d.Missed = "later" },
		`overlap "no" is no policy; choose "allow", "skip" or "queue"`:                                 func(d *schedule.Definition) { d.Overlap = "no" },
		`skip_after 3m0s goes with missed "skip" alone; set missed to "skip", or leave skip_after out`: func(d *schedule.Definition) { d.SkipAfter = schedule.Seconds(3 * time.Minute) },
		`grace -1s is negative; give a length of time, such as 10m`:                                    func(d *schedule.Definition) { d.Grace = schedule.Seconds(-time.Second) },
	} {
		d := valid
		change(&d)
		require.EqualError(t, d.Check("a"), want)
	}
	require.ErrorContains(t, valid.Check(" a"), `name " a" must have`)
	require.ErrorContains(t, valid.Check(""), `name "" must have`)
}

func TestShortest(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]time.Duration{
		"@every 90s": 90 * time.Second, "* * * * *": time.Minute, "*/7 * * * *": 4 * time.Minute, "0 6 * * *": 24 * time.Hour,
		"0 6,8 * * *": 2 * time.Hour, "0 6 * * 1": 7 * 24 * time.Hour, "0 6 * * 1,2": 24 * time.Hour, "0 6 1,15 * *": 14 * 24 * time.Hour,
		"0 23,1 * * *": 2 * time.Hour, "0 0 1 * *": 28 * 24 * time.Hour, "50,10 * * * * *": 20 * time.Second, "30 23 13 * 5": 24 * time.Hour,
	} {
		require.Equal(t, want, parse(t, expression, "UTC").Shortest(), expression)
	}
}

func TestPlanHasBounds(t *testing.T) {
	t.Parallel()
	start, end := at(t, "2026-11-26T09:00:20Z"), at(t, "2026-11-26T09:01:00Z")
	d := schedule.Definition{Expression: "@every 20s", StartsAt: &start, EndsAt: &end}
	p, err := d.Plan("a")
	require.NoError(t, err)
	var ticks []string
	for tick := p.Next(time.Time{}); !tick.IsZero(); tick = p.Next(tick) {
		ticks = append(ticks, tick.Format("15:04:05"))
	}
	require.Equal(t, []string{"09:00:20", "09:00:40", "09:01:00"}, ticks)
	require.Equal(t, end, p.Prev(end.Add(time.Hour)))
	require.Zero(t, p.Prev(start))
	require.Equal(t, "every 20 seconds, from 26 November 2026 09:00, until 26 November 2026 09:01", p.Words())
}

func TestWordsOfJitter(t *testing.T) {
	t.Parallel()
	for jitter, want := range map[time.Duration]string{
		time.Second: "a second", 30 * time.Second: "30 seconds", time.Minute: "a minute", 90 * time.Minute: "1 hour 30 minutes",
		time.Hour: "an hour", 24 * time.Hour: "a day",
	} {
		d := schedule.Definition{Expression: "@monthly", Jitter: schedule.Seconds(jitter)}
		p, err := d.Plan("a")
		require.NoError(t, err)
		require.Equal(t, "on the 1st of every month at 00:00 UTC, up to "+want+" later", p.Words())
	}
}

// The jitter of a tick is always the same, and those of a schedule are spread over its length.
func TestJitter(t *testing.T) {
	t.Parallel()
	d := schedule.Definition{Expression: "@every 1m", Jitter: schedule.Seconds(30 * time.Second)}
	seen := map[int]int{}
	for i := range 100 {
		p, err := d.Plan(fmt.Sprintf("schedule %d", i))
		require.NoError(t, err)
		for tick := range 30 {
			moment := time.Unix(int64(tick)*60, 0)
			due := p.Due(moment)
			require.Equal(t, due, p.Due(moment))
			seen[int(due.Sub(moment)/(3*time.Second))]++
		}
	}
	require.Len(t, seen, 10)
	for tenth, n := range seen {
		require.InDelta(t, 300, n, 120, "tenth %d", tenth)
	}
}
