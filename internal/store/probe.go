package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What is read of probes.
type (
	ProbeClaim  = ClaimProbesRow
	ProbeView   = ListProbesRow
	ProbeValue  = ListProbeValuesRow
	ProbeLatest = LatestProbeValuesRow
	ProbeEvent  = ListProbeEventsRow
)

// ProbeFound is what a run of a probe gave.
type ProbeFound struct {
	Values    map[string]float64  `json:"values"`
	Missing   *int64              `json:"missing,omitempty"`
	Extra     *int64              `json:"extra,omitempty"`
	Differing *int64              `json:"differing,omitempty"`
	Examples  map[string][]string `json:"examples,omitempty"`
}

// ProbeEnd is how a run of a probe ended. Found is nil when it gave no figures.
type ProbeEnd struct {
	Outcome string // ok, beyond, empty or failed
	Detail  string
	Value   *float64
	Took    time.Duration
	Found   *ProbeFound
}

// ClaimProbes takes so many probes that are due, for the caller to run.
func ClaimProbes(ctx context.Context, db DB, most int) ([]ProbeClaim, error) {
	claims, err := queries.ClaimProbes(ctx, db, int32(most)) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("claim probes: %w", err)
	}
	return claims, nil
}

// FinishProbe writes down how a run ended; false when it does not count any more.
func FinishProbe(ctx context.Context, db DB, name string, run int64, end ProbeEnd) (bool, error) {
	found := []byte("{}")
	if end.Found != nil {
		var err error
		if found, err = json.Marshal(end.Found); err != nil {
			return false, fmt.Errorf("finish run %d of probe %q: %w", run, name, err)
		}
	}
	counts, err := queries.FinishProbe(ctx, db, FinishProbeParams{
		Probe: name, Run: run, Outcome: end.Outcome, Detail: end.Detail, Value: end.Value, Took: end.Took, Found: found,
	})
	if err != nil {
		return false, fmt.Errorf("finish run %d of probe %q: %w", run, name, err)
	}
	return counts, nil
}

// ReleaseProbe gives a claim back, so that another may take it at once.
func ReleaseProbe(ctx context.Context, db DB, name string, run int64) error {
	if err := queries.ReleaseProbe(ctx, db, ReleaseProbeParams{Name: name, Run: run}); err != nil {
		return fmt.Errorf("release run %d of probe %q: %w", run, name, err)
	}
	return nil
}

// NoteStaleProbes notes which probes have become stale, and returns how many.
func NoteStaleProbes(ctx context.Context, db DB) (int, error) {
	noted, err := queries.NoteStaleProbes(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("note stale probes: %w", err)
	}
	return int(noted), nil
}

// CompactProbes sums up old values of so many series beyond one, and returns the last of them; below zero when there are
// no more.
func CompactProbes(ctx context.Context, db DB, beyond, most int) (last int, err error) {
	id, err := queries.CompactProbes(ctx, db, CompactProbesParams{Beyond: int32(beyond), Most: int32(most)}) //nolint:gosec // the database's numbers
	if err != nil {
		return 0, fmt.Errorf("sum up old values of probes: %w", err)
	}
	return int(id), nil
}

// DeployProbes tells which probes a program's code defines; true when the set that holds has changed.
func DeployProbes(ctx context.Context, db DB, application, fingerprint, version string, definitions json.RawMessage) (bool, error) {
	applied, err := queries.DeployProbes(ctx, db, DeployProbesParams{
		Application: application, Fingerprint: fingerprint, Version: version, Definitions: definitions,
	})
	if err != nil {
		return false, fmt.Errorf("deploy the probes of %q: %w", application, err)
	}
	return applied, nil
}

