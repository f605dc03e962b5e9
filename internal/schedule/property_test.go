package schedule_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/schedule"
)

var zones = []string{
	"UTC", "Europe/Paris", "Europe/Dublin", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Asia/Tehran", "Asia/Kathmandu",
	"Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Antarctica/Troll",
}

// names is what an expression means, written down a second time: which times of which days.
type names struct {
	minutes, hours, days, months, week map[int]bool
	either                             bool // a day of the month or one of the week will do
}

// at says whether a time is named, which is given as seconds on the face of a clock that was never put forward or back.
func (n names) at(face int64) bool {
	if face%60 != 0 || !n.minutes[int(face/60%60)] || !n.hours[int(face/3600%24)] {
		return false
	}
	t := time.Unix(face, 0).UTC()
	day, week := n.days[t.Day()], n.week[int(t.Weekday())]
	return n.months[int(t.Month())] && (day && week || n.either && (day || week))
}

// walk watches the clock on the wall go from one moment to another, step by step, and calls at each tick.
func walk(n names, zone *time.Location, from, to time.Time, step time.Duration, tick func(time.Time)) {
	face := func(t time.Time) int64 {
		_, offset := t.In(zone).Zone()
		return t.Unix() + int64(offset)
	}
	everyHour := len(n.hours) == 24
	furthest := face(from.Add(-step))
	for t := from; t.Before(to); t = t.Add(step) {
		shown := face(t)
		if everyHour {
			if n.at(shown) {
				tick(t)
			}
			continue
		}
		// Whatever the hands pass over for the first time counts, now.
		hit := false
		for furthest < shown {
			furthest += int64(step / time.Second)
			hit = hit || n.at(furthest)
		}
		if hit {
			tick(t)
		}
	}
}

func set(values ...int) map[int]bool {
	m := map[int]bool{}
	for _, v := range values {
		m[v] = true
	}
	return m
}

func upTo(from, to int) map[int]bool {
	m := map[int]bool{}
	for v := from; v <= to; v++ {
		m[v] = true
	}
	return m
}

