package alert

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
	"github.com/towpath/towpath/internal/store"
)

const (
	// leaseName names what one process at a time does.
	leaseName = "alerts"
	// leaseRounds is how many rounds the lease lasts.
	leaseRounds = 3
	// healthEvery is how often Postgres is looked at, which changes slowly.
	healthEvery = time.Minute
	// refreshEvery is how often the figures of an alert are written anew whose state stays.
	refreshEvery = time.Minute
	pruneEvery   = time.Hour
	// roundLimit bounds a round.
	roundLimit = 30 * time.Second
	// soonest is the least time between two rounds.
	soonest = time.Second
)

// Config is what an evaluator needs.
type Config struct {
	Pool      *pgxpool.Pool
	ID        string // of this process, as in towpath.process if it is there
	Logger    *slog.Logger
	Every     time.Duration // between rounds
	Wait      time.Duration // of a change for others to share its message
	Notifiers []string      // that this process is configured with
	// Clock is the time by which alerts are judged. Nil: the database's.
	Clock func(ctx context.Context) (time.Time, error)
}

// Evaluator looks for what is wrong and has it told.
type Evaluator struct {
	config Config

	mu        sync.Mutex // one round at a time
	healthAt  time.Time
	pruneAt   time.Time
	failing   bool
	evaluates bool      // this process has the lease
	leaseEnds time.Time // if nobody takes it before

	beforeSave func() // for tests
}

// New returns an evaluator.
func New(config Config) *Evaluator {
	return &Evaluator{config: config, pruneAt: time.Now().Add(pruneEvery / 10)}
}

