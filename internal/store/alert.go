package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// What is read of alerts.
type (
	AlertRule    = AlertRulesRow
	RoundRule    = AlertRoundRow
	StoredAlert  = OpenAlertsRow
	StoredQuiet  = ActiveSilencesRow
	AlertFact    = AlertFactsRow
	HealthFact   = AlertHealthRow
	Alert        = ListAlertsRow
	AlertEvent   = ListAlertEventsRow
	Silence      = ListSilencesRow
	AlertFigures = AlertFiguresRow
	Evaluator    = AlertEvaluatorRow
)

// AlertBook is what an evaluation begins with.
type AlertBook struct {
	Round  int64 // to be handed to SaveAlerts
	Clock  time.Time
	Rules  []RoundRule
	Alerts []StoredAlert
}

// KindActivity is how attempts of a kind in a queue went: N of an event took Seconds together, each as long as the bucket of
// counters says.
type KindActivity struct {
	Queue, Kind, Event string
	Bucket             int16
	N                  int64
	Seconds            float64
}

// ReadAlertBook reads it, the round first: what somebody else changes from then on is found out by SaveAlerts. As a rule no
// alert is open, and nothing more to be read.
func ReadAlertBook(ctx context.Context, db DB) (*AlertBook, error) {
	rules, err := queries.AlertRound(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the rules and the round of alerts: %w", err)
	}
	if len(rules) == 0 {
		return nil, errors.New("read the round of alerts: towpath.alert_round has lost its row; INSERT INTO towpath.alert_round DEFAULT VALUES mends that")
	}
	book := &AlertBook{Round: rules[0].Round, Clock: rules[0].Clock, Rules: rules}
	if !rules[0].Open {
		return book, nil
	}
	if book.Alerts, err = queries.OpenAlerts(ctx, db); err != nil {
		return nil, fmt.Errorf("read the open alerts: %w", err)
	}
	return book, nil
}

// ActiveSilences returns the silences that hold.
func ActiveSilences(ctx context.Context, db DB) ([]StoredQuiet, error) {
	silences, err := queries.ActiveSilences(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the silences: %w", err)
	}
	return silences, nil
}

// ListAlertRules returns the rules by name, each before its exceptions.
func ListAlertRules(ctx context.Context, db DB) ([]AlertRule, error) {
	rules, err := queries.AlertRules(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the alert rules: %w", err)
	}
	return rules, nil
}

// attempts is the source of those facts that are activity.
const attempts = "attempts"

// AlertFacts returns what is true at this moment, and how the attempts of the last 15 minutes went.
func AlertFacts(ctx context.Context, db DB) (facts []AlertFact, activity []KindActivity, err error) {
	rows, err := queries.AlertFacts(ctx, db)
	if err != nil {
		return nil, nil, fmt.Errorf("look at queues, schedules, checks, processes and attempts: %w", err)
	}
	for i := range rows {
		if row := &rows[i]; row.Source == attempts {
			activity = append(activity, KindActivity{
				Queue: row.Subject, Kind: row.Note, Event: row.Word, Bucket: int16(row.Other), N: row.N, Seconds: row.Measure, //nolint:gosec // a bucket
			})
		} else {
			facts = append(facts, *row)
		}
	}
	return facts, activity, nil
}

// AlertHealth returns how Postgres is.
func AlertHealth(ctx context.Context, db DB) ([]HealthFact, error) {
	health, err := queries.AlertHealth(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("look at the health of Postgres: %w", err)
	}
	return health, nil
}

// ChangedAlert is a row of towpath.alert as it shall be.
type ChangedAlert struct {
	Rule      string     `json:"rule"`
	Subject   string     `json:"subject"`
	State     string     `json:"state"`
	Since     time.Time  `json:"since"`
	BadSince  *time.Time `json:"bad_since"`
	WellSince *time.Time `json:"well_since"`
	Value     string     `json:"value"`
	Summary   string     `json:"summary"`
	Detail    string     `json:"detail"`
	Link      string     `json:"link"`
	Told      bool       `json:"told"`
	ToldAt    *time.Time `json:"told_at"`
	ToldTo    []string   `json:"told_to"`
	SeenAt    time.Time  `json:"seen_at"`
}

// NewAlertEvent is a change of an alert's state.
type NewAlertEvent struct {
	Rule     string    `json:"rule"`
	Subject  string    `json:"subject"`
	At       time.Time `json:"at"`
	State    string    `json:"state"`
	Was      *string   `json:"was"`
	Severity string    `json:"severity"`
	Value    string    `json:"value"`
	Summary  string    `json:"summary"`
}

// SaveAlerts writes what has changed and enqueues the messages, in one statement: jobs are as towpath.enqueue_many takes
// them. It reports false, and has done nothing, when somebody else has written since the round was read.
func SaveAlerts(ctx context.Context, db DB, round int64, changed []ChangedAlert, events []NewAlertEvent, messages []json.RawMessage) (bool, error) {
	params := SaveAlertsParams{Round: round}
	for _, list := range []struct {
		into *string
		of   any
	}{{&params.Changed, changed}, {&params.Events, events}, {&params.Messages, messages}} {
		text, err := json.Marshal(list.of)
		if err != nil {
			return false, fmt.Errorf("save alerts: %w", err)
		}
		if *list.into = string(text); *list.into == "null" {
			*list.into = "[]"
		}
	}
	saved, err := queries.SaveAlerts(ctx, db, params)
	if err != nil {
		return false, fmt.Errorf("save alerts: %w", err)
	}
	return saved, nil
}

// PruneAlerts deletes what is no longer kept and returns how much.
func PruneAlerts(ctx context.Context, db DB) (int, error) {
	gone, err := queries.PruneAlerts(ctx, db)
	if err != nil {
		return 0, fmt.Errorf("prune alerts: %w", err)
	}
	return int(gone), nil
}

