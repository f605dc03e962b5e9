package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/towpath/towpath/internal/store"
)

const (
	// leaderEvery is how often a process that waits for a leader looks for one.
	leaderEvery = 5 * time.Second
	// leaderRest is how often the leader itself does.
	leaderRest = 15 * time.Second
	// leaderPatience is how long there may be none: a change of leaders takes up to 15 seconds.
	leaderPatience = 20 * time.Second
)

// watchLeader says in the log who leads, where that matters: schedulers say that they stand by and for whom, and workers
// that may not lead say that nobody does. Readiness shows the same.
func (a *App) watchLeader(ctx context.Context) error {
	if a.runner == nil || (!a.has(Scheduler) && bool(a.cfg.Lead)) {
		return nil
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := leaderWatch{app: a, since: time.Now()}
		ticker := time.NewTicker(leaderEvery)
		defer ticker.Stop()
		for {
			w.look(ctx)
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	a.onStop(func() error {
		cancel()
		<-done
		return nil
	})
	return nil
}

// leaderWatch is what a process has seen of the leadership.
type leaderWatch struct {
	app   *App
	known string    // the leader that was told last; "" when nobody led
	since time.Time // when somebody led last, or the watch began
}

func (w *leaderWatch) look(ctx context.Context) {
	if w.known == w.app.runner.Client().ID() && time.Since(w.since) < leaderRest {
		return
	}
	leader, there, err := store.FindLeader(ctx, w.app.pool)
	if err != nil {
		return // readiness says that the database is away
	}
	logger, leaderless := w.app.logger, &w.app.state.leaderless
	if !there {
		if time.Since(w.since) > leaderPatience && !leaderless.Swap(true) {
			w.known = ""
			logger.WarnContext(ctx, "there is no leader: due, periodic and retried jobs wait",
				slog.String("remedy", "start a scheduler, or set TOWPATH_LEAD=on for a worker"))
		}
		return
	}
	w.since = time.Now()
	regained := leaderless.Swap(false)
	if leader.ID == w.known {
		return
	}
	w.known = leader.ID
	switch {
	case leader.ID == w.app.runner.Client().ID():
		logger.InfoContext(ctx, "this process leads")
	case w.app.has(Scheduler):
		logger.InfoContext(ctx, "standing by: another process leads", slog.String("leader", leader.ID),
			slog.String("host", leader.Host), slog.Int("pid", leader.PID), slog.String("roles", strings.Join(leader.Roles, ",")))
	case regained:
		logger.InfoContext(ctx, "there is a leader again", slog.String("leader", leader.ID))
	}
}

// checkLeader is readiness's view of the same.
func (a *App) checkLeader(context.Context) error {
	if a.state.leaderless.Load() {
		return errors.New("there is no leader; start a scheduler, or set TOWPATH_LEAD=on for a worker")
	}
	return nil
}

const (
	// twinPatience is longer than the time between two beats of a process.
	twinPatience = 6 * time.Second

	// claimLasts is longer than a process takes from its claim to its first sign of life.
	claimLasts = 10 * time.Second
)

// claimID refuses to start under a TOWPATH_CLIENT_ID under which another process is at work: each would take the other's
// jobs for its own. One that has just ended without saying so left a row behind; it gives no more signs of life. Of two
// that start at the same moment one gets the lease of the id, and the other sees it come to life.
func (a *App) claimID(ctx context.Context) error {
	id := a.cfg.ClientID
	if id == "" || !(a.has(Worker) || a.has(Scheduler)) {
		return nil
	}
	claim := rand.Text()
	ticker := time.NewTicker(twinPatience / 20)
	defer ticker.Stop()
	before, wasAlive, err := store.LastSign(ctx, a.pool, id)
	if err != nil {
		return err
	}
	if wasAlive {
		a.logger.InfoContext(ctx, "another process had this client id a moment ago; waiting for a sign of life of it",
			slog.String("client_id", id), slog.String("host", before.Host), slog.Int("pid", before.PID))
	}
	begun := time.Now()
	for alive := wasAlive; ; {
		if !alive || time.Since(begun) > twinPatience {
			if claimed, err := store.TakeLease(ctx, a.pool, "client id "+id, claim, claimLasts); err != nil || claimed {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		var now store.Sign
		if now, alive, err = store.LastSign(ctx, a.pool, id); err != nil {
			return err
		}
		if alive && (!wasAlive || now.Epoch != before.Epoch || now.Beat != before.Beat) {
			return fmt.Errorf("TOWPATH_CLIENT_ID=%q: a process of this id is at work on host %q, pid %d; give each process an id of its own, or none",
				id, now.Host, now.PID)
		}
	}
}