// Run evaluates until ctx ends, whenever this process has the lease: the leader takes it at once, and others when it has
// expired.
func (e *Evaluator) Run(ctx context.Context) {
	for {
		wait := e.attempt(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// attempt makes a round if this process has the lease and returns when to come again.
func (e *Evaluator) attempt(ctx context.Context) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	has, err := e.takeLease(limited)
	wait := e.config.Every
	if err == nil && has {
		wait, err = e.Round(limited)
	}
	if err == nil && has != e.evaluates {
		e.evaluates = has
		e.config.Logger.DebugContext(ctx, "evaluation of alerts", slog.Bool("here", has))
	}
	if err != nil && !e.failing && ctx.Err() == nil {
		e.config.Logger.WarnContext(ctx, "evaluate alerts", slog.Any("error", err))
	}
	e.failing = err != nil
	return wait
}

// takeLease reports whether this process evaluates. It asks anew when the lease would not last for two more rounds. Another
// that takes it meanwhile, for it leads now, is met by SaveAlerts.
func (e *Evaluator) takeLease(ctx context.Context) (bool, error) {
	if e.evaluates && time.Until(e.leaseEnds) > leaseRounds*e.config.Every/2 {
		return true, nil
	}
	asked := time.Now()
	has, err := store.TakeLease(ctx, e.config.Pool, leaseName, e.config.ID, leaseRounds*e.config.Every)
	if err == nil && has {
		e.leaseEnds = asked.Add(leaseRounds * e.config.Every)
	}
	return has, err
}

// Round looks at everything once, writes what has changed, and returns when to come again.
func (e *Evaluator) Round(ctx context.Context) (time.Duration, error) {
	r, err := e.read(ctx)
	if err != nil {
		return e.config.Every, err
	}
	r.advance()
	if len(r.alerts) > 0 {
		if err := e.readSilences(ctx, r); err != nil {
			return e.config.Every, err
		}
	}
	due, next := r.book.Plan(r.alerts, r.now)
	changed, events := r.changes()
	if len(changed) > 0 {
		messages, err := r.messages(due)
		if err != nil {
			return e.config.Every, err
		}
		if e.beforeSave != nil {
			e.beforeSave()
		}
		saved, err := store.SaveAlerts(ctx, e.config.Pool, r.round, changed, events, messages)
		if err != nil || !saved { // another one was quicker, and has told what it saw
			return e.config.Every, err
		}
		e.tell(ctx, events, due)
	}
	if time.Now().After(e.pruneAt) {
		e.pruneAt = time.Now().Add(pruneEvery)
		if _, err := store.PruneAlerts(ctx, e.config.Pool); err != nil {
			return e.config.Every, err
		}
	}
	wait := e.config.Every
	for _, at := range append(r.turns, next) {
		if !at.IsZero() {
			wait = min(wait, at.Sub(r.now))
		}
	}
	return max(wait, soonest), nil
}

// tell logs what has changed.
func (e *Evaluator) tell(ctx context.Context, events []store.NewAlertEvent, due []Delivery) {
	for _, event := range events {
		if State(event.State) == Pending || State(event.State) == Resolved && *event.Was == string(Pending) {
			continue
		}
		e.config.Logger.InfoContext(ctx, "alert "+event.State, //nolint:sloglint // firing or resolved
			slog.String("rule", event.Rule), slog.String("subject", event.Subject), slog.String("summary", event.Summary))
	}
	for _, d := range due {
		e.config.Logger.DebugContext(ctx, "message about alerts enqueued", slog.String("notifier", d.Notifier), slog.String("status", d.Status), slog.Int("alerts", len(d.Alerts)))
	}
}

// round is one evaluation: what was, and what becomes of it.
type round struct {
	round  int64
	now    time.Time
	book   Book
	sight  sight
	alerts []*Alert
	before map[*Alert]Alert
	turns  []time.Time // when time alone changes something
}

// read reads what was and looks at what is.
func (e *Evaluator) read(ctx context.Context) (*round, error) {
	stored, err := store.ReadAlertBook(ctx, e.config.Pool)
	if err != nil {
		return nil, err
	}
	r := &round{round: stored.Round, now: stored.Clock, sight: sight{}, before: make(map[*Alert]Alert)}
	if e.config.Clock != nil {
		if r.now, err = e.config.Clock(ctx); err != nil {
			return nil, err
		}
	}
	r.book = Book{Rules: rules(stored.Rules), Notifiers: e.config.Notifiers, Wait: e.config.Wait}
	for i := range stored.Alerts {
		a := alertOf(&stored.Alerts[i])
		r.alerts = append(r.alerts, a)
		r.before[a] = *a
	}
	return r, e.look(ctx, r)
}

func (e *Evaluator) readSilences(ctx context.Context, r *round) error {
	silences, err := store.ActiveSilences(ctx, e.config.Pool)
	for _, s := range silences {
		r.book.Silences = append(r.book.Silences, Silence{Rule: s.Rule, Subject: s.Subject, Ends: s.EndsAt})
	}
	return err
}

// look makes the observations. Postgres is looked at more rarely than the rest.
func (e *Evaluator) look(ctx context.Context, r *round) error {
	facts, activity, err := store.AlertFacts(ctx, e.config.Pool)
	if err != nil {
		return err
	}
	facts = slices.DeleteFunc(facts, delivers)
	activity = slices.DeleteFunc(activity, func(a store.KindActivity) bool { return a.Kind == notify.Kind })
	r.sight.facts(r.book.Rules, facts)
	r.sight.activity(activity)
	if time.Since(e.healthAt) < healthEvery {
		return nil
	}
	health, err := store.AlertHealth(ctx, e.config.Pool)
	if err != nil {
		return err
	}
	r.sight.health(health)
	e.healthAt = time.Now()
	return nil
}

// delivers reports whether a fact is about the delivery of messages itself, of which none is sent: it would wait as the others
// do, and only make another one.
func delivers(f store.AlertFact) bool {
	switch f.Source {
	case "queue":
		return f.Subject == config.SchedulerQueue
	case "running", "stuck":
		return f.Subject == notify.Kind
	default:
		return false
	}
}

// advance brings all alerts up to what was seen.
func (r *round) advance() {
	known := make(map[string]map[string]bool)
	step := func(a *Alert, rule *Rule) {
		*a = rule.Advance(*a, r.sight[rule.Name][a.Subject], r.now)
		if at := rule.due(a); !at.IsZero() {
			r.turns = append(r.turns, at)
		}
	}
	for _, a := range r.alerts {
		rule := r.book.of(a)
		if known[a.Rule] == nil {
			known[a.Rule] = make(map[string]bool)
		}
		known[a.Rule][a.Subject] = true
		if rule != nil && (r.sight[rule.Name] != nil || !rule.Enabled) {
			step(a, rule)
		}
	}
	for name, subjects := range r.sight {
		for subject := range subjects {
			a := &Alert{Rule: name, Subject: subject}
			rule := r.book.of(a)
			if known[name][subject] || rule == nil || !rule.Enabled {
				continue
			}
			if step(a, rule); a.State != Unknown {
				r.alerts = append(r.alerts, a)
				r.before[a] = Alert{}
			}
		}
	}
}

// changes are the rows to be written, and the events.
func (r *round) changes() (changed []store.ChangedAlert, events []store.NewAlertEvent) {
	for _, a := range r.alerts {
		was := r.before[a]
		turned, figures := a.State != was.State, a.Summary != was.Summary || a.Value != was.Value || a.Detail != was.Detail
		if !turned && a.Told == was.Told && a.ToldAt.Equal(was.ToldAt) && len(a.ToldTo) == len(was.ToldTo) && a.BadSince.IsZero() == was.BadSince.IsZero() &&
			a.WellSince.Equal(was.WellSince) && (!figures || r.now.Sub(a.SeenAt) < refreshEvery) {
			continue
		}
		a.SeenAt = r.now
		changed = append(changed, stored(a))
		if !turned {
			continue
		}
		event := store.NewAlertEvent{
			Rule: a.Rule, Subject: a.Subject, At: a.Since, State: string(a.State), Severity: r.book.of(a).Severity, Value: a.Value, Summary: a.Summary,
		}
		if was.State != Unknown {
			before := string(was.State)
			event.Was = &before
		}
		events = append(events, event)
	}
	return changed, events
}

// messages are the jobs that deliver.
func (r *round) messages(due []Delivery) (messages []json.RawMessage, err error) {
	for i := range due {
		args := notify.Args{Notifier: due[i].Notifier, Message: r.message(&due[i])}
		opts := args.InsertOpts()
		job, err := json.Marshal(map[string]any{
			"kind": args.Kind(), "args": args, "queue": opts.Queue, "priority": opts.Priority, "max_attempts": opts.MaxAttempts, "tags": []string{"alert"},
		})
		if err != nil {
			return nil, fmt.Errorf("write a message about %q: %w", due[i].Key, err)
		}
		messages = append(messages, job)
	}
	return messages, nil
}

func (r *round) message(d *Delivery) notify.Message {
	m := notify.Message{Key: d.Key, Status: d.Status, Severity: d.Severity, Title: d.Title, GroupedBy: d.Group, At: r.now}
	for _, a := range d.Alerts {
		m.Alerts = append(m.Alerts, notify.Alert{
			Key: r.book.of(a).Key(a.Subject), Rule: a.Rule, Subject: a.Subject, Summary: a.Summary, Detail: a.Detail, Value: a.Value,
			Since: a.BadSince, Link: a.Link,
		})
	}
	return m
}
