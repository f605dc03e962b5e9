// Package ticker fires schedules. It runs on the leader, does what towpath.schedule says is due, and sleeps until the
// next moment that matters.
//
// # Contract
//
//   - A tick is fired once, however many leaders there are and whenever one of them dies: a decision about a schedule and
//     the jobs that follow from it are one transaction, which takes effect only if the schedule is as the decision saw it.
//   - Decisions are internal/schedule's, at the database's clock. A clock that goes back repeats nothing; one that jumps
//     ahead finds ticks that nobody fired, and the schedule's policy for those.
//   - What became of the jobs is read off the jobs, so it is exact whoever died; the leader writes it down before their
//     history is over, and the status that follows from it.
//   - It costs what there is to do: one statement to look, every twenty seconds while nothing is due. Where nobody can tell
//     it of changes it looks every second.
//
// A schedule that this program cannot read, for want of its time zone for example, gets a problem that its view shows,
// and keeps no other from firing.
package ticker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/store"
)

const (
	batch = 1000 // schedules in one statement

	dueBatch  = 4000 // due schedules that are decided upon together,
	laneBatch = 500  // how many of those one transaction fires,
	lanes     = 4    // and how many such transactions there are at a time

	idlePause   = 20 * time.Second       // between looks when nothing is due and the leader is told of changes
	pollPause   = time.Second            // and when it is not
	hearPause   = 5 * time.Second        // before it listens again when that has failed
	notePause   = 500 * time.Millisecond // between looks at unfinished runs
	noteShare   = 20                     // but so many times what a look takes
	heldPause   = 100 * time.Millisecond // before what somebody else holds is tried again
	failedPause = time.Second            // after an error
	prunePause  = time.Hour
)

// Config is what a ticker needs.
type Config struct {
	Pool   *pgxpool.Pool
	Logger *slog.Logger
	Listen bool // be told of changes by LISTEN, on a connection of its own
	// Agenda is shared with the leader's other services. Nil: one of its own.
	Agenda *agenda.Book
	// Clock is the time that decides what is due. Nil: the database's.
	Clock func(ctx context.Context) (time.Time, error)
}

// Ticker fires schedules while its process leads.
type Ticker struct {
	config Config
	wake   chan struct{}
}

// New returns a ticker.
func New(config Config) *Ticker {
	if config.Agenda == nil {
		config.Agenda = agenda.NewBook(config.Pool)
	}
	return &Ticker{config: config, wake: make(chan struct{}, 1)}
}

// leadership is what one leader knows.
type leadership struct {
	*Ticker
	plans map[string]planned

	refreshed bool      // whether all next ticks have been computed anew
	fresh     bool      // whether this step has looked at the runs
	noteDue   bool      // whether there may be news of them that it has not looked for
	noteNext  time.Time // by this process's clock, as pruneNext
	pruneNext time.Time
}

// Lead fires schedules until ctx ends. Errors of the database are logged, and what failed is tried again.
func (t *Ticker) Lead(ctx context.Context) {
	if t.config.Listen {
		go t.hear(ctx)
	}
	l := t.lead()
	failing := false
	for ctx.Err() == nil {
		wait, err := l.step(ctx)
		if err != nil {
			if !failing && ctx.Err() == nil {
				t.config.Logger.WarnContext(ctx, "fire schedules", slog.Any("error", err))
			}
			wait = failedPause
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-t.wake:
		case <-time.After(wait):
		}
	}
}

func (t *Ticker) lead() *leadership {
	return &leadership{Ticker: t, plans: make(map[string]planned), pruneNext: time.Now().Add(time.Minute)}
}

// step does everything that is to do now, and returns how long there will be nothing, as far as is known.
func (l *leadership) step(ctx context.Context) (time.Duration, error) {
	l.fresh = false
	for {
		page, err := l.config.Agenda.After(ctx, time.Now())
		if err != nil {
			return 0, err
		}
		agenda, now := &page.Agenda, page.Clock
		if l.config.Clock != nil {
			if now, err = l.config.Clock(ctx); err != nil {
				return 0, err
			}
		}
		more := false
		for _, chore := range []func(context.Context, *store.Agenda, time.Time) (bool, error){
			l.refresh, l.settle, l.fire, l.note, l.watch, l.backfill, l.prune,
		} {
			did, err := chore(ctx, agenda, now)
			if err != nil {
				return 0, err
			}
			more = more || did
		}
		if !more {
			return l.rest(agenda, now), nil
		}
	}
}

// rest is how long to sleep.
func (l *leadership) rest(agenda *store.Agenda, now time.Time) time.Duration {
	rest := pollPause
	if l.config.Listen {
		rest = idlePause
	}
	turns := agenda.StatusDue
	if l.noteDue {
		turns = nil
	}
	for _, at := range []*time.Time{agenda.NextDue, turns} {
		if at == nil {
			continue
		}
		wait := at.Sub(now)
		if wait <= 0 { // what is due could not be moved: a transaction that goes on has changed it
			wait = heldPause
		}
		rest = min(rest, wait)
	}
	if agenda.OpenRuns {
		rest = min(rest, time.Until(l.noteNext))
	}
	return max(rest, time.Millisecond)
}

// note writes down what became of the jobs, now and then, since it looks at all that are open. Until then statuses wait.
func (l *leadership) note(ctx context.Context, agenda *store.Agenda, _ time.Time) (bool, error) {
	begun := time.Now()
	if !agenda.OpenRuns || begun.Before(l.noteNext) {
		l.noteDue = agenda.OpenRuns && !l.fresh
		return false, nil
	}
	l.noteDue, l.fresh = false, true
	noted, err := store.NoteScheduleRuns(ctx, l.config.Pool)
	l.noteNext = time.Now().Add(max(notePause, noteShare*time.Since(begun)))
	return noted > 0, err
}

// prune deletes what is no longer kept, now and then.
func (l *leadership) prune(ctx context.Context, _ *store.Agenda, _ time.Time) (bool, error) {
	if time.Now().Before(l.pruneNext) {
		return false, nil
	}
	l.pruneNext = time.Now().Add(prunePause)
	for {
		gone, err := store.PruneSchedules(ctx, l.config.Pool)
		if gone == 0 || err != nil {
			return false, err
		}
	}
}

// hear wakes the ticker when somebody changes a schedule.
func (t *Ticker) hear(ctx context.Context) {
	for ctx.Err() == nil {
		err := t.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		t.config.Logger.DebugContext(ctx, "listen for changes of schedules", slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(hearPause):
		}
	}
}

func (t *Ticker) listen(ctx context.Context) error {
	acquired, err := t.config.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	conn := acquired.Hijack() // it would be in the way of a small pool
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	for {
		t.Nudge() // for what came before
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return errors.Join(errors.New("wait for a notification"), err)
		}
	}
}

// channel is what the functions of the schema notify.
const channel = "towpath.schedule"

// Nudge makes the ticker look.
func (t *Ticker) Nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
