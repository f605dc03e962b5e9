package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Duration is a length of time, written like Go's (90s, 1h30m) or in days (3d).
type Duration time.Duration

// Decode parses a value of the environment.
func (d *Duration) Decode(value string) error {
	const remedy = "write a number and a unit (ms, s, m, h or d), such as 30s, 5m or 3d"
	if value == "0" {
		*d = 0
		return nil
	}
	if days, ok := strings.CutSuffix(value, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 36500 {
			return errors.New("not a duration; " + remedy)
		}
		*d = Duration(n * float64(day))
		return nil
	}
	parsed, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return errors.New("not a duration; " + remedy)
	case parsed < 0:
		return errors.New("a negative duration; " + remedy)
	}
	*d = Duration(parsed)
	return nil
}

// Std returns the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes the duration as Decode reads it, days as days.
func (d Duration) String() string {
	std := time.Duration(d)
	if std == 0 {
		return "0"
	}
	if std >= day && std%day == 0 {
		return strconv.FormatInt(int64(std/day), 10) + "d"
	}
	text := std.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Switch is on or off.
type Switch bool

// Decode parses a value of the environment.
func (s *Switch) Decode(value string) error {
	switch strings.ToLower(value) {
	case "on", "true", "1", "yes":
		*s = true
	case "off", "false", "0", "no":
		*s = false
	default:
		return errors.New("neither on nor off; set one of them")
	}
	return nil
}

// String is on or off.
func (s Switch) String() string {
	if s {
		return "on"
	}
	return "off"
}

// Attempts says which failed attempts of a job are told.
type Attempts string

// The choices.
const (
	AttemptsLast Attempts = "last"
	AttemptsAll  Attempts = "all"
)

// Decode parses a value of the environment.
func (a *Attempts) Decode(value string) error {
	switch choice := Attempts(strings.ToLower(value)); choice {
	case AttemptsLast, AttemptsAll:
		*a = choice
		return nil
	default:
		return errors.New("no such choice; set last or all")
	}
}

// Level is the least level of log lines.
type Level slog.Level

// Decode parses a value of the environment.
func (l *Level) Decode(value string) error {
	switch strings.ToLower(value) {
	case "debug":
		*l = Level(slog.LevelDebug)
	case "info":
		*l = Level(slog.LevelInfo)
	case "warn":
		*l = Level(slog.LevelWarn)
	case "error":
		*l = Level(slog.LevelError)
	default:
		return errors.New("no such level; set debug, info, warn or error")
	}
	return nil
}

// String is the name of the level.
func (l Level) String() string { return strings.ToLower(slog.Level(l).String()) }

// Format is the form of log lines.
type Format string

// The forms of log lines.
const (
	FormatAuto Format = "auto"
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Decode parses a value of the environment.
func (f *Format) Decode(value string) error {
	switch form := Format(strings.ToLower(value)); form {
	case FormatAuto, FormatText, FormatJSON:
		*f = form
		return nil
	default:
		return errors.New("no such form; set auto, text or json")
	}
}

// Queues maps the name of a queue to its number of slots.
type Queues map[string]int

// SchedulerQueue is the queue that scheduler roles work; no worker may be given it.
const SchedulerQueue = "towpath"

// maxSlots is River's own bound.
const maxSlots = 10_000

// queueName is River's own rule.
var queueName = regexp.MustCompile(`^[a-z0-9]+(?:[_|-]?[a-z0-9]+)*$`)

// Decode parses a value of the environment: name=slots, with commas between.
func (q *Queues) Decode(value string) error {
	const remedy = "write queues as name=slots with commas between, such as default=100,mail=20"
	queues := Queues{}
	for part := range strings.SplitSeq(value, ",") {
		name, number, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return fmt.Errorf("%q has no number of slots; %s", strings.TrimSpace(part), remedy)
		}
		slots, err := strconv.Atoi(number)
		if err != nil || slots < 1 || slots > maxSlots {
			return fmt.Errorf("queue %q has %q slots; write a number from 1 to %d", name, number, maxSlots)
		}
		if len(name) > 64 || !queueName.MatchString(name) {
			return fmt.Errorf("queue name %q is not valid; use up to 64 lower-case letters and digits with single - or _ between", name)
		}
		if name == SchedulerQueue {
			return fmt.Errorf("queue %q is the scheduler's own; leave it out and run the role scheduler", name)
		}
		if _, twice := queues[name]; twice {
			return fmt.Errorf("queue %q is named twice; name it once", name)
		}
		queues[name] = slots
	}
	*q = queues
	return nil
}

// String writes the queues as Decode reads them, sorted by name.
func (q Queues) String() string {
	parts := make([]string, 0, len(q))
	for _, name := range slices.Sorted(maps.Keys(q)) {
		parts = append(parts, name+"="+strconv.Itoa(q[name]))
	}
	return strings.Join(parts, ",")
}

// Slots is the sum of all queues' slots.
func (q Queues) Slots() int {
	sum := 0
	for _, slots := range q {
		sum += slots
	}
	return sum
}
