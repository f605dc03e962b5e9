package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/schedule"
)

// Missed is what is done about ticks of a schedule that nobody fired in their time, since no leader or no database was
// there.
type Missed string

// The policies for missed ticks.
const (
	Coalesce   Missed = schedule.Coalesce // one run stands for all of them; the default
	CatchUp    Missed = schedule.CatchUp  // all run, in order
	SkipMissed Missed = schedule.Skip     // none runs that is later than SkipAfter
)

// Overlap is what is done about a tick that comes while a run of the schedule is unfinished, waiting retries included.
type Overlap string

// The policies for overlapping runs.
const (
	AllowOverlap Overlap = schedule.Allow       // it runs beside the other; the default
	SkipOverlap  Overlap = schedule.SkipOverlap // it does not run
	QueueOverlap Overlap = schedule.Queue       // one waits for the other's end
)

// Schedule enqueues a job at every tick of an expression. It is a value that a program's code defines, to be added to a
// bundle; the database keeps it, and where it stands.
type Schedule struct {
	// Name tells schedules apart. It stays when the rest changes.
	Name string
	// Expression is cron with five or six fields, @every 90s, @daily and the like, or a form of Digdag's such as
	// daily> 07:00:00.
	Expression string
	// Zone is a time zone of the IANA database. Empty: UTC.
	Zone string
	// Start and End bound the ticks. Zero: open.
	Start, End time.Time
	// Args are those of the job, whose kind they name. Opts, or else the InsertOpts of the args, may set queue, priority,
	// max attempts and tags.
	Args river.JobArgs
	Opts *river.InsertOpts
	// Jitter fires each tick up to so much later, always the same for one tick.
	Jitter time.Duration

	Missed Missed
	// SkipAfter goes with SkipMissed. Zero: only the latest tick runs, if it is about in time.
	SkipAfter time.Duration
	Overlap   Overlap

	// Grace is how much later than due a run may start before it counts as missed. Zero: five minutes.
	Grace time.Duration
	// Longest is how long a run may take before it counts as too long. Zero: no limit.
	Longest time.Duration
}

// Document returns the definition as towpath.define_schedule takes it, or says what is wrong with it: the field, the
// value and an example of a better one.
func (s Schedule) Document() (json.RawMessage, error) {
	d, err := s.definition()
	if err != nil {
		return nil, err
	}
	if err := d.Check(s.Name); err != nil {
		return nil, fmt.Errorf("define schedule %q: %w", s.Name, err)
	}
	return json.Marshal(d)
}

// Next returns the first tick after a moment, or the zero time when there is none.
func (s Schedule) Next(after time.Time) (time.Time, error) {
	d, err := s.definition()
	if err != nil {
		return time.Time{}, err
	}
	plan, err := d.Plan(s.Name)
	if err != nil {
		return time.Time{}, fmt.Errorf("define schedule %q: %w", s.Name, err)
	}
	return plan.Next(after), nil
}

func (s Schedule) definition() (*schedule.Definition, error) {
	if s.Args == nil {
		return nil, fmt.Errorf("define schedule %q: it needs args, which name the kind of its jobs", s.Name)
	}
	args, err := json.Marshal(s.Args)
	if err != nil {
		return nil, fmt.Errorf("define schedule %q: encode args of %q: %w", s.Name, s.Args.Kind(), err)
	}
	if err := checkDocument(s.Args.Kind(), "args", args, s.Args); err != nil {
		return nil, fmt.Errorf("define schedule %q: %w", s.Name, err)
	}
	d := &schedule.Definition{
		Expression: s.Expression, Zone: s.Zone, Kind: s.Args.Kind(), Args: args,
		Jitter: schedule.Seconds(s.Jitter), Missed: string(s.Missed), SkipAfter: schedule.Seconds(s.SkipAfter), Overlap: string(s.Overlap),
		Grace: schedule.Seconds(s.Grace), Longest: schedule.Seconds(s.Longest),
	}
	if !s.Start.IsZero() {
		d.StartsAt = &s.Start
	}
	if !s.End.IsZero() {
		d.EndsAt = &s.End
	}
	var opts []river.InsertOpts
	if s.Opts != nil {
		opts = append(opts, *s.Opts)
	}
	if own, ok := s.Args.(river.JobArgsWithInsertOpts); ok {
		opts = append(opts, own.InsertOpts())
	}
	for _, o := range opts {
		if d.Queue == "" {
			d.Queue = o.Queue
		}
		if d.Priority == 0 {
			d.Priority = o.Priority
		}
		if d.MaxAttempts == 0 {
			d.MaxAttempts = o.MaxAttempts
		}
		if d.Tags == nil {
			d.Tags = o.Tags
		}
	}
	if s.Opts != nil && (!s.Opts.ScheduledAt.IsZero() || s.Opts.Pending || s.Opts.Metadata != nil) {
		return nil, fmt.Errorf("define schedule %q: %w", s.Name, errScheduleOpts)
	}
	return d, nil
}

var errScheduleOpts = errors.New("of the options, queue, priority, max attempts and tags can be set")
