package ticker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
)

// planned is a definition that was read before.
type planned struct {
	document   string
	definition *schedule.Definition
	plan       *schedule.Plan
	err        error
}

// read returns what a definition says, or why this program cannot read it.
func (l *leadership) read(name string, document json.RawMessage) planned {
	if p, ok := l.plans[name]; ok && p.document == string(document) {
		return p
	}
	p := planned{document: string(document), definition: &schedule.Definition{}}
	if p.err = json.Unmarshal(document, p.definition); p.err == nil {
		p.plan, p.err = p.definition.Plan(name)
	}
	l.plans[name] = p
	return p
}

// settle computes what follows from definitions that are new.
func (l *leadership) settle(ctx context.Context, agenda *store.Agenda, _ time.Time) (bool, error) {
	if !agenda.Unsettled {
		return false, nil
	}
	states, err := store.UnsettledSchedules(ctx, l.config.Pool, batch)
	if err != nil {
		return false, err
	}
	changes := make([]store.ScheduleChange, len(states))
	for i := range states {
		changes[i] = l.settled(&states[i])
	}
	// Those that somebody holds at the moment come again.
	moved, err := l.advance(ctx, changes)
	return moved > 0, err
}

// settled is a schedule as its definition wants it. A next tick that is there already stays.
func (l *leadership) settled(s *store.ScheduleState) store.ScheduleChange {
	change := store.ScheduleChange{Name: s.Name, Version: s.Version, After: s.After}
	p := l.read(s.Name, s.Definition)
	if p.err != nil {
		problem := p.err.Error()
		change.Problem = &problem
		return change
	}
	words := p.plan.Words()
	change.InWords = &words
	if s.NextTick != nil {
		change.NextTick, change.NextDue, change.Held = s.NextTick, s.NextDue, s.Held
		return change
	}
	change.NextTick, change.NextDue = next(p.plan, p.plan.Next(s.After))
	return change
}

func next(plan *schedule.Plan, tick time.Time) (nextTick, nextDue *time.Time) {
	if tick.IsZero() {
		return nil, nil
	}
	due := plan.Due(tick)
	return &tick, &due
}

// refresh computes all next ticks anew, once a leadership: this program may know other rules of a time zone than the last
// leader did.
func (l *leadership) refresh(ctx context.Context, _ *store.Agenda, now time.Time) (bool, error) {
	for beyond := ""; !l.refreshed; {
		states, err := store.SettledSchedules(ctx, l.config.Pool, beyond, batch)
		if err != nil {
			return false, err
		}
		var changes []store.ScheduleChange
		for i := range states {
			s := &states[i]
			beyond = s.Name
			if s.Held || s.NextDue != nil && !s.NextDue.After(now) {
				continue // it is owed, whatever the rules say now
			}
			anew := *s
			anew.NextTick, anew.NextDue = nil, nil
			if change := l.settled(&anew); differs(s, &change) {
				changes = append(changes, change)
			}
		}
		if _, err := l.advance(ctx, changes); err != nil {
			return false, err
		}
		l.refreshed = len(states) < batch
	}
	return false, nil
}

func differs(s *store.ScheduleState, change *store.ScheduleChange) bool {
	same := func(a, b *time.Time) bool { return a == nil && b == nil || a != nil && b != nil && a.Equal(*b) }
	text := func(a *string) string {
		if a == nil {
			return ""
		}
		return *a
	}
	return !same(s.NextTick, change.NextTick) || !same(s.NextDue, change.NextDue) || text(s.InWords) != text(change.InWords) || text(s.Problem) != text(change.Problem)
}

// fire decides about the ticks that are due: about all of them before anything else is looked at, so that what is due
// together is enqueued together.
func (l *leadership) fire(ctx context.Context, agenda *store.Agenda, now time.Time) (bool, error) {
	if agenda.NextDue == nil || agenda.NextDue.After(now) {
		return false, nil
	}
	fired := false
	for {
		states, err := store.DueSchedules(ctx, l.config.Pool, now, dueBatch)
		if err != nil {
			return fired, err
		}
		changes := make([]store.ScheduleChange, len(states))
		for i := range states {
			changes[i] = l.decided(&states[i], now)
		}
		moved, err := l.advanceAbreast(ctx, changes)
		fired = fired || moved > 0
		if err != nil || moved == 0 || len(states) < dueBatch {
			return fired, err
		}
	}
}

