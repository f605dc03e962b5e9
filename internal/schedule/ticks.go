package schedule

import (
	"math/bits"
	"time"
)

// horizon is for how many years a tick is looked for: the longest wait is for a 29 February that falls on a given day of
// the week, over a year such as 2100.
const horizon = 60

// Next returns the first tick after t, or the zero time when there is none.
func (e *Expression) Next(t time.Time) time.Time {
	switch {
	case e.period > 0:
		return e.nextInterval(t)
	case e.everyHour():
		return e.nextShown(t)
	default:
		return e.nextNamed(t)
	}
}

// Prev returns the last tick before t, or the zero time when there is none in the years that are looked at.
func (e *Expression) Prev(t time.Time) time.Time {
	for span := e.Shortest(); span < horizon*366*24*time.Hour; span *= 2 {
		found := e.Next(t.Add(-span))
		if found.IsZero() || !found.Before(t) {
			continue
		}
		for {
			next := e.Next(found)
			if next.IsZero() || !next.Before(t) {
				return found
			}
			found = next
		}
	}
	return time.Time{}
}

func (e *Expression) nextInterval(t time.Time) time.Time {
	if t.Before(e.anchor) {
		return e.anchor
	}
	// In seconds, since a duration is too short for the time since 1970 in some hundred years.
	period := int64(e.period / time.Second)
	passed := (t.Unix() - e.anchor.Unix()) / period
	next := e.anchor.Add(time.Duration(passed) * e.period)
	for !next.After(t) {
		next = next.Add(e.period)
	}
	return next.In(e.zone)
}

// nextNamed goes over the times that the expression names, as numbers on a calendar, and asks when each comes. They come
// in their order, and the one that the clock shows at t, or one before, has come by then.
func (e *Expression) nextNamed(t time.Time) time.Time {
	wall := reading(t.In(e.zone))
	for limit := wall.Year() + horizon; ; {
		wall = e.nextOnCalendar(wall, limit)
		if wall.IsZero() {
			return time.Time{}
		}
		if at := e.comes(wall); at.After(t) {
			return at
		}
	}
}

// nextShown looks for the next moment at which the clock shows one of the times, period of the zone by period.
func (e *Expression) nextShown(t time.Time) time.Time {
	t = t.In(e.zone)
	for limit := t.Year() + horizon; t.Year() < limit; {
		_, end := zoneBounds(t)
		wall := reading(t)
		next := e.nextOnCalendar(wall, limit)
		if next.IsZero() {
			return time.Time{}
		}
		at := t.Truncate(time.Second).Add(next.Sub(wall))
		if end.IsZero() || at.Before(end) {
			return at
		}
		// The first moment of the next period counts.
		if t = end.In(e.zone); e.names(reading(t)) {
			return t
		}
	}
	return time.Time{}
}

// reading is what the clock shows, down to the second, as if it were in UTC.
func reading(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// comes returns the first moment at which the zone's clock shows a time, or the shift that skips it.
func (e *Expression) comes(wall time.Time) time.Time {
	// Offsets and shifts are of a day or so at most.
	t := wall.Add(-48 * time.Hour).In(e.zone)
	for {
		start, end := zoneBounds(t)
		_, offset := t.Zone()
		at := wall.Add(-time.Duration(offset) * time.Second)
		if end.IsZero() || at.Before(end) {
			// Not before this period either: the one before has ended without showing it.
			if at.Before(start) {
				return start.In(e.zone)
			}
			return at.In(e.zone)
		}
		t = end.In(e.zone)
	}
}

// zoneBounds is time.Time.ZoneBounds, whose periods end after 365 days in years of which the zone's data lists no shifts: on
// the last day of a leap year the end lies before t, and who goes on from there goes in circles (Go 1.26).
func zoneBounds(t time.Time) (start, end time.Time) {
	start, end = t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		end = end.Add(24 * time.Hour)
	}
	return start, end
}

// names says whether the expression names a time.
func (e *Expression) names(wall time.Time) bool {
	return e.second&(1<<wall.Second()) != 0 && e.minute&(1<<wall.Minute()) != 0 && e.hour&(1<<wall.Hour()) != 0 && e.onDay(wall)
}

func (e *Expression) onDay(wall time.Time) bool {
	if e.month&(1<<int(wall.Month())) == 0 {
		return false
	}
	dom, dow := e.dom&(1<<wall.Day()) != 0, e.dow&(1<<int(wall.Weekday())) != 0
	if e.bothDays {
		return dom && dow
	}
	return dom || dow
}

// nextOnCalendar returns the first time after wall that the expression names, regardless of any zone; zero when there is
// none before the year limit.
func (e *Expression) nextOnCalendar(wall time.Time, limit int) time.Time {
	day := time.Date(wall.Year(), wall.Month(), wall.Day(), 0, 0, 0, 0, time.UTC)
	if e.onDay(day) {
		if second := e.nextInDay(int(wall.Sub(day)/time.Second) + 1); second >= 0 {
			return day.Add(time.Duration(second) * time.Second)
		}
	}
	first := e.nextInDay(0)
	for {
		day = day.AddDate(0, 0, 1)
		if e.month&(1<<int(day.Month())) == 0 {
			day = time.Date(day.Year(), day.Month()+1, 0, 0, 0, 0, 0, time.UTC) // to the last day of this month
			if day.Year() > limit {
				return time.Time{}
			}
			continue
		}
		if e.onDay(day) {
			return day.Add(time.Duration(first) * time.Second)
		}
		if day.Year() > limit {
			return time.Time{}
		}
	}
}

// nextInDay returns the first second of the day, from the given one on, that the expression names, or -1.
func (e *Expression) nextInDay(from int) int {
	hour, minute, second := from/3600, from/60%60, from%60
	for {
		h := atLeast(e.hour, hour)
		if h < 0 {
			return -1
		}
		if h > hour {
			minute, second = 0, 0
		}
		m := atLeast(e.minute, minute)
		if m < 0 {
			hour, minute, second = h+1, 0, 0
			continue
		}
		if m > minute {
			second = 0
		}
		s := atLeast(e.second, second)
		if s < 0 {
			hour, minute, second = h, m+1, 0
			continue
		}
		return h*3600 + m*60 + s
	}
}

// atLeast is the lowest value of a set that is not below the given one, or -1.
func atLeast(set uint64, value int) int {
	if value > 63 {
		return -1
	}
	rest := set >> value
	if rest == 0 {
		return -1
	}
	return value + bits.TrailingZeros64(rest)
}
