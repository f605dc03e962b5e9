package pilot

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/uniquestates"
	"github.com/riverqueue/river/rivertype"
)

// scanJob reads jobColumns, and whatever the statement returns after them into more. A row whose errors cannot be
// decoded comes back without them, together with the reason, as River's fetch wants it.
func scanJob(rows pgx.CollectableRow, more ...any) (row *rivertype.JobRow, decodeErr, err error) {
	var (
		job          rivertype.JobRow
		attempt      int16
		maxAttempts  int16
		priority     int16
		errors       [][]byte
		state        string
		uniqueStates pgtype.Bits
	)
	dest := append([]any{
		&job.ID, &job.EncodedArgs, &attempt, &job.AttemptedAt, &job.AttemptedBy, &job.CreatedAt, &errors, &job.FinalizedAt,
		&job.Kind, &maxAttempts, &job.Metadata, &priority, &job.Queue, &state, &job.ScheduledAt, &job.Tags,
		&job.UniqueKey, &uniqueStates,
	}, more...)
	if err := rows.Scan(dest...); err != nil {
		return nil, nil, fmt.Errorf("read job row: %w", err)
	}
	job.Attempt, job.MaxAttempts, job.Priority = max(int(attempt), 0), max(int(maxAttempts), 0), max(int(priority), 0)
	job.State = rivertype.JobState(state)
	job.CreatedAt, job.ScheduledAt = job.CreatedAt.UTC(), job.ScheduledAt.UTC()
	job.AttemptedAt, job.FinalizedAt = utc(job.AttemptedAt), utc(job.FinalizedAt)
	if uniqueStates.Valid && len(uniqueStates.Bytes) > 0 {
		job.UniqueStates = uniquestates.UniqueBitmaskToStates(uniqueStates.Bytes[0])
	}
	job.Errors, decodeErr = decodeErrors(errors)
	return &job, decodeErr, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func decodeErrors(raw [][]byte) ([]rivertype.AttemptError, error) {
	errors := make([]rivertype.AttemptError, len(raw))
	for i := range raw {
		if err := riverdriver.UnmarshalAttemptError(raw[i], &errors[i]); err != nil {
			return nil, fmt.Errorf("decode error %d of the job: %w", i, err)
		}
	}
	return errors, nil
}

// strict scans a row and refuses one that cannot be decoded.
func strict(row pgx.CollectableRow) (*rivertype.JobRow, error) {
	job, decodeErr, err := scanJob(row)
	if err != nil {
		return nil, err
	}
	return job, decodeErr
}

// lenient scans a row and leaves empty what cannot be decoded, so that one bad row does not hold up the others.
func lenient(row pgx.CollectableRow) (*rivertype.JobRow, error) {
	job, _, err := scanJob(row)
	return job, err
}

// queryJobs runs a statement that returns jobColumns.
func queryJobs(ctx context.Context, db querier, scan pgx.RowToFunc[*rivertype.JobRow], sql string, args ...any) ([]*rivertype.JobRow, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, riverError(err)
	}
	jobs, err := pgx.CollectRows(rows, scan)
	return jobs, riverError(err)
}

// one returns the only row of a query by id.
func one(jobs []*rivertype.JobRow, err error) (*rivertype.JobRow, error) {
	switch {
	case err != nil:
		return nil, err
	case len(jobs) == 0:
		return nil, rivertype.ErrNotFound
	default:
		return jobs[0], nil
	}
}

// decodeRow reads a row of river_job that Postgres has written as JSON, without its unique key, whose form is a setting, and
// without its times of creation and of schedule, which may be too far away for JSON's times.
func decodeRow(text string) (*rivertype.JobRow, error) {
	var row struct {
		ID           int64             `json:"id"`
		Args         json.RawMessage   `json:"args"`
		Attempt      int               `json:"attempt"`
		AttemptedAt  *time.Time        `json:"attempted_at"`
		AttemptedBy  []string          `json:"attempted_by"`
		Errors       []json.RawMessage `json:"errors"`
		FinalizedAt  *time.Time        `json:"finalized_at"`
		Kind         string            `json:"kind"`
		MaxAttempts  int               `json:"max_attempts"`
		Metadata     json.RawMessage   `json:"metadata"`
		Priority     int               `json:"priority"`
		Queue        string            `json:"queue"`
		State        string            `json:"state"`
		Tags         []string          `json:"tags"`
		UniqueStates string            `json:"unique_states"`
	}
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		return nil, err
	}
	raw := make([][]byte, len(row.Errors))
	for i := range row.Errors {
		raw[i] = row.Errors[i]
	}
	errors, err := decodeErrors(raw)
	if err != nil {
		return nil, err
	}
	states, err := strconv.ParseUint("0"+row.UniqueStates, 2, 8)
	if err != nil {
		return nil, fmt.Errorf("decode unique states %q: %w", row.UniqueStates, err)
	}
	return &rivertype.JobRow{
		ID: row.ID, EncodedArgs: row.Args, Attempt: row.Attempt, AttemptedAt: utc(row.AttemptedAt), AttemptedBy: row.AttemptedBy,
		Errors: errors, FinalizedAt: utc(row.FinalizedAt), Kind: row.Kind, MaxAttempts: row.MaxAttempts,
		Metadata: row.Metadata, Priority: row.Priority, Queue: row.Queue, State: rivertype.JobState(row.State),
		Tags: row.Tags, UniqueStates: uniquestates.UniqueBitmaskToStates(byte(states)),
	}, nil
}
