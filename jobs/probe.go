package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/towpath/towpath/internal/schedule"
)

// Probe is a query that the leader runs every so often, and whose numbers are kept as series; or with CompareWith, two
// queries whose rows are compared. It is a value that a program's code defines, to be added to a bundle; the database
// keeps it, and what it found.
type Probe struct {
	// Name tells probes apart. It stays when the rest changes.
	Name string
	// Query is one SELECT, with schemas written out. Its columns of numbers are the values; the others name the series.
	Query string
	// CompareWith is a second query with the same columns. The series are then missing (rows that only Query has), extra
	// (rows that only CompareWith has), and with KeyColumns differing.
	CompareWith string
	// Every is the interval.
	Every time.Duration
	// Timeout is how long a run may take. Zero: ten seconds, or the interval if that is shorter.
	Timeout time.Duration
	// Role is the database role that it runs under, one of the leader's TOWPATH_PROBES_ROLES. Empty: the first of them.
	Role string
	// KeyColumns name the series, or identify the rows that are compared. None: the columns that are no numbers; of a
	// comparison all.
	KeyColumns []string
	// Description says what it is about.
	Description string
	// EmptyIsFine lets a query return nothing. Otherwise the probe is empty then, which is an alert.
	EmptyIsFine bool
	// AlertAbove and AlertBelow are limits of the values. Nil: none; a comparison without any has AlertAbove 0.
	AlertAbove, AlertBelow *float64
	// Examples is how many of each kind of difference are kept. Zero: ten; negative: none.
	Examples int
}

// Document returns the definition as towpath.define_probe takes it, or says what is wrong with it. What the query means
// is seen when it runs.
func (p Probe) Document() (json.RawMessage, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("define probe %q: %w", p.Name, err)
	}
	d := map[string]any{"query": p.Query, "every": p.Every.Seconds()}
	for name, value := range map[string]string{"compare_with": p.CompareWith, "role": p.Role, "description": p.Description} {
		if value != "" {
			d[name] = value
		}
	}
	if p.Timeout != 0 {
		d["timeout"] = p.Timeout.Seconds()
	}
	if p.KeyColumns != nil {
		d["key_columns"] = p.KeyColumns
	}
	if p.EmptyIsFine {
		d["empty_is_fine"] = true
	}
	if p.AlertAbove != nil {
		d["alert_above"] = *p.AlertAbove
	}
	if p.AlertBelow != nil {
		d["alert_below"] = *p.AlertBelow
	}
	if p.Examples != 0 {
		d["examples"] = max(p.Examples, 0)
	}
	return json.Marshal(d)
}

func (p Probe) check() error {
	switch {
	case p.Query == "":
		return errors.New("it needs a query, such as SELECT count(*) FROM shop.orders")
	case p.Every < time.Second || p.Every > 366*24*time.Hour:
		return fmt.Errorf("every %s must be from one second to 366 days; give an interval such as 5 * time.Minute", p.Every)
	case p.Timeout < 0 || p.Timeout > min(p.Every, time.Hour):
		return fmt.Errorf("timeout %s must be no more than every, %s, or an hour; give a length of time such as 10 * time.Second", p.Timeout, p.Every)
	case p.Examples > 100:
		return fmt.Errorf("examples %d must be at most 100; give how many of each kind are kept, such as 10", p.Examples)
	case p.AlertAbove != nil && p.AlertBelow != nil && *p.AlertAbove < *p.AlertBelow:
		return fmt.Errorf("alert above %g is less than alert below %g, so that every value would be beyond; exchange them", *p.AlertAbove, *p.AlertBelow)
	}
	return schedule.CheckName(p.Name)
}
