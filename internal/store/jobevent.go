package store

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Kinds of job events.
const (
	EventLog       = "log"
	EventProgress  = "progress"
	EventSoftLimit = "soft_limit"
	EventStuck     = "stuck"
	EventNote      = "note"
)

// JobEvent is a row to be written to towpath.job_event. Text must be valid UTF-8 without NUL.
type JobEvent struct {
	JobID   int64
	Attempt int
	// Age is how long ago it happened; the database takes it off its own clock, so that no clocks are compared.
	Age      time.Duration
	Event    string
	Level    string   // empty: none
	Message  string   // empty: none
	Fraction *float64 // nil: none
	Attrs    string   // a JSON object; empty: none
}

// InsertJobEvents writes the events in their order.
func InsertJobEvents(ctx context.Context, db DB, events []JobEvent) error {
	n := len(events)
	params := InsertJobEventsParams{
		JobIds: make([]int64, n), Attempts: make([]int16, n), Ages: make([]float64, n), Events: make([]string, n),
		Levels: make([]string, n), Messages: make([]string, n), Fractions: make([]float64, n), Attrs: make([]string, n),
	}
	for i, e := range events {
		params.JobIds[i], params.Attempts[i], params.Ages[i] = e.JobID, int16(e.Attempt), e.Age.Seconds() //nolint:gosec // River's column is a smallint
		params.Events[i], params.Levels[i], params.Messages[i], params.Attrs[i] = e.Event, e.Level, e.Message, e.Attrs
		params.Fractions[i] = math.NaN()
		if e.Fraction != nil {
			params.Fractions[i] = *e.Fraction
		}
	}
	if err := queries.InsertJobEvents(ctx, db, params); err != nil {
		return fmt.Errorf("write job events: %w", err)
	}
	return nil
}

// JobEvents returns events of a job with ids above after, oldest first, at most limit. To follow a job, ask again with
// the last id.
func JobEvents(ctx context.Context, db DB, jobID, after int64, limit int) ([]StoredJobEvent, error) {
	events, err := queries.JobEvents(ctx, db, JobEventsParams{JobID: jobID, After: after, MaxEvents: int64(limit)})
	if err != nil {
		return nil, fmt.Errorf("read events of job %d: %w", jobID, err)
	}
	return events, nil
}
