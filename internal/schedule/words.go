package schedule

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Words says the expression in plain words, with its zone: "every Monday at 06:00 Europe/Paris".
func (e *Expression) Words() string {
	if e.period > 0 {
		return "every " + length(e.period)
	}
	days := e.dayWords()
	if times := e.clockWords(); times != "" {
		return fmt.Sprintf("%s at %s %s", days, times, e.zone)
	}
	times := e.rhythmWords()
	switch {
	case days == "every day":
		return fmt.Sprintf("%s %s", times, e.zone)
	case strings.HasPrefix(days, "every day in "):
		return fmt.Sprintf("%s %s %s", times, strings.TrimPrefix(days, "every day "), e.zone)
	case strings.HasPrefix(days, "on "):
		return fmt.Sprintf("%s %s %s", times, days, e.zone)
	default:
		return fmt.Sprintf("%s on %s %s", times, days, e.zone)
	}
}

// length says a duration: "90 seconds", "1 hour 30 minutes".
func length(d time.Duration) string {
	if d%time.Second != 0 {
		return d.String()
	}
	seconds := int64(d / time.Second)
	if seconds > 1 && seconds < 120 && seconds != 60 {
		return plural(seconds, "second")
	}
	var parts []string
	for _, unit := range []struct {
		name    string
		seconds int64
	}{{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}} {
		if n := seconds / unit.seconds; n > 0 {
			parts = append(parts, plural(n, unit.name))
			seconds -= n * unit.seconds
		}
	}
	// "every hour" reads better than "every 1 hour".
	if len(parts) == 1 && strings.HasPrefix(parts[0], "1 ") {
		return parts[0][2:]
	}
	return strings.Join(parts, " ")
}

// oneLength is a length of time where no "every" stands before it: "a minute", "an hour", "90 seconds".
func oneLength(d time.Duration) string {
	switch words := length(d); words {
	case "hour":
		return "an hour"
	case "day", "minute", "second":
		return "a " + words
	default:
		return words
	}
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// clockWords lists the times of a day when they are few.
func (e *Expression) clockWords() string {
	hours, minutes, seconds := values(e.hour), values(e.minute), values(e.second)
	if len(hours)*len(minutes)*len(seconds) > 6 {
		return ""
	}
	var times []string
	for _, h := range hours {
		for _, m := range minutes {
			for _, s := range seconds {
				times = append(times, clock(h, m, s, len(seconds) == 1 && s == 0))
			}
		}
	}
	return list(times)
}

// rhythmWords says how often in a day.
func (e *Expression) rhythmWords() string {
	hours, minutes, seconds := values(e.hour), values(e.minute), values(e.second)
	fine := e.secondWords(seconds)
	if len(minutes) < 60 || fine == "" {
		fine = joined(fine, e.minuteWords(minutes))
	}
	if len(hours) == 24 {
		return fine
	}
	if step := stepOf(hours, 24); step > 1 && hours[0] == 0 {
		return fine + " of every " + ordinal(step) + " hour"
	}
	if low, high, ok := run(hours); ok {
		return fmt.Sprintf("%s from %s to %s", fine, clock(low, 0, 0, true), clock(high, minutes[len(minutes)-1], 0, true))
	}
	var names []string
	for _, h := range hours {
		names = append(names, strconv.Itoa(h))
	}
	return fine + " in the hours " + list(names)
}

func joined(fine, coarse string) string {
	if fine == "" {
		return coarse
	}
	return fine + ", " + coarse
}

func (e *Expression) secondWords(seconds []int) string {
	switch step := stepOf(seconds, 60); {
	case len(seconds) == 60:
		return "every second"
	case len(seconds) == 1 && seconds[0] == 0:
		return ""
	case step > 0 && seconds[0] == 0:
		return fmt.Sprintf("every %d seconds", step)
	default:
		return "at second " + list(numbers(seconds))
	}
}

func (e *Expression) minuteWords(minutes []int) string {
	switch step := stepOf(minutes, 60); {
	case len(minutes) == 60:
		return "every minute"
	case len(minutes) == 1 && minutes[0] == 0 && e.hour == 1<<24-1:
		return "every hour"
	case step > 0 && minutes[0] == 0:
		return fmt.Sprintf("every %d minutes", step)
	case e.hour == 1<<24-1:
		return "every hour at minute " + list(numbers(minutes))
	default:
		return "at minute " + list(numbers(minutes))
	}
}

var weekdays = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}

// dayWords says on which days.
func (e *Expression) dayWords() string {
	months := ""
	if e.month != 1<<13-2 {
		var names []string
		for _, m := range values(e.month) {
			names = append(names, time.Month(m).String())
		}
		months = " in " + list(names)
	}
	allDays, allWeek := e.dom == 1<<32-2, e.dow == 1<<7-1
	week := e.weekWords()
	var month string
	if days := values(e.dom); stepOf(days, 32) > 1 && days[0] == 1 && len(days) > 5 {
		month = fmt.Sprintf("every %s day of the month", ordinal(stepOf(days, 32)))
	} else if !allDays {
		var names []string
		for _, d := range days {
			names = append(names, ordinal(d))
		}
		month = "on the " + list(names) + " of the month"
		if months == "" {
			month = "on the " + list(names) + " of every month"
		}
	}
	switch {
	case !e.bothDays && (allDays || allWeek), allDays && allWeek:
		return "every day" + months
	case !e.bothDays:
		return month + " and " + week + months
	case allDays:
		return week + months
	case allWeek:
		return month + months
	default:
		return month + " if it is a " + strings.TrimPrefix(week, "every ") + months
	}
}

func (e *Expression) weekWords() string {
	days := values(e.dow)
	if e.dow == 0b0111110 {
		return "every weekday"
	}
	if len(days) == 7 {
		return "every day"
	}
	var names []string
	for _, d := range days {
		if d != 0 {
			names = append(names, weekdays[d])
		}
	}
	if days[0] == 0 {
		names = append(names, weekdays[0]) // the week begins on Monday
	}
	return "every " + list(names)
}

func clock(h, m, s int, short bool) string {
	if short {
		return fmt.Sprintf("%02d:%02d", h, m)
	}
	return fmt.Sprintf("%02d:%02d:%02d", h, m, s)
}

// values are the members of a set.
func values(set uint64) []int {
	var members []int
	for set != 0 {
		members = append(members, bits.TrailingZeros64(set))
		set &= set - 1
	}
	return members
}

// stepOf is the distance of the members when they go on evenly to the end of a range, else 0.
func stepOf(members []int, end int) int {
	if len(members) < 2 {
		return 0
	}
	step := members[1] - members[0]
	for i := range members[1:] {
		if members[i+1]-members[i] != step {
			return 0
		}
	}
	if members[len(members)-1]+step < end {
		return 0
	}
	return step
}

// run says whether the members follow one another.
func run(members []int) (low, high int, ok bool) {
	low, high = members[0], members[len(members)-1]
	return low, high, len(members) > 1 && high-low == len(members)-1
}

func numbers(members []int) []string {
	texts := make([]string, len(members))
	for i, n := range members {
		texts[i] = strconv.Itoa(n)
	}
	return texts
}

func list(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:len(items)-1], ", ") + " and " + items[len(items)-1]
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