// Over fifty years, in each zone, the ticks are those that somebody writes down who watches the clock.
func TestFiftyYears(t *testing.T) {
	t.Parallel()
	from, to := time.Date(1980, 1, 1, 12, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	for expression, n := range map[string]names{
		"30 2 * * *":        {set(30), set(2), upTo(1, 31), upTo(1, 12), upTo(0, 6), false},
		"0 0 29 2 *":        {set(0), set(0), set(29), set(2), upTo(0, 6), false},
		"45 0,1,3 31 * 0":   {set(45), set(0, 1, 3), set(31), upTo(1, 12), set(0), true},
		"0,30 * * 3,10 0,6": {set(0, 30), upTo(0, 23), upTo(1, 31), set(3, 10), set(0, 6), false},
	} {
		t.Run(expression, func(t *testing.T) {
			t.Parallel()
			for _, name := range zones {
				e := parse(t, expression, name)
				next := e.Next(from.Add(-time.Nanosecond))
				walk(n, e.Zone(), from, to, 15*time.Minute, func(tick time.Time) {
					if !next.Equal(tick) {
						require.FailNow(t, "not the next tick", "%s in %s: %s, not %s", expression, name, next, tick)
					}
					next = e.Next(next)
				})
				require.False(t, next.Before(to), "%s in %s: %s is one too many", expression, name, next)
			}
		})
	}
}

// field draws a field of a cron expression and says what it means.
func field(t *rapid.T, label string, low, high int) (text string, meaning map[int]bool, star bool) {
	meaning = map[int]bool{}
	step := rapid.IntRange(1, high-low).Draw(t, label+" step")
	from := rapid.IntRange(low, high).Draw(t, label+" from")
	to := rapid.IntRange(from, high).Draw(t, label+" to")
	switch rapid.IntRange(0, 4).Draw(t, label+" form") {
	case 0:
		return "*", upTo(low, high), true
	case 1:
		return fmt.Sprint(from), set(from), false
	case 2:
		return fmt.Sprintf("%d,%d", from, to), set(from, to), false
	case 3:
		text, star = fmt.Sprintf("*/%d", step), true
		from, to = low, high
	default:
		text = fmt.Sprintf("%d-%d/%d", from, to, step)
	}
	for v := from; v <= to; v += step {
		meaning[v] = true
	}
	return text, meaning, star
}

// Any expression, any zone, minute by minute around the shifts of the zone and elsewhere, in fifty years.
func TestAnyExpression(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var n names
		minute, minutes, _ := field(t, "minute", 0, 59)
		hour, hours, _ := field(t, "hour", 0, 23)
		dom, days, domStar := field(t, "day", 1, 31)
		month, months, _ := field(t, "month", 1, 12)
		dow, week, dowStar := field(t, "week", 0, 6)
		n = names{minutes, hours, days, months, week, !domStar && !dowStar}
		expression := fmt.Sprintf("%s %s %s %s %s", minute, hour, dom, month, dow)
		e, err := schedule.Parse(expression, rapid.SampledFrom(append([]string{"America/St_Johns"}, zones...)).Draw(t, "zone"))
		if err != nil {
			if impossible := !n.either && !possible(n); !impossible {
				t.Fatalf("%s: %s", expression, err)
			}
			return
		}
		moment := time.Unix(rapid.Int64Range(0, 50*365*86400).Draw(t, "moment"), 0).Add(10 * 365 * 24 * time.Hour).Truncate(time.Minute)
		if rapid.Bool().Draw(t, "shift") {
			if _, end := moment.In(e.Zone()).ZoneBounds(); !end.IsZero() {
				moment = end.Truncate(time.Minute) // the files of some systems end at a second in 2038
			}
		}
		// Start where the clock goes evenly, so that what it shows has not been shown before.
		from, to := moment.Add(-30*time.Hour), moment.Add(30*time.Hour)
		if start, _ := from.In(e.Zone()).ZoneBounds(); from.Sub(start) < 48*time.Hour {
			return
		}
		next := e.Next(from.Add(-time.Nanosecond))
		walk(n, e.Zone(), from, to, time.Minute, func(tick time.Time) {
			if !next.Equal(tick) {
				t.Fatalf("%s in %s: %s, not %s", expression, e.Zone(), next, tick)
			}
			if before := e.Prev(tick.Add(time.Nanosecond)); !before.Equal(tick) {
				t.Fatalf("%s in %s: %s is the last one, not %s", expression, e.Zone(), before, tick)
			}
			next = e.Next(next)
		})
		if !next.IsZero() && next.Before(to) {
			t.Fatalf("%s in %s: %s is one too many", expression, e.Zone(), next)
		}
		if e.Words() == "" {
			t.Fatalf("%s has no words", expression)
		}
	})
}

func possible(n names) bool {
	for day := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 2001; day = day.AddDate(0, 0, 1) {
		if n.days[day.Day()] && n.months[int(day.Month())] {
			return true
		}
	}
	return false
}

// Whatever is written, Parse answers, and what it accepts has a next tick or an end.
func TestParseAnything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9*/,A-Z?-]{1,4}( [0-9*/,A-Z?-]{1,4}){4,5}`),
			rapid.StringMatching(`(@|[a-z]+> ?)[a-z0-9:, ]{0,12}`)).Draw(t, "text")
		e, err := schedule.Parse(text, "Europe/Paris")
		if err != nil {
			return
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		next := e.Next(now)
		if !next.After(now) || e.Next(next).Sub(next) < e.Shortest()-2*time.Hour || e.Words() == "" {
			t.Fatalf("%q: %s, %s, %s, %q", text, next, e.Next(next), e.Shortest(), e.Words())
		}
	})
}