// ListProbes returns probes by name, those beyond a name, with one of the statuses unless there are none.
func ListProbes(ctx context.Context, db DB, statuses []string, beyond string, most int) ([]ProbeView, error) {
	if statuses == nil {
		statuses = []string{}
	}
	probes, err := queries.ListProbes(ctx, db, ListProbesParams{Beyond: beyond, Statuses: statuses, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list probes: %w", err)
	}
	return probes, nil
}

// FindProbe returns a probe; the error is pgx.ErrNoRows when there is none.
func FindProbe(ctx context.Context, db DB, name string) (*ProbeView, error) {
	found, err := queries.ListProbes(ctx, db, ListProbesParams{Name: name, Statuses: []string{}, Most: 1})
	if err == nil && (len(found) == 0 || name == "") {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return nil, fmt.Errorf("find probe %q: %w", name, err)
	}
	return &found[0], nil
}

// LatestProbeValues returns the series of the last run that gave figures, by name.
func LatestProbeValues(ctx context.Context, db DB, name string, most int) ([]ProbeLatest, error) {
	values, err := queries.LatestProbeValues(ctx, db, LatestProbeValuesParams{Probe: name, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list the latest values of probe %q: %w", name, err)
	}
	return values, nil
}

// ProbeWindow says which values of a probe are asked for. Before and Beyond are where the page begins.
type ProbeWindow struct {
	Probe, Series string // no series: all
	Since         time.Time
	Before        time.Time
	Beyond        string
	Most          int
}

// ListProbeValues returns values, the newest first and those of a moment by series.
func ListProbeValues(ctx context.Context, db DB, w ProbeWindow) ([]ProbeValue, error) {
	values, err := queries.ListProbeValues(ctx, db, ListProbeValuesParams{
		Probe: w.Probe, Series: w.Series, Since: w.Since, Before: w.Before, Beyond: w.Beyond, Most: int32(w.Most), //nolint:gosec // a small number
	})
	if err != nil {
		return nil, fmt.Errorf("list the values of probe %q: %w", w.Probe, err)
	}
	return values, nil
}

// ListProbeEvents returns the last changes of a probe's status, the newest first.
func ListProbeEvents(ctx context.Context, db DB, name string, most int) ([]ProbeEvent, error) {
	events, err := queries.ListProbeEvents(ctx, db, ListProbeEventsParams{Probe: name, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list the events of probe %q: %w", name, err)
	}
	return events, nil
}

// ProbeDefinition is what put_probe takes.
type ProbeDefinition struct {
	Query, CompareWith, Description, Role string
	Every                                 time.Duration
	Timeout                               *time.Duration
	KeyColumns                            []string
	EmptyIsFine                           bool
	AlertAbove, AlertBelow                *float64
	Examples                              int
}

// The following are the functions of the schema of the same names. Their errors are the database's, which say what is
// wrong.

// PutProbe defines a probe at run time; false if it is so already.
func PutProbe(ctx context.Context, db DB, name string, d ProbeDefinition) (changed bool, err error) {
	if d.KeyColumns == nil {
		d.KeyColumns = []string{}
	}
	// A function with OUT parameters, which sqlc does not see through.
	err = db.QueryRow(ctx, `SELECT changed FROM towpath.put_probe($1::text, $2::text, $3::interval, compare_with => nullif($4::text, ''), description => $5::text,
		timeout => $6::interval, role => nullif($7::text, ''), key_columns => $8::text[], empty_is_fine => $9::boolean, alert_above => $10::double precision,
		alert_below => $11::double precision, examples => $12::integer)`,
		name, d.Query, d.Every, d.CompareWith, d.Description, d.Timeout, d.Role, d.KeyColumns, d.EmptyIsFine, d.AlertAbove, d.AlertBelow, d.Examples).Scan(&changed)
	return changed, err
}

// RevertProbe goes back to the definition in code.
func RevertProbe(ctx context.Context, db DB, name string) (bool, error) {
	return queries.RevertProbe(ctx, db, name)
}

// DeleteProbe deletes a probe.
func DeleteProbe(ctx context.Context, db DB, name string) error {
	_, err := queries.DeleteProbe(ctx, db, name)
	return err
}

// PauseProbe pauses a probe.
func PauseProbe(ctx context.Context, db DB, name, reason string) (bool, error) {
	return queries.PauseProbe(ctx, db, PauseProbeParams{Probe: name, Reason: reason})
}

// ResumeProbe resumes a probe.
func ResumeProbe(ctx context.Context, db DB, name string) (bool, error) {
	return queries.ResumeProbe(ctx, db, name)
}

// RunProbe asks for a run now and returns its number.
func RunProbe(ctx context.Context, db DB, name string) (int64, error) {
	return queries.RunProbe(ctx, db, name)
}

// ProbeFigures is how a probe is.
type ProbeFigures = ProbeFiguresRow

// ProbesNow returns the probes, sorted by name.
func ProbesNow(ctx context.Context, db DB) ([]ProbeFigures, error) {
	all, err := queries.ProbeFigures(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the probes: %w", err)
	}
	return all, nil
}

// ProbeSeries is a value of a probe whose last run gave it.
type ProbeSeries = ProbeSeriesNowRow

// ProbeSeriesNow returns so many series, sorted by probe and name.
func ProbeSeriesNow(ctx context.Context, db DB, most int) ([]ProbeSeries, error) {
	all, err := queries.ProbeSeriesNow(ctx, db, int32(most)) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("read the series of probes: %w", err)
	}
	return all, nil
}
