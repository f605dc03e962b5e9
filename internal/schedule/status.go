package schedule

import "time"

// Status is how a schedule or a check is.
type Status string

// The words, one for each thing that may be wrong.
const (
	OK      Status = "ok"       // in order
	Late    Status = "late"     // due and not begun, within the grace time
	Missed  Status = "missed"   // not begun when the grace time was over
	Failed  Status = "failed"   // the last run that ended has failed
	TooLong Status = "too_long" // one runs longer than it may
	Paused  Status = "paused"
)

// Statuses lists all words.
func Statuses() []Status { return []Status{OK, Late, Missed, Failed, TooLong, Paused} }

// Facts are what a status follows from. A zero time means that there was none.
type Facts struct {
	Since        time.Time // since when it is watched: creation, or the last resumption
	PausedAt     time.Time // zero: it is not paused
	Overdue      time.Time // the earliest moment by which something was to begin that has not, in the past or in the future
	LastSuccess  time.Time // the end of the last run that succeeded
	LastFailure  time.Time // the end of the last run that failed
	RunningSince time.Time // of what runs now, the longest

	Tolerance time.Duration // a start that is later by less is in time
	Grace     time.Duration // counted from Overdue
	Longest   time.Duration // 0: no limit
}

// Status returns the status at a moment, since when it is so, and when it will be another one if nothing happens; that
// is zero if never. Who keeps the last status knows better since when a schedule is in order that was late or missed.
func (f Facts) Status(now time.Time) (status Status, since, until time.Time) {
	if !f.PausedAt.IsZero() {
		return Paused, f.PausedAt, time.Time{}
	}
	turn := func(at time.Time) {
		if at.After(now) && (until.IsZero() || at.Before(until)) {
			until = at
		}
	}
	missed := !f.Overdue.IsZero()
	lateAt, missedAt := f.Overdue.Add(f.Tolerance), f.Overdue.Add(max(f.Grace, f.Tolerance))
	if missed {
		turn(lateAt)
		turn(missedAt)
	}
	tooLongAt := f.RunningSince.Add(f.Longest)
	tooLong := f.Longest > 0 && !f.RunningSince.IsZero()
	if tooLong {
		turn(tooLongAt)
	}
	switch {
	case tooLong && !now.Before(tooLongAt):
		return TooLong, tooLongAt, until
	case missed && !now.Before(missedAt):
		return Missed, missedAt, until
	case f.LastFailure.After(f.LastSuccess):
		return Failed, f.LastFailure, until
	case missed && !now.Before(lateAt):
		return Late, f.Overdue, until
	default:
		since = f.Since
		if !f.LastFailure.IsZero() && f.LastSuccess.After(since) {
			since = f.LastSuccess // it has recovered
		}
		return OK, since, until
	}
}
