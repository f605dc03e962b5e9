// Package schedule says when a schedule runs, in which words, and whether it is in order. It is pure: functions of
// values, without a clock, a database or a queue.
//
// # Expressions
//
//   - cron with five fields (minute, hour, day of the month, month, day of the week) or six (seconds first); names of
//     months and days, lists, ranges and steps; 7 is Sunday too. When both days are given, either will do, unless one of
//     the two fields begins with *, as in every cron.
//   - @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, and @every with a duration of whole seconds.
//   - Digdag's forms: hourly> MM:SS, daily> HH:MM:SS, weekly> Sun,HH:MM:SS, monthly> D,HH:MM:SS, minutes_interval> N,
//     seconds_interval> N, cron> and a cron expression.
//
// # Ticks
//
// The moments that an expression names are its ticks. Those of an interval are counted from the schedule's start, or
// from 1970-01-01T00:00Z without one. Those of a calendar expression are read off the clock on the wall of a time zone:
//
//   - An expression that names its hours runs once for each time that it names. A time that the clock skips runs at the
//     shift; several such times are one. A time that the clock shows twice runs the first time.
//   - An expression for every hour of the day runs whenever the clock shows its minute, so that "every 15 minutes" goes on
//     every 15 minutes through the hour that comes twice, and the skipped hour is passed over.
//   - A day that a month does not have is passed over: the 31st comes seven times a year, 29 February in leap years.
//
// With a jitter, a tick is due a little later, by an offset that depends on the schedule's name and the tick alone.
package schedule

import (
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known wherever the program runs

	"github.com/robfig/cron/v3"
)

// Error is what is wrong with a definition.
type Error struct {
	Field   string // the field of the definition, such as "zone"
	Message string // names the field and its value
	Hint    string // the remedy, with an example
}

// Error is the message and the remedy.
func (f *Error) Error() string { return f.Message + "; " + f.Hint }

// Expression is a parsed expression in a zone.
type Expression struct {
	text string
	zone *time.Location

	// period is that of an interval, 0 for a calendar expression; its ticks are counted from anchor.
	period time.Duration
	anchor time.Time

	// A calendar expression is a set of each: bit n stands for the value n.
	second, minute, hour, dom, month, dow uint64
	bothDays                              bool // a day has to be in dom and in dow, otherwise one will do

	fields []string // of cron, with Sunday as 0; nil for a period
}

const (
	hintExpression = `write five fields as in "0 6 * * MON", six with seconds first, "@every 90s" or "daily> 07:00:00"`
	hintZone       = `give a name of the IANA database, as in "Europe/Paris" or "UTC"`
)

var (
	descriptors = map[string]string{
		"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
		"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
	}
	cronParser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

	digdagForm = regexp.MustCompile(`^([a-z_]+)>\s*(.*)$`)
	cronField  = regexp.MustCompile(`^` + cronPart + `(,` + cronPart + `)*$`)
	sunday7    = regexp.MustCompile(`^([0-9]{1,3}|[A-Za-z]{3})(?:-([0-9]{1,3}))?(?:/([0-9]{1,3}))?$`)
	hourlyForm = regexp.MustCompile(`^([0-9]{2}):([0-9]{2})$`)
	dailyForm  = regexp.MustCompile(`^([0-9]{2}):([0-9]{2}):([0-9]{2})$`)
	weeklyForm = regexp.MustCompile(`^([A-Za-z]{3}),([0-9]{2}):([0-9]{2}):([0-9]{2})$`)
	monthly    = regexp.MustCompile(`^([0-9]{1,2}),([0-9]{2}):([0-9]{2}):([0-9]{2})$`)
	number     = regexp.MustCompile(`^[0-9]{1,9}$`)
)

const cronPart = `([*?]|([0-9]{1,3}|[A-Za-z]{3})(-([0-9]{1,3}|[A-Za-z]{3}))?)(/[0-9]{1,3})?`

// LoadZone returns a zone of the IANA database; "" is UTC.
func LoadZone(name string) (*time.Location, error) {
	if name == "Local" {
		return nil, &Error{"zone", `zone "Local" is another one on each machine`, hintZone}
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, &Error{"zone", fmt.Sprintf("zone %q is not known", shown(name)), hintZone}
	}
	return zone, nil
}

// Parse reads an expression for a zone of the IANA database; "" is UTC. The error is an *Error.
func Parse(text, zone string) (*Expression, error) {
	location, err := LoadZone(zone)
	if err != nil {
		return nil, err
	}
	e := &Expression{text: text, zone: location, anchor: time.Unix(0, 0).UTC()}
	if err := e.parse(strings.TrimSpace(text)); err != nil {
		return nil, err
	}
	return e, nil
}

