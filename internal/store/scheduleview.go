package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// ScheduleView is a schedule as people look at it.
type ScheduleView FindScheduleRow

// ScheduleRunView is a run of a schedule, or what was skipped.
type ScheduleRunView = ListScheduleRunsRow

// ListSchedules returns schedules by name, those beyond a name, with one of the statuses unless there are none.
func ListSchedules(ctx context.Context, db DB, statuses []string, beyond string, most int) ([]ScheduleView, error) {
	if statuses == nil {
		statuses = []string{}
	}
	rows, err := queries.ListSchedules(ctx, db, ListSchedulesParams{Beyond: beyond, Statuses: statuses, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	views := make([]ScheduleView, len(rows))
	for i, row := range rows {
		views[i] = ScheduleView(row)
	}
	return views, nil
}

// FindSchedule returns a schedule; the error is pgx.ErrNoRows when there is none.
func FindSchedule(ctx context.Context, db DB, name string) (*ScheduleView, error) {
	row, err := queries.FindSchedule(ctx, db, name)
	if err != nil {
		return nil, fmt.Errorf("find schedule %q: %w", name, err)
	}
	view := ScheduleView(row)
	return &view, nil
}

// ListScheduleRuns returns the last runs of a schedule, the newest first.
func ListScheduleRuns(ctx context.Context, db DB, name string, most int) ([]ScheduleRunView, error) {
	rows, err := queries.ListScheduleRuns(ctx, db, ListScheduleRunsParams{Schedule: name, Before: math.MaxInt64, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list the runs of schedule %q: %w", name, err)
	}
	return rows, nil
}

// ListScheduleEvents returns the last changes of a schedule's status, the newest first.
func ListScheduleEvents(ctx context.Context, db DB, name string, most int) ([]ListScheduleEventsRow, error) {
	rows, err := queries.ListScheduleEvents(ctx, db, ListScheduleEventsParams{Schedule: name, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list the events of schedule %q: %w", name, err)
	}
	return rows, nil
}

// ScheduleNeeds says who could run jobs of a kind in a queue.
func ScheduleNeeds(ctx context.Context, db DB, kind, queue string) (ScheduleNeedsRow, error) {
	needs, err := queries.ScheduleNeeds(ctx, db, ScheduleNeedsParams{Kind: kind, Queue: queue})
	if err != nil {
		return needs, fmt.Errorf("look who works kind %q: %w", kind, err)
	}
	return needs, nil
}

// The following are the functions of the schema of the same names. Their errors are the database's, which say what is
// wrong.

// DefineSchedule defines a schedule at run time; false if it is so already.
func DefineSchedule(ctx context.Context, db DB, name string, definition json.RawMessage) (bool, error) {
	return queries.DefineSchedule(ctx, db, DefineScheduleParams{Schedule: name, Definition: definition})
}

// RevertSchedule goes back to the definition in code.
func RevertSchedule(ctx context.Context, db DB, name string) (bool, error) {
	return queries.RevertSchedule(ctx, db, name)
}

// DeleteSchedule deletes a schedule.
func DeleteSchedule(ctx context.Context, db DB, name string) error {
	_, err := queries.DeleteSchedule(ctx, db, name)
	return err
}

// PauseSchedule pauses a schedule.
func PauseSchedule(ctx context.Context, db DB, name, reason string) (bool, error) {
	return queries.PauseSchedule(ctx, db, PauseScheduleParams{Schedule: name, Reason: reason})
}

// ResumeSchedule resumes a schedule.
func ResumeSchedule(ctx context.Context, db DB, name string) (bool, error) {
	return queries.ResumeSchedule(ctx, db, name)
}

// RunSchedule runs a schedule now, and returns the run's number and job.
func RunSchedule(ctx context.Context, db DB, name string) (n, jobID int64, err error) {
	row, err := queries.RunSchedule(ctx, db, name)
	return row.N, row.JobID, err
}

// SkipSchedule skips the next run, or all before a moment, and returns the first one skipped.
func SkipSchedule(ctx context.Context, db DB, name string, until *time.Time) (time.Time, error) {
	return queries.SkipSchedule(ctx, db, SkipScheduleParams{Schedule: name, Until: until})
}

// BackfillSchedule asks for a backfill and returns its number.
func BackfillSchedule(ctx context.Context, db DB, name string, from, to time.Time, atOnce int) (int64, error) {
	return queries.BackfillSchedule(ctx, db, BackfillScheduleParams{Schedule: name, FromAt: from, ToAt: to, AtOnce: int32(atOnce)}) //nolint:gosec // checked by its callers
}

// ListBackfills returns backfills, the newest first, those before a number if there is one.
func ListBackfills(ctx context.Context, db DB, before *int64, most int) ([]ListBackfillsRow, error) {
	rows, err := queries.ListBackfills(ctx, db, ListBackfillsParams{Before: before, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list backfills: %w", err)
	}
	return rows, nil
}

// CancelBackfill ends a backfill, and returns its schedule and whether it had not ended before.
func CancelBackfill(ctx context.Context, db DB, id int64) (string, bool, error) {
	row, err := queries.CancelBackfill(ctx, db, id)
	return row.Schedule, row.Changed, err
}
