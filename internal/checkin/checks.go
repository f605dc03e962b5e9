// Package checkin is a dead-man's switch for what Towpath does not run: jobs of other systems tell it when they start, end
// and fail, and their checks say whether all is in order.
//
// # Contract
//
//   - A ping is start, success, fail or log, or an exit status: 0 is success. Runs that overlap are told apart by a run
//     id. A run whose start was told is expected to be followed by the next one a period after its start, or at the next
//     moment that the cron expression names; a run that only tells its end, after its end.
//   - The status is one of schedule's words, and "new" before the first run is told. A change of it is one row of
//     towpath.heartbeat_event: pings write theirs in their own transaction, together with what time had changed before
//     them; what time alone changes is written by the leader (Watch).
//   - Times are the database's. A clock that jumps back changes no status by itself; a ping does, as always. One that
//     jumps ahead makes a check late or missed once, as the time that has passed would have.
//   - A log ping is kept and changes nothing. A paused check keeps its pings and stays paused.
//
// Ping takes one; NewHandler does so over HTTP, and HTTP and Database are the two ways for `towpath exec`.
package checkin

import (
	"time"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
)

// New is the status of a check that was told of no run yet. The other ones are schedule's.
const New schedule.Status = "new"

// Kinds of pings.
const (
	Success = "success"
	Start   = "start"
	Fail    = "fail"
	Log     = "log"
)

const (
	// maxRunning bounds the runs whose end is awaited.
	maxRunning = 100
	// givenUp is when a run whose end never came is forgotten at the next success, unless a longest duration says so.
	givenUp = 24 * time.Hour
	// earliness is how much before its moment a run may begin and still be the one that was expected then; at most a
	// tenth of the way to the next.
	earliness = 30 * time.Second
)

// A Ping is what a job tells about one of its runs.
type Ping struct {
	Kind       string
	ExitStatus *int   // of success and fail
	RunID      string // "": the job's runs do not overlap
	Source     string // where it came from
	Body       string
	BodyBytes  int64 // how long the body was before it was cut
}

// Event is a change of status.
type Event struct {
	At          time.Time
	Status, Was schedule.Status
}

// take enters a ping, at a moment, into what is kept of its check. It returns how long the run took that it ends.
func take(h *store.Heartbeat, p Ping, now time.Time) *time.Duration {
	h.Pings++
	h.LastPingAt = &now
	switch p.Kind {
	case Start:
		h.LastStartAt = &now
		h.Running[p.RunID] = now
		for len(h.Running) > maxRunning {
			delete(h.Running, oldest(h.Running))
		}
		sign(h, now)
	case Success, Fail:
		return end(h, p, now)
	}
	setRunningSince(h)
	return nil
}

// end enters the end of a run.
func end(h *store.Heartbeat, p Ping, now time.Time) *time.Duration {
	began, told := h.Running[p.RunID]
	delete(h.Running, p.RunID)
	if p.ExitStatus != nil {
		status := int16(*p.ExitStatus) //nolint:gosec // 0 to 255
		h.LastExitStatus = &status
	}
	var took *time.Duration
	if told {
		length := max(now.Sub(began), 0)
		took, h.LastDuration = &length, &length
	} else {
		began = now
	}
	if p.Kind == Success {
		h.LastSuccessAt = &now
		giveUp(h, began, now)
	} else {
		h.LastFailureAt = &now
	}
	sign(h, began)
	// A run that took until after the next one was expected stands for that as well.
	if h.ExpectedBy != nil && !h.ExpectedBy.After(now) {
		sign(h, now)
	}
	setRunningSince(h)
	return took
}

// giveUp forgets earlier runs that must have died: nobody will tell their end.
func giveUp(h *store.Heartbeat, before, now time.Time) {
	limit := givenUp
	if h.Longest != nil {
		limit = *h.Longest
	}
	for id, began := range h.Running {
		if began.Before(before) && now.Sub(began) >= limit {
			delete(h.Running, id)
		}
	}
}

func oldest(running map[string]time.Time) (id string) {
	for other, began := range running {
		if at, some := running[id]; !some || began.Before(at) {
			id = other
		}
	}
	return id
}

func setRunningSince(h *store.Heartbeat) {
	h.RunningSince = nil
	if len(h.Running) > 0 {
		at := h.Running[oldest(h.Running)]
		h.RunningSince = &at
	}
}

// sign notes that a run began, and plans the next.
func sign(h *store.Heartbeat, at time.Time) {
	if h.LastSignAt == nil || at.After(*h.LastSignAt) {
		h.LastSignAt = &at
	}
	plan(h)
}

// plan works out by when the next run is expected.
func plan(h *store.Heartbeat) {
	h.ExpectedBy, h.Problem = nil, nil
	if h.LastSignAt == nil {
		return
	}
	base := *h.LastSignAt
	if h.WatchedSince.After(base) {
		base = h.WatchedSince
	}
	var at time.Time
	if h.Period != nil {
		at = base.Add(*h.Period)
	} else {
		expression, err := schedule.Parse(*h.Cron, h.Zone)
		if err != nil {
			problem := err.Error()
			h.Problem = &problem
			return
		}
		at = expression.Next(base.Add(min(earliness, expression.Shortest()/10)))
	}
	if !at.IsZero() {
		h.ExpectedBy = &at
	}
}

func facts(h *store.Heartbeat) schedule.Facts {
	f := schedule.Facts{Since: h.WatchedSince, Grace: h.Grace}
	for _, moment := range []struct {
		to   *time.Time
		from *time.Time
	}{
		{&f.PausedAt, h.PausedAt},
		{&f.Overdue, h.ExpectedBy},
		{&f.LastSuccess, h.LastSuccessAt},
		{&f.LastFailure, h.LastFailureAt},
		{&f.RunningSince, h.RunningSince},
	} {
		if moment.from != nil {
			*moment.to = *moment.from
		}
	}
	if h.Longest != nil {
		f.Longest = *h.Longest
	}
	return f
}

// settle brings the noted status from one moment up to another and returns its changes on the way. It notes when it has
// to be called next if nothing comes.
func settle(h *store.Heartbeat, from, now time.Time) []Event {
	var events []Event
	f := facts(h)
	for moment := from; ; {
		status, since, until := f.Status(moment)
		if status == schedule.OK || h.LastSignAt == nil && status != schedule.Paused {
			if status, since = schedule.OK, moment; h.LastSignAt == nil {
				status = New
			}
			// What was put, paused or resumed since then is what has changed it.
			if h.UpdatedAt.After(since) {
				since = h.UpdatedAt
			}
		}
		if was := schedule.Status(h.Status); status != was {
			events = append(events, Event{At: since, Status: status, Was: was})
			h.Status, h.StatusSince = string(status), since
		}
		h.TurnsAt = nil
		if until.IsZero() {
			return events
		}
		h.TurnsAt = &until
		if until.After(now) || !until.After(moment) {
			return events
		}
		moment = until
	}
}
