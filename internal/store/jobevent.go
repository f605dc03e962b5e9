package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
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
	ids, attempts, ages := make([]int64, n), make([]int16, n), make([]float64, n)
	kinds, levels, messages, attrs := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	fractions := make([]*float64, n)
	for i, e := range events {
		ids[i], attempts[i], ages[i] = e.JobID, int16(e.Attempt), e.Age.Seconds() //nolint:gosec // River's column is a smallint
		kinds[i], levels[i], messages[i], attrs[i], fractions[i] = e.Event, e.Level, e.Message, e.Attrs, e.Fraction
	}
	_, err := db.Exec(ctx, `
		INSERT INTO towpath.job_event (job_id, attempt, at, event, level, message, fraction, attrs)
		SELECT job_id, attempt, clock_timestamp() - make_interval(secs => age), event, nullif(level, ''),
			nullif(message, ''), fraction, nullif(attrs, '')::jsonb
		FROM unnest($1::bigint[], $2::smallint[], $3::double precision[], $4::text[], $5::text[], $6::text[],
			$7::double precision[], $8::text[])
			WITH ORDINALITY AS t (job_id, attempt, age, event, level, message, fraction, attrs, n)
		ORDER BY n`,
		ids, attempts, ages, kinds, levels, messages, fractions, attrs)
	if err != nil {
		return fmt.Errorf("write job events: %w", err)
	}
	return nil
}

// StoredJobEvent is a row of towpath.job_event.
type StoredJobEvent struct {
	ID       int64
	JobID    int64
	Attempt  int
	At       time.Time
	Event    string
	Level    *string
	Message  *string
	Fraction *float64
	Attrs    json.RawMessage
}

// JobEvents returns events of a job with ids above after, oldest first, at most limit. To follow a job, ask again with
// the last id.
func JobEvents(ctx context.Context, db DB, jobID, after int64, limit int) ([]StoredJobEvent, error) {
	rows, err := db.Query(ctx, `
		SELECT id, job_id, attempt, at, event, level, message, fraction, attrs
		FROM towpath.job_event WHERE job_id = $1 AND id > $2 ORDER BY id LIMIT $3`, jobID, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read events of job %d: %w", jobID, err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[StoredJobEvent])
	if err != nil {
		return nil, fmt.Errorf("read events of job %d: %w", jobID, err)
	}
	return events, nil
}
