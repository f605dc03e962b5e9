package pilot

import (
	"context"
	"fmt"
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