// advanceAbreast is advance for many changes, in several transactions at a time: a common tick costs the database some
// time for each schedule, which one connection would spend on one core. They are of different schedules, so that none waits
// for another.
func (l *leadership) advanceAbreast(ctx context.Context, changes []store.ScheduleChange) (int, error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(min(lanes, int(l.config.Pool.Config().MaxConns)/2), 1)) // others need connections too
	var moved atomic.Int64
	for part := range slices.Chunk(changes, laneBatch) {
		group.Go(func() error {
			n, err := l.advance(ctx, part)
			moved.Add(int64(n))
			return err
		})
	}
	err := group.Wait()
	return int(moved.Load()), err
}

// decided is a schedule after the decision about its due ticks.
func (l *leadership) decided(s *store.ScheduleState, now time.Time) store.ScheduleChange {
	p := l.read(s.Name, s.Definition)
	if p.err != nil {
		return l.settled(s)
	}
	at := schedule.Position{After: s.After, Held: s.Held, Open: int(s.OpenRuns)}
	if s.NextTick != nil {
		at.Next = *s.NextTick
	}
	decision := p.definition.Decide(p.plan, at, now)
	change := store.ScheduleChange{Name: s.Name, Version: s.Version, After: decision.Position.After, Held: decision.Position.Held, InWords: s.InWords}
	change.NextTick, change.NextDue = next(p.plan, decision.Position.Next)
	for _, f := range decision.Fire {
		change.Runs = append(change.Runs, store.ScheduleRun{Schedule: s.Name, Tick: f.Tick, Due: f.Due, Since: f.Since, Ticks: f.Ticks})
	}
	for _, f := range decision.Pass {
		change.Runs = append(change.Runs, store.ScheduleRun{Schedule: s.Name, Tick: f.Last, Due: f.Due, Since: f.Since, Ticks: f.Ticks, Note: &f.Reason})
	}
	for i := range change.Runs {
		if run := &change.Runs[i]; run.Since.Equal(run.Due) {
			run.Since = time.Time{} // as nearly always; the row needs no more
		}
	}
	return change
}

// advance puts decisions into effect. One that the database refuses, because its job cannot be, is found by halving and
// becomes a problem of its schedule's alone.
func (l *leadership) advance(ctx context.Context, changes []store.ScheduleChange) (int, error) {
	if len(changes) == 0 {
		return 0, nil
	}
	moved, err := store.AdvanceSchedules(ctx, l.config.Pool, changes)
	if err == nil || !refused(err) {
		return moved, err
	}
	if len(changes) > 1 {
		half := len(changes) / 2
		first, err := l.advance(ctx, changes[:half])
		if err != nil {
			return first, err
		}
		second, err := l.advance(ctx, changes[half:])
		return first + second, err
	}
	l.config.Logger.WarnContext(ctx, "schedule cannot be fired", slog.String("schedule", changes[0].Name), slog.Any("error", err))
	problem := err.Error()
	change := changes[0]
	change.Problem, change.NextTick, change.NextDue, change.Held, change.Runs = &problem, nil, nil, false, nil
	return store.AdvanceSchedules(ctx, l.config.Pool, []store.ScheduleChange{change})
}

// refused says whether an error is about the data, and not about the database.
func refused(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (strings.HasPrefix(pgErr.Code, "22") || strings.HasPrefix(pgErr.Code, "23"))
}

// backfill enqueues the next ticks of backfills.
func (l *leadership) backfill(ctx context.Context, agenda *store.Agenda, _ time.Time) (bool, error) {
	if !agenda.Backfills {
		return false, nil
	}
	open, err := store.OpenBackfills(ctx, l.config.Pool, batch)
	if err != nil {
		return false, err
	}
	more := false
	for i := range open {
		b := &open[i]
		p := l.read(b.Schedule, b.Definition)
		if p.err != nil {
			continue // the schedule shows it as its problem
		}
		var runs []store.ScheduleRun
		upTo := b.After
		tick := p.plan.Next(upTo)
		ended := func() bool { return tick.IsZero() || tick.After(b.ToAt) }
		for room := int(b.AtOnce) - int(b.OpenRuns); room > 0 && !ended(); room-- {
			runs = append(runs, store.ScheduleRun{Schedule: b.Schedule, Tick: tick, Due: tick, Ticks: 1, Backfill: &b.ID})
			upTo, tick = tick, p.plan.Next(tick)
		}
		if len(runs) == 0 && !ended() {
			continue
		}
		moved, err := store.AdvanceBackfill(ctx, l.config.Pool, b.ID, b.After, upTo, ended(), runs)
		if err != nil {
			return more, fmt.Errorf("backfill schedule %q: %w", b.Schedule, err)
		}
		more = more || moved
	}
	return more, nil
}
