package schedule

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"regexp"
	"slices"
	"strings"
	"time"
)

// What is done about ticks that nobody fired in their time.
const (
	Coalesce = "coalesce" // one run stands for all of them
	CatchUp  = "catch_up" // all run, in order
	Skip     = "skip"     // none runs that is later than the definition allows
)

// What is done about a tick that comes while a run of the schedule is unfinished.
const (
	Allow       = "allow" // it runs beside the other
	SkipOverlap = "skip"  // it does not run
	Queue       = "queue" // one waits for the other's end
)

// DefaultGrace is how long after its time a run may start before it counts as missed.
const DefaultGrace = 5 * time.Minute

// Seconds is a duration that travels in JSON as a number of seconds.
type Seconds time.Duration

// MarshalJSON writes the number.
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// UnmarshalJSON reads the number.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	*s = Seconds(seconds * float64(time.Second))
	return nil
}

// Definition is what a schedule is to do, in the form in which the database keeps it.
type Definition struct {
	Expression string     `json:"expression"`
	Zone       string     `json:"zone,omitempty"` // "": UTC
	StartsAt   *time.Time `json:"starts_at,omitempty"`
	EndsAt     *time.Time `json:"ends_at,omitempty"` // the last moment at which a tick may lie

	Kind        string          `json:"kind"`
	Args        json.RawMessage `json:"args,omitempty"`
	Queue       string          `json:"queue,omitempty"`        // "": default
	Priority    int             `json:"priority,omitempty"`     // 0: 1
	MaxAttempts int             `json:"max_attempts,omitempty"` // 0: 25
	Tags        []string        `json:"tags,omitempty"`

	Jitter    Seconds `json:"jitter,omitempty"`
	Missed    string  `json:"missed,omitempty"`     // "": coalesce
	SkipAfter Seconds `json:"skip_after,omitempty"` // with skip; 0: only the latest tick runs, when it is about in time
	Overlap   string  `json:"overlap,omitempty"`    // "": allow
	Grace     Seconds `json:"grace,omitempty"`      // 0: DefaultGrace
	Longest   Seconds `json:"longest,omitempty"`    // 0: no limit
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_ .:/-]*[A-Za-z0-9_])?$`)

// CheckName says what is wrong with the name of a schedule.
func CheckName(name string) error {
	if len(name) > 200 || !namePattern.MatchString(name) {
		return &Error{
			"name", fmt.Sprintf("name %q must have 1 to 200 characters, letters, digits, spaces or _.:/-, and begin and end with a letter, a digit or _", shown(name)),
			`name it as in "weekly digest" or "reports/daily"`,
		}
	}
	return nil
}

// Plan is when a schedule runs.
type Plan struct {
	*Expression
	name       string
	start, end time.Time // zero: open
	jitter     time.Duration
}

// Plan checks the definition's part about time. The error is an *Error.
func (d *Definition) Plan(name string) (*Plan, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	e, err := Parse(d.Expression, d.Zone)
	if err != nil {
		return nil, err
	}
	p := &Plan{Expression: e, name: name, jitter: time.Duration(d.Jitter)}
	if d.StartsAt != nil {
		p.start = *d.StartsAt
		e.anchor = p.start.Truncate(time.Second)
	}
	if d.EndsAt != nil {
		p.end = *d.EndsAt
	}
	if !p.end.IsZero() && !p.start.IsZero() && p.end.Before(p.start) {
		return nil, &Error{
			"ends_at", fmt.Sprintf("ends_at %s is before starts_at %s", moment(p.end), moment(p.start)),
			"give an end after the start, or leave one of them out",
		}
	}
	if p.jitter < 0 {
		return nil, &Error{"jitter", fmt.Sprintf("jitter %s is negative", p.jitter), "give a length of time, such as 30s"}
	}
	if shortest := e.Shortest(); p.jitter > shortest {
		return nil, &Error{
			"jitter", fmt.Sprintf("jitter %s is longer than the shortest time between two runs, %s", p.jitter, shortest),
			fmt.Sprintf("give less, such as %s", max(shortest/10, time.Second).Round(time.Second)),
		}
	}
	return p, nil
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Check says what is wrong with a definition, but for the job that it enqueues. The error is an *Error.
func (d *Definition) Check(name string) error {
	if _, err := d.Plan(name); err != nil {
		return err
	}
	if d.Missed != "" && !slices.Contains([]string{Coalesce, CatchUp, Skip}, d.Missed) {
		return &Error{"missed", fmt.Sprintf("missed %q is no policy", shown(d.Missed)), `choose "coalesce", "catch_up" or "skip"`}
	}
	if d.Overlap != "" && !slices.Contains([]string{Allow, SkipOverlap, Queue}, d.Overlap) {
		return &Error{"overlap", fmt.Sprintf("overlap %q is no policy", shown(d.Overlap)), `choose "allow", "skip" or "queue"`}
	}
	if d.SkipAfter != 0 && d.Missed != Skip {
		return &Error{"skip_after", fmt.Sprintf("skip_after %s goes with missed \"skip\" alone", time.Duration(d.SkipAfter)), `set missed to "skip", or leave skip_after out`}
	}
	for _, length := range []struct {
		field string
		value Seconds
	}{{"skip_after", d.SkipAfter}, {"grace", d.Grace}, {"longest", d.Longest}} {
		if length.value < 0 {
			return &Error{length.field, fmt.Sprintf("%s %s is negative", length.field, time.Duration(length.value)), "give a length of time, such as 10m"}
		}
	}
	return nil
}

// Next returns the first tick after t, or the zero time when there is none.
func (p *Plan) Next(t time.Time) time.Time {
	if !p.start.IsZero() && t.Before(p.start) {
		t = p.start.Add(-time.Nanosecond)
	}
	next := p.Expression.Next(t)
	if next.IsZero() || !p.end.IsZero() && next.After(p.end) {
		return time.Time{}
	}
	return next
}

// Prev returns the last tick before t, or the zero time when there is none.
func (p *Plan) Prev(t time.Time) time.Time {
	if !p.end.IsZero() && t.After(p.end) {
		t = p.end.Add(time.Nanosecond)
	}
	prev := p.Expression.Prev(t)
	if prev.Before(p.start) {
		return time.Time{}
	}
	return prev
}

// Due is when a tick is to be fired: with a jitter a little later than its time.
func (p *Plan) Due(tick time.Time) time.Time {
	if p.jitter < time.Millisecond {
		return tick
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%d", p.name, tick.Unix())
	// The last bits of this hash differ for ticks that lie close together; the others hardly do.
	offset := mix(h.Sum64()) % uint64(p.jitter/time.Millisecond)
	return tick.Add(time.Duration(offset) * time.Millisecond) //nolint:gosec // less than the jitter
}

// mix spreads a hash over all bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Words says the plan in plain words.
func (p *Plan) Words() string {
	words := p.Expression.Words()
	if p.jitter > 0 {
		words += ", up to " + oneLength(p.jitter) + " later"
	}
	if !p.start.IsZero() {
		words += ", from " + p.start.In(p.zone).Format("2 January 2006 15:04")
	}
	if !p.end.IsZero() {
		words += ", until " + p.end.In(p.zone).Format("2 January 2006 15:04")
	}
	return strings.TrimSpace(words)
}