// AlertsNow returns how many alerts of each rule are pending and firing, by rule.
func AlertsNow(ctx context.Context, db DB) ([]AlertFigures, error) {
	figures, err := queries.AlertFigures(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("count the alerts: %w", err)
	}
	return figures, nil
}

// ListAlerts returns alerts, the newest rows first: before one (0: all), of a rule (empty: all) and of states (none: all).
func ListAlerts(ctx context.Context, db DB, before int64, rule string, states []string, most int) ([]Alert, error) {
	if states == nil {
		states = []string{}
	}
	found, err := queries.ListAlerts(ctx, db, ListAlertsParams{Before: before, Rule: rule, States: states, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list alerts: %w", err)
	}
	return found, nil
}

// ShowAlert returns an alert, or pgx.ErrNoRows.
func ShowAlert(ctx context.Context, db DB, id int64) (*Alert, error) {
	found, err := queries.ListAlerts(ctx, db, ListAlertsParams{ID: id, States: []string{}, Most: 1})
	if err == nil && (len(found) == 0 || id == 0) {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return nil, fmt.Errorf("show alert %d: %w", id, err)
	}
	return &found[0], nil
}

// ListAlertEvents returns changes of alerts, the newest first: before one (0: all), of a rule and of a subject (empty: all).
func ListAlertEvents(ctx context.Context, db DB, before int64, rule, subject string, most int) ([]AlertEvent, error) {
	found, err := queries.ListAlertEvents(ctx, db, ListAlertEventsParams{Before: before, Rule: rule, Subject: subject, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list changes of alerts: %w", err)
	}
	return found, nil
}

// ListSilences returns silences, the newest first: before one (0: all), those that hold or the ended ones too.
func ListSilences(ctx context.Context, db DB, before int64, ended bool, most int) ([]Silence, error) {
	found, err := queries.ListSilences(ctx, db, ListSilencesParams{Before: before, Ended: ended, Most: int32(most)}) //nolint:gosec // a small number
	if err != nil {
		return nil, fmt.Errorf("list silences: %w", err)
	}
	return found, nil
}

// FindEvaluator returns the process that evaluates alerts, or the last one that did; there is false if none ever has.
func FindEvaluator(ctx context.Context, db DB) (e Evaluator, there bool, err error) {
	e, err = queries.AlertEvaluator(ctx, db)
	if errors.Is(err, pgx.ErrNoRows) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("look who evaluates alerts: %w", err)
	}
	return e, true, nil
}

// EverySubject is the subject of a rule of alerts that is no exception.
const EverySubject = "*"

// RuleChange is what put_alert_rule takes; what is nil stays as it is.
type RuleChange struct {
	Name      string
	Subject   string // of an exception; "" or * for the rule itself
	Threshold *float64
	After     *time.Duration
	Severity  *string
	Reminder  *time.Duration
	Notifiers []string
	Enabled   *bool
}

// PutAlertRule changes a rule, or makes or changes an exception of it.
func PutAlertRule(ctx context.Context, db DB, c RuleChange) error {
	_, err := db.Exec(ctx, `SELECT towpath.put_alert_rule($1::text, threshold => $2::double precision, after => $3::interval, severity => $4::text,
		reminder => $5::interval, notifiers => $6::text[], enabled => $7::boolean, subject => $8::text)`,
		c.Name, c.Threshold, c.After, c.Severity, c.Reminder, c.Notifiers, c.Enabled, cmp.Or(c.Subject, EverySubject))
	if err != nil {
		return fmt.Errorf("change alert rule %q: %w", c.Name, err)
	}
	return nil
}

// RevertAlertRule gives a rule its defaults, or takes back the exception for a subject if there is one given, and reports whether that changed anything.
func RevertAlertRule(ctx context.Context, db DB, name, subject string) (changed bool, err error) {
	if err := db.QueryRow(ctx, `SELECT towpath.revert_alert_rule($1::text, $2::text)`, name, cmp.Or(subject, EverySubject)).Scan(&changed); err != nil {
		return false, fmt.Errorf("revert alert rule %q: %w", name, err)
	}
	return changed, nil
}

// MakeSilence makes a silence that lasts so long from now on, and returns its number and its end.
func MakeSilence(ctx context.Context, db DB, rule, subject string, lasts time.Duration, reason string) (id int64, ends time.Time, err error) {
	err = db.QueryRow(ctx, `SELECT made.id, made.ends_at FROM (SELECT towpath.silence($1::text, $2::text, clock.now, $4::text) AS id, clock.now AS ends_at
		FROM (SELECT clock_timestamp() + $3::interval AS now) clock) made`, rule, subject, lasts, reason).Scan(&id, &ends)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("silence %q about %q: %w", rule, subject, err)
	}
	return id, ends, nil
}

// EndSilence ends a silence and reports whether it held.
func EndSilence(ctx context.Context, db DB, id int64) (changed bool, err error) {
	if err := db.QueryRow(ctx, `SELECT towpath.end_silence($1::bigint)`, id).Scan(&changed); err != nil {
		return false, fmt.Errorf("end silence %d: %w", id, err)
	}
	return changed, nil
}

// AlertFires reports whether a subject's alert fires, by a rule or another of its family.
func AlertFires(ctx context.Context, db DB, rule, subject string) (bool, error) {
	fires, err := queries.AlertFires(ctx, db, AlertFiresParams{Rule: rule, Subject: subject})
	if err != nil {
		return false, fmt.Errorf("look whether the alert %s of %q fires: %w", rule, subject, err)
	}
	return fires, nil
}
