package checkin

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/store"
)

const (
	// watchEvery is how often the leader looks when nothing is due: what was put, paused or resumed waits for that.
	watchEvery = agenda.Idle
	// tidyEvery is how often pings and events that are over are deleted, tidyBatch how many at a time.
	tidyEvery = 10 * time.Minute
	tidyBatch = 5000
	// eventRetention is how long changes of status are kept.
	eventRetention = 366 * 24 * time.Hour

	turnBatch = 100
	// heldPause is how soon it looks again at checks that somebody else is turning.
	heldPause = 100 * time.Millisecond
)

// Watcher notes what time changes about checks. Its Lead runs on the leader alone; two at once share the work, since
// each locks the rows that it turns and passes over those of the other.
type Watcher struct {
	Pool      *pgxpool.Pool
	Retention time.Duration // of pings
	Logger    *slog.Logger
	Agenda    *agenda.Book // shared with the leader's other services
}

// Lead runs until ctx ends.
func (w *Watcher) Lead(ctx context.Context) {
	failing := false
	var tidied time.Time
	reader := w.Agenda.Reader()
	for {
		next, err := w.turn(ctx, reader)
		if err == nil && time.Since(tidied) > tidyEvery {
			tidied = time.Now()
			err = w.tidy(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			w.Logger.WarnContext(ctx, "look after checks", slog.Any("error", err))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// Turn settles the checks whose time has come and returns how long the next one has.
func (w *Watcher) Turn(ctx context.Context) (time.Duration, error) {
	return w.turn(ctx, w.Agenda.Reader())
}

// turn is Turn for a reader of the agenda. It looks before it locks: as a rule there is nothing to turn.
func (w *Watcher) turn(ctx context.Context, reader *agenda.Reader) (time.Duration, error) {
	for {
		page, err := reader.Next(ctx)
		if err != nil {
			return watchEvery, err
		}
		next := page.Rest(page.CheckDue, watchEvery)
		if page.CheckDue == nil || next > 0 {
			return max(next, heldPause), nil
		}
		switch turned, err := w.turnBatch(ctx); {
		case err != nil:
			return watchEvery, err
		case turned == 0: // somebody else holds them
			return heldPause, nil
		}
		reader.Forget()
	}
}

// turnBatch settles some of the checks whose time has come and returns how many those were.
func (w *Watcher) turnBatch(ctx context.Context) (turned int, err error) {
	err = pgx.BeginFunc(ctx, w.Pool, func(tx pgx.Tx) error {
		due, now, err := store.LockTurningHeartbeats(ctx, tx, turnBatch)
		if err != nil {
			return err
		}
		for _, h := range due {
			plan(h)
			events := settle(h, h.StatusSince, now)
			if err := save(ctx, tx, h, events); err != nil {
				return err
			}
		}
		turned = len(due)
		return nil
	})
	return turned, err
}

// tidy deletes what is over, batch by batch.
func (w *Watcher) tidy(ctx context.Context) error {
	for {
		n, err := store.DeleteOldHeartbeatRows(ctx, w.Pool, w.Retention, eventRetention, tidyBatch)
		if err != nil || n == 0 {
			return err
		}
	}
}