func faulty(text, problem string) error {
	return &Error{"expression", fmt.Sprintf("expression %q %s", shown(text), problem), hintExpression}
}

// shown cuts a value for an error message.
func shown(value string) string {
	if runes := []rune(value); len(runes) > 64 {
		return string(runes[:64]) + "…"
	}
	return value
}

func (e *Expression) parse(text string) error {
	if spec, ok := descriptors[text]; ok {
		return e.parseCron(spec)
	}
	if every, ok := strings.CutPrefix(text, "@every "); ok {
		return e.parseEvery(strings.TrimSpace(every))
	}
	if form := digdagForm.FindStringSubmatch(text); form != nil {
		return e.parseForm(form[1], strings.TrimSpace(form[2]))
	}
	if text == "" || text[0] == '@' || strings.Contains(text, "=") {
		return faulty(e.text, "is no schedule")
	}
	return e.parseCron(text)
}

func (e *Expression) parseEvery(text string) error {
	period, err := time.ParseDuration(text)
	if err != nil {
		return faulty(e.text, "has no duration behind @every")
	}
	return e.setPeriod(period)
}

// setPeriod accepts whole seconds, of which there are fewer than in a hundred years.
func (e *Expression) setPeriod(period time.Duration) error {
	if period < time.Second || period%time.Second != 0 || period > 100*366*24*time.Hour {
		return faulty(e.text, "needs a period of whole seconds, from one second to a hundred years")
	}
	e.period = period
	return nil
}

// parseForm reads one of Digdag's forms.
func (e *Expression) parseForm(form, value string) error {
	var spec string
	switch form {
	case "cron":
		spec = value
	case "hourly":
		if m := hourlyForm.FindStringSubmatch(value); m != nil {
			spec = fmt.Sprintf("%s %s * * * *", m[2], m[1])
		}
	case "daily":
		if m := dailyForm.FindStringSubmatch(value); m != nil {
			spec = fmt.Sprintf("%s %s %s * * *", m[3], m[2], m[1])
		}
	case "weekly":
		if m := weeklyForm.FindStringSubmatch(value); m != nil {
			spec = fmt.Sprintf("%s %s %s * * %s", m[4], m[3], m[2], m[1])
		}
	case "monthly":
		if m := monthly.FindStringSubmatch(value); m != nil {
			spec = fmt.Sprintf("%s %s %s %s * *", m[4], m[3], m[2], m[1])
		}
	case "minutes_interval", "seconds_interval":
		unit := time.Second
		if form == "minutes_interval" {
			unit = time.Minute
		}
		if n, err := strconv.Atoi(value); err == nil && number.MatchString(value) {
			return e.setPeriod(time.Duration(n) * unit)
		}
	default:
		return faulty(e.text, "has an unknown form; the forms are hourly>, daily>, weekly>, monthly>, minutes_interval>, seconds_interval> and cron>")
	}
	if spec == "" {
		examples := map[string]string{
			"hourly": "hourly> 30:00", "daily": "daily> 07:00:00", "weekly": "weekly> Sun,09:00:00", "monthly": "monthly> 1,09:00:00",
			"minutes_interval": "minutes_interval> 30", "seconds_interval": "seconds_interval> 90", "cron": "cron> 0 6 * * 1",
		}
		return &Error{"expression", fmt.Sprintf("expression %q is not of that form", shown(e.text)), fmt.Sprintf("write it as in %q", examples[form])}
	}
	return e.parseCron(spec)
}

// fieldNames are those of six fields.
var fieldNames = []string{"second", "minute", "hour", "day of the month", "month", "day of the week"}

func (e *Expression) parseCron(spec string) error {
	fields := strings.Fields(spec)
	if len(fields) != 5 && len(fields) != 6 {
		return faulty(e.text, fmt.Sprintf("has %d fields", len(fields)))
	}
	names := fieldNames[6-len(fields):]
	for i, field := range fields {
		if !cronField.MatchString(field) {
			return faulty(e.text, fmt.Sprintf("has the %s %q, which is none", names[i], shown(field)))
		}
	}
	last := len(fields) - 1
	fields[last] = sundayIsZero(fields[last])
	parsed, err := cronParser.Parse(strings.Join(fields, " "))
	if err != nil {
		return faulty(e.text, "cannot be: "+err.Error())
	}
	s, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return faulty(e.text, "is no schedule")
	}
	const values = 1<<60 - 1 // without the parser's mark of a star
	e.second, e.minute, e.hour = s.Second&values, s.Minute&values, s.Hour&values
	e.dom, e.month, e.dow = s.Dom&values, s.Month&values, s.Dow&values
	e.fields = fields
	e.bothDays = strings.ContainsAny(fields[last-2][:1], "*?") || strings.ContainsAny(fields[last][:1], "*?")
	if e.bothDays && !e.someMonthHasDay() {
		return &Error{
			"expression", fmt.Sprintf("expression %q never comes: no month that it names has such a day", shown(e.text)),
			`the last day that February has is 29, April, June, September and November have 30; write as in "0 6 28 2 *"`,
		}
	}
	return nil
}

