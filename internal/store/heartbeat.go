package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Runs are those of a check that have begun and not ended: when, by run id.
type Runs map[string]time.Time

// Value is what the database keeps.
func (r Runs) Value() (driver.Value, error) {
	if r == nil {
		return "{}", nil
	}
	text, err := json.Marshal(map[string]time.Time(r))
	return string(text), err
}

// What is read and written of checks.
type (
	HeartbeatPing = InsertHeartbeatPingParams
	Check         = ListChecksRow
	CheckPing     = ListCheckPingsRow
	CheckEvent    = ListCheckEventsRow
)

// LockHeartbeat returns the check of a key, or of a name when there is no key, locked until the transaction ends, and the
// database's time once it is. It returns pgx.ErrNoRows when there is none.
func LockHeartbeat(ctx context.Context, db DB, key, name string) (*Heartbeat, time.Time, error) {
	row, err := queries.LockHeartbeat(ctx, db, LockHeartbeatParams{Key: key, Name: name})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("lock check %q: %w", name, err)
	}
	return prepared(&row.Heartbeat), row.Now, nil
}

// LockTurningHeartbeats returns checks whose status may have changed with time, locked, and the database's time.
func LockTurningHeartbeats(ctx context.Context, db DB, most int) ([]*Heartbeat, time.Time, error) {
	rows, err := queries.LockTurningHeartbeats(ctx, db, int32(most)) //nolint:gosec // a small number
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("lock the checks that are due: %w", err)
	}
	var now time.Time
	found := make([]*Heartbeat, len(rows))
	for i := range rows {
		found[i], now = prepared(&rows[i].Heartbeat), rows[i].Now
	}
	return found, now, nil
}

func prepared(h *Heartbeat) *Heartbeat {
	if h.Running == nil {
		h.Running = Runs{}
	}
	return h
}

// SaveHeartbeat writes what pings and time have changed of a check.
func SaveHeartbeat(ctx context.Context, db DB, h *Heartbeat) error {
	err := queries.SaveHeartbeat(ctx, db, SaveHeartbeatParams{
		ID: h.ID, Pings: h.Pings, LastPingAt: h.LastPingAt, LastSignAt: h.LastSignAt, LastStartAt: h.LastStartAt, LastSuccessAt: h.LastSuccessAt,
		LastFailureAt: h.LastFailureAt, LastExitStatus: h.LastExitStatus, LastDuration: h.LastDuration, Running: h.Running,
		RunningSince: h.RunningSince, ExpectedBy: h.ExpectedBy, Problem: h.Problem, Status: h.Status, StatusSince: h.StatusSince, TurnsAt: h.TurnsAt,
	})
	if err != nil {
		return fmt.Errorf("save check %q: %w", h.Name, err)
	}
	return nil
}

// InsertHeartbeatPing keeps a ping.
func InsertHeartbeatPing(ctx context.Context, db DB, p HeartbeatPing) error {
	if err := queries.InsertHeartbeatPing(ctx, db, p); err != nil {
		return fmt.Errorf("keep a ping of check %d: %w", p.HeartbeatID, err)
	}
	return nil
}

// InsertHeartbeatEvent notes a change of status.
func InsertHeartbeatEvent(ctx context.Context, db DB, id int64, at time.Time, status, was string) error {
	if err := queries.InsertHeartbeatEvent(ctx, db, InsertHeartbeatEventParams{HeartbeatID: id, At: at, Status: status, Was: was}); err != nil {
		return fmt.Errorf("note that check %d is %s: %w", id, status, err)
	}
	return nil
}

// TrimHeartbeatPings deletes the oldest pings of a check but for so many.
func TrimHeartbeatPings(ctx context.Context, db DB, id int64, kept int) error {
	if err := queries.TrimHeartbeatPings(ctx, db, TrimHeartbeatPingsParams{HeartbeatID: id, Kept: int32(kept)}); err != nil { //nolint:gosec // a small number
		return fmt.Errorf("delete old pings of check %d: %w", id, err)
	}
	return nil
}

// CountHeartbeats returns how many checks there are.
func CountHeartbeats(ctx context.Context, db DB) (int64, error) {
	n, err := queries.CountHeartbeats(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("count checks: %w", err)
	}
	return n, nil
}

// A CheckDefinition is what put_check takes.
type CheckDefinition struct {
	Name, Description string
	Period            *time.Duration
	Cron              *string
	Zone              string
	Grace             time.Duration
	Longest           *time.Duration
}

