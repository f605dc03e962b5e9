package workers

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/towpath/towpath/internal/store"
)

// softShare is the soft limit's part of the hard one.
const softShare = 0.8

// SoftLimit returns a channel that is closed when the attempt passes its soft time limit, to save what is done and to
// return an error or river.JobSnooze before the hard limit cancels the context. It never closes when there is no limit;
// outside a job it is nil.
func SoftLimit(ctx context.Context) <-chan struct{} {
	if a := attemptOf(ctx); a != nil {
		return a.soft.channel()
	}
	return nil
}

// softLimit is the soft time limit of one attempt.
type softLimit struct {
	at    atomic.Int64 // nanoseconds since the clock began; 0 where there is none, or no longer
	limit time.Duration

	mu     sync.Mutex
	passed bool
	told   chan struct{} // closed at the limit; made for who asks
}

func (s *softLimit) channel() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = make(chan struct{})
		if s.passed {
			close(s.told)
		}
	}
	return s.told
}

func (s *softLimit) pass() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.passed = true
	if s.told != nil {
		close(s.told)
	}
}

// softClock watches over the soft limits of all attempts with one timer, set to the first of them: attempts begin by the
// thousand and hardly one of them comes to its limit.
type softClock struct {
	begun time.Time
	timer *time.Timer
	next  atomic.Int64 // what the timer is set to; 0 while it is not, or is being set
}

// watchSoftLimit has the attempt told when it passes its soft limit.
func (a *attempt) watchSoftLimit(ctx context.Context) {
	now := time.Now()
	limit := a.settings.softLimit
	deadline, limited := ctx.Deadline()
	switch {
	case limit == 0 && limited:
		limit = time.Duration(float64(deadline.Sub(now)) * softShare)
	case limit == 0, limited && limit >= deadline.Sub(now): // there is none, or it is never reached
		return
	}
	clock := &a.runtime.softClock
	at := max(int64(now.Add(limit).Sub(clock.begun)), 1)
	a.soft.limit = limit
	a.soft.at.Store(at)
	// Whoever sets the timer takes its time away first and looks at the attempts after that. So a time that is still there
	// means that it will look at this one.
	if next := clock.next.Load(); next == 0 || next > at {
		a.runtime.setSoftClock()
	}
}

// setSoftClock tells the attempts that have passed their limits and sets the timer to the next one.
func (rt *runtime) setSoftClock() {
	clock := &rt.softClock
	var passed []*attempt
	rt.mu.Lock()
	clock.next.Store(0)
	now, next := int64(time.Since(clock.begun)), int64(0)
	for a := rt.first; a != nil; a = a.next {
		switch at := a.soft.at.Load(); {
		case at == 0:
		case at <= now:
			if a.soft.at.CompareAndSwap(at, 0) {
				passed = append(passed, a)
			}
		case next == 0 || at < next:
			next = at
		}
	}
	if next != 0 {
		clock.timer.Reset(time.Duration(next - now))
		clock.next.Store(next)
	}
	rt.mu.Unlock()
	for _, a := range passed {
		a.passSoftLimit()
	}
}

func (a *attempt) passSoftLimit() {
	if a.Err() != nil {
		return
	}
	a.note(store.JobEvent{
		Event: store.EventSoftLimit, Level: slog.LevelWarn.String(),
		Message: fmt.Sprintf("soft time limit of %s passed", a.soft.limit.Round(time.Millisecond)),
	})
	a.runtime.logger.LogAttrs(a, slog.LevelWarn, "job passed its soft time limit",
		append(a.identity(), slog.Duration("soft_limit", a.soft.limit))...)
	a.soft.pass() // last: the handler may return at once, and what it noted be read
}