// sundayIsZero writes the days of the week of a field with 0 for 7.
func sundayIsZero(field string) string {
	names := map[string]int{"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
	parts := strings.Split(field, ",")
	for i, part := range parts {
		m := sunday7.FindStringSubmatch(part)
		if m == nil || m[1] != "7" && m[2] != "7" {
			continue
		}
		low, err := strconv.Atoi(m[1])
		if named, ok := names[strings.ToLower(m[1])]; ok {
			low = named
		} else if err != nil {
			continue // the parser will say so
		}
		step := 1
		if m[3] != "" {
			step, _ = strconv.Atoi(m[3]) // digits
		}
		if step == 0 || low > 7 {
			continue
		}
		var days []string
		for day := low; day <= 7; day += step {
			days = append(days, strconv.Itoa(day%7))
		}
		parts[i] = strings.Join(days, ",")
	}
	return strings.Join(parts, ",")
}

// mostDays are the days that the months may have.
var mostDays = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func (e *Expression) someMonthHasDay() bool {
	for month := 1; month <= 12; month++ {
		if e.month&(1<<month) != 0 && bits.TrailingZeros64(e.dom) <= mostDays[month] {
			return true
		}
	}
	return false
}

// everyHour says whether the expression names every hour of the day.
func (e *Expression) everyHour() bool { return e.hour == 1<<24-1 }

// String is the expression as it was written.
func (e *Expression) String() string { return e.text }

// Crontab writes the expression with the five fields that every cron knows. ok is false for a period, and for what comes
// more often than once a minute.
func (e *Expression) Crontab() (crontab string, ok bool) {
	fields := e.fields
	if len(fields) == 6 {
		if bits.OnesCount64(e.second) != 1 {
			return "", false
		}
		fields = fields[1:]
	}
	return strings.ReplaceAll(strings.Join(fields, " "), "?", "*"), len(fields) > 0
}

// Period is the time from tick to tick, 0 for cron.
func (e *Expression) Period() time.Duration { return e.period }

// Zone is the expression's time zone.
func (e *Expression) Zone() *time.Location { return e.zone }

// Shortest is the least time between two ticks, as the clock on the wall shows it. Between days that are named by their
// number in the month, February is taken to have 28.
func (e *Expression) Shortest() time.Duration {
	if e.period > 0 {
		return e.period
	}
	spanSecond, gapSecond := spread(e.second)
	spanMinute, gapMinute := spread(e.minute)
	spanHour, gapHour := spread(e.hour)
	gap := func(between int, unit time.Duration, less ...time.Duration) time.Duration {
		if between == 0 {
			return 1 << 62
		}
		d := time.Duration(between) * unit
		for _, l := range less {
			d -= l
		}
		return d
	}
	seconds, minutes, hours := time.Duration(spanSecond)*time.Second, time.Duration(spanMinute)*time.Minute, time.Duration(spanHour)*time.Hour
	return min(gap(gapSecond, time.Second), gap(gapMinute, time.Minute, seconds), gap(gapHour, time.Hour, minutes, seconds),
		gap(e.shortestDays(), 24*time.Hour, hours, minutes, seconds))
}

func (e *Expression) shortestDays() int {
	days, week := around(e.dom, 28), around(e.dow, 7)
	if e.bothDays {
		return max(days, week)
	}
	return 1
}

// spread is how far the first and last value of a set lie apart, and the least distance of two neighbours, or 0.
func spread(set uint64) (span, gap int) {
	first, before := -1, -1
	for value := range 60 {
		if set&(1<<value) == 0 {
			continue
		}
		if before >= 0 && (gap == 0 || value-before < gap) {
			gap = value - before
		}
		if first < 0 {
			first = value
		}
		span, before = value-first, value
	}
	return span, gap
}

// around is the least distance of two neighbours in a set that begins again after so many.
func around(set uint64, length int) int {
	span, gap := spread(set)
	wrap := max(length-span, 1)
	if gap == 0 {
		return wrap
	}
	return min(gap, wrap)
}
