package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ScheduleState is where a schedule stands, as the leader needs it.
type ScheduleState struct {
	Name       string
	Version    int64
	Definition json.RawMessage // the one that holds
	After      time.Time
	NextTick   *time.Time
	NextDue    *time.Time
	Held       bool
	OpenRuns   int32
	InWords    *string
	Problem    *string
}

// ScheduleChange is a decision of the leader's about a schedule.
type ScheduleChange struct {
	Name     string        `json:"name"`
	Version  int64         `json:"version"` // the one that was seen
	After    time.Time     `json:"after"`
	NextTick *time.Time    `json:"next_tick"`
	NextDue  *time.Time    `json:"next_due"`
	Held     bool          `json:"held"`
	InWords  *string       `json:"in_words"`
	Problem  *string       `json:"problem"`
	Runs     []ScheduleRun `json:"-"`
}

// ScheduleRun is a tick to be fired, or with a note one to be passed over.
type ScheduleRun struct {
	Schedule string    `json:"schedule"`
	Tick     time.Time `json:"tick"`
	Due      time.Time `json:"due"`
	Since    time.Time `json:"since,omitzero"` // since when its start is awaited, if not since Due
	Ticks    int       `json:"ticks"`
	Note     *string   `json:"note,omitempty"`
	Backfill *int64    `json:"backfill,omitempty"`
}

// ScheduleStatus is what the leader found a schedule to be.
type ScheduleStatus struct {
	Name    string     `json:"name"`
	Version int64      `json:"version"` // the one that was seen
	Status  string     `json:"status"`
	Since   time.Time  `json:"since"`
	Due     *time.Time `json:"due"` // when to look again
}

// UnsettledSchedules returns schedules whose definition no leader has seen yet.
func UnsettledSchedules(ctx context.Context, db DB, most int) ([]ScheduleState, error) {
	rows, err := queries.UnsettledSchedules(ctx, db, int64(most))
	if err != nil {
		return nil, fmt.Errorf("list new schedules: %w", err)
	}
	states := make([]ScheduleState, len(rows))
	for i, row := range rows {
		states[i] = ScheduleState(row)
	}
	return states, nil
}