// PutCheck makes or changes a check and returns the key of its address.
func PutCheck(ctx context.Context, db DB, d CheckDefinition) (key string, created bool, err error) {
	// A function with OUT parameters, which sqlc does not see through.
	err = db.QueryRow(ctx, `SELECT key, created FROM towpath.put_check($1::text, period => $2::interval, cron => $3::text, zone => $4::text,
		grace => $5::interval, longest => $6::interval, description => $7::text)`,
		d.Name, d.Period, d.Cron, d.Zone, d.Grace, d.Longest, d.Description).Scan(&key, &created)
	if err != nil {
		return "", false, fmt.Errorf("put check %q: %w", d.Name, err)
	}
	return key, created, nil
}

// ChangeCheck calls pause_check, resume_check or delete_check and reports whether that changed anything.
func ChangeCheck(ctx context.Context, db DB, action, name string) (changed bool, err error) {
	statement := map[string]string{
		"pause":  `SELECT towpath.pause_check($1::text)`,
		"resume": `SELECT towpath.resume_check($1::text)`,
		"delete": `SELECT towpath.delete_check($1::text)`,
	}[action]
	if err := db.QueryRow(ctx, statement, name).Scan(&changed); err != nil {
		return false, fmt.Errorf("%s check %q: %w", action, name, err)
	}
	return changed, nil
}

// CheckKey returns the key of a check's address, "" if there is no such check. It changes the key first when renew says so.
func CheckKey(ctx context.Context, db DB, name string, renew bool) (string, error) {
	var key *string
	if err := db.QueryRow(ctx, `SELECT towpath.check_key($1::text, renew => $2::boolean)`, name, renew).Scan(&key); err != nil {
		return "", fmt.Errorf("read the key of check %q: %w", name, err)
	}
	if key == nil {
		return "", nil
	}
	return *key, nil
}

// ListChecks returns checks by name, after one and of some statuses (none: all).
func ListChecks(ctx context.Context, db DB, after string, statuses []string, most int) ([]Check, error) {
	if statuses == nil {
		statuses = []string{}
	}
	checks, err := queries.ListChecks(ctx, db, ListChecksParams{After: after, Statuses: statuses, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list checks: %w", err)
	}
	return checks, nil
}

// ShowCheck returns a check, or pgx.ErrNoRows.
func ShowCheck(ctx context.Context, db DB, name string) (*Check, error) {
	found, err := queries.ListChecks(ctx, db, ListChecksParams{Name: name, Statuses: []string{}, Most: 1})
	if err == nil && (len(found) == 0 || name == "") {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return nil, fmt.Errorf("show check %q: %w", name, err)
	}
	return &found[0], nil
}

// ListCheckPings returns the pings of a check, the newest first, before one (0: all).
func ListCheckPings(ctx context.Context, db DB, name string, before int64, most int) ([]CheckPing, error) {
	pings, err := queries.ListCheckPings(ctx, db, ListCheckPingsParams{Name: name, Before: before, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list pings of check %q: %w", name, err)
	}
	return pings, nil
}

// ListCheckEvents returns the latest changes of a check's status, the newest first.
func ListCheckEvents(ctx context.Context, db DB, name string, most int) ([]CheckEvent, error) {
	events, err := queries.ListCheckEvents(ctx, db, ListCheckEventsParams{Name: name, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list events of check %q: %w", name, err)
	}
	return events, nil
}

// DeleteOldHeartbeatRows deletes pings and events that are past their retention, at most so many of each, and returns how
// many there were.
func DeleteOldHeartbeatRows(ctx context.Context, db DB, pings, events time.Duration, most int) (int64, error) {
	n, err := queries.DeleteOldHeartbeatPings(ctx, db, DeleteOldHeartbeatPingsParams{Retention: pings, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return 0, fmt.Errorf("delete old pings: %w", err)
	}
	m, err := queries.DeleteOldHeartbeatEvents(ctx, db, DeleteOldHeartbeatEventsParams{Retention: events, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return n, fmt.Errorf("delete old events of checks: %w", err)
	}
	return n + m, nil
}

// CreateHeartbeat makes a check for its first ping, unless there is one of the name.
func CreateHeartbeat(ctx context.Context, db DB, name string, period, grace time.Duration) error {
	// Two first pings at once queue up for the lock, and the second finds what the first has made.
	if _, err := db.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('towpath.heartbeat ' || $1::text, 0)), set_config('towpath.actor', 'first ping', true)`, name); err != nil {
		return fmt.Errorf("make check %q: %w", name, err)
	}
	there, err := queries.HeartbeatExists(ctx, db, name)
	if err != nil {
		return fmt.Errorf("make check %q: %w", name, err)
	}
	if there {
		return nil
	}
	_, _, err = PutCheck(ctx, db, CheckDefinition{Name: name, Period: &period, Zone: "UTC", Grace: grace, Description: "made by its first ping"})
	return err
}