// DueSchedules returns the schedules with a tick that is due at a moment, the longest due first.
func DueSchedules(ctx context.Context, db DB, moment time.Time, most int) ([]ScheduleState, error) {
	rows, err := queries.DueSchedules(ctx, db, DueSchedulesParams{Moment: moment, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list due schedules: %w", err)
	}
	states := make([]ScheduleState, len(rows))
	for i, row := range rows {
		states[i] = ScheduleState(row)
	}
	return states, nil
}

// SettledSchedules returns the other schedules by name, those beyond a name.
func SettledSchedules(ctx context.Context, db DB, beyond string, most int) ([]ScheduleState, error) {
	rows, err := queries.SettledSchedules(ctx, db, SettledSchedulesParams{Beyond: beyond, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	states := make([]ScheduleState, len(rows))
	for i, row := range rows {
		states[i] = ScheduleState(row)
	}
	return states, nil
}

// AdvanceSchedules puts decisions into effect, each if the schedule is as it was seen, and returns how many.
func AdvanceSchedules(ctx context.Context, db DB, changes []ScheduleChange) (int, error) {
	runs := []ScheduleRun{}
	for i := range changes {
		runs = append(runs, changes[i].Runs...)
	}
	decisions, err := json.Marshal(changes)
	if err != nil {
		return 0, fmt.Errorf("advance schedules: %w", err)
	}
	ticks, err := json.Marshal(runs)
	if err != nil {
		return 0, fmt.Errorf("advance schedules: %w", err)
	}
	moved, err := queries.AdvanceSchedules(ctx, db, AdvanceSchedulesParams{Changes: decisions, Runs: ticks})
	if err != nil {
		return 0, fmt.Errorf("advance schedules: %w", err)
	}
	return int(moved), nil
}

// SchedulesToWatch returns the facts about schedules whose status has to be looked at at a moment.
func SchedulesToWatch(ctx context.Context, db DB, moment time.Time, most int) ([]SchedulesToWatchRow, error) {
	rows, err := queries.SchedulesToWatch(ctx, db, SchedulesToWatchParams{Moment: moment, Most: int64(most)})
	if err != nil {
		return nil, fmt.Errorf("list schedules to watch: %w", err)
	}
	return rows, nil
}

// SetScheduleStatuses notes statuses, each if the schedule is as it was seen, and returns how many are new.
func SetScheduleStatuses(ctx context.Context, db DB, statuses []ScheduleStatus) (int, error) {
	text, err := json.Marshal(statuses)
	if err != nil {
		return 0, fmt.Errorf("set the status of schedules: %w", err)
	}
	changed, err := queries.SetScheduleStatuses(ctx, db, text)
	if err != nil {
		return 0, fmt.Errorf("set the status of schedules: %w", err)
	}
	return int(changed), nil
}

// NoteScheduleRuns writes down what became of the jobs of unfinished runs, and returns how many have news.
func NoteScheduleRuns(ctx context.Context, db DB) (int, error) {
	noted, err := queries.NoteScheduleRuns(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("note what became of runs: %w", err)
	}
	return int(noted), nil
}

// OpenBackfills returns backfills that are not over.
func OpenBackfills(ctx context.Context, db DB, most int) ([]OpenBackfillsRow, error) {
	rows, err := queries.OpenBackfills(ctx, db, int64(most))
	if err != nil {
		return nil, fmt.Errorf("list backfills: %w", err)
	}
	return rows, nil
}

// AdvanceBackfill enqueues the next ticks of a backfill, if it stands where it was seen.
func AdvanceBackfill(ctx context.Context, db DB, id int64, seen, upTo time.Time, ended bool, runs []ScheduleRun) (bool, error) {
	if runs == nil {
		runs = []ScheduleRun{}
	}
	text, err := json.Marshal(runs)
	if err != nil {
		return false, fmt.Errorf("advance backfill %d: %w", id, err)
	}
	moved, err := queries.AdvanceBackfill(ctx, db, AdvanceBackfillParams{ID: id, Seen: seen, UpTo: upTo, Ended: ended, Runs: text})
	if err != nil {
		return false, fmt.Errorf("advance backfill %d: %w", id, err)
	}
	return moved, nil
}

// Agenda says what there is to do about schedules, when, and when the next probe, if there are Probes, and the next check are
// due. No moment: none is.
type Agenda = ReadAgendaRow

// ReadAgenda reads it.
func ReadAgenda(ctx context.Context, db DB) (Agenda, error) {
	agenda, err := queries.ReadAgenda(ctx, db)
	if err != nil {
		return agenda, fmt.Errorf("look what schedules, probes and checks need: %w", err)
	}
	return agenda, nil
}

// PruneSchedules deletes runs that are no longer kept, and returns how many.
func PruneSchedules(ctx context.Context, db DB) (int, error) {
	gone, err := queries.PruneSchedules(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("prune the runs of schedules: %w", err)
	}
	return int(gone), nil
}

// DeploySchedules tells which schedules a program's code defines; true when the set that holds has changed.
func DeploySchedules(ctx context.Context, db DB, application, fingerprint, version string, definitions json.RawMessage) (bool, error) {
	applied, err := queries.DeploySchedules(ctx, db, DeploySchedulesParams{
		Application: application, Fingerprint: fingerprint, Version: version, Definitions: definitions,
	})
	if err != nil {
		return false, fmt.Errorf("deploy the schedules of %q: %w", application, err)
	}
	return applied, nil
}

// ScheduleDefinition returns the definition that holds for a schedule; there is false when there is no such schedule.
func ScheduleDefinition(ctx context.Context, db DB, name string) (definition json.RawMessage, there bool, err error) {
	definition, err = queries.ScheduleDefinition(ctx, db, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read schedule %q: %w", name, err)
	}
	return definition, true, nil
}
