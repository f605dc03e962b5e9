package view

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
)

// MostListed is how many ticks of a schedule are listed at once.
const MostListed = 1000

// NextRuns are the next runs of a schedule.
type NextRuns struct {
	Name   string      `json:"name" about:"the schedule"`
	Paused bool        `json:"paused" about:"whether it is paused, and so has no next run"`
	Runs   []time.Time `json:"runs" about:"the next runs, in the schedule's zone"`
}

// Backfilled is what was asked of a schedule for a span of the past.
type Backfilled struct {
	Name     string      `json:"name" about:"the schedule"`
	Ticks    int         `json:"ticks" about:"how many ticks the span has; they are counted up to 100000"`
	More     bool        `json:"more" about:"whether it has more than that"`
	Backfill *int64      `json:"backfill" about:"the number of the backfill; null for a dry run"`
	Runs     []time.Time `json:"runs" about:"the first thousand ticks, in the schedule's zone"`
	DryRun   bool        `json:"dry_run" about:"whether nothing was enqueued"`
}

// BackfillPage is a page of backfills.
type BackfillPage struct {
	Backfills []Backfill `json:"backfills" about:"the newest first"`
	Next      *string    `json:"next" about:"what --after needs for the next page; null on the last one"`
}

// Backfill is a span of the past that a schedule runs for.
type Backfill struct {
	ID        int64      `json:"id" about:"its number, which cancel-backfill takes"`
	Schedule  string     `json:"schedule" about:"the schedule"`
	From      time.Time  `json:"from" about:"the first moment that counts"`
	To        time.Time  `json:"to" about:"the last moment that counts"`
	AtOnce    int32      `json:"at_once" about:"how many of its runs may be unfinished at the same time"`
	Fired     int32      `json:"fired" about:"how many of its ticks are enqueued"`
	OpenRuns  int64      `json:"open_runs" about:"how many of those runs have not ended"`
	CreatedAt time.Time  `json:"created_at" about:"when it was asked for"`
	CreatedBy string     `json:"created_by" about:"by whom"`
	EndedAt   *time.Time `json:"ended_at" about:"when its last tick was enqueued, or it was cancelled; null while it goes on"`
	Cancelled bool       `json:"cancelled" about:"whether it was cancelled"`
}

// BackfillEnd is a backfill that was to be ended.
type BackfillEnd struct {
	Backfill int64  `json:"backfill" about:"its number"`
	Schedule string `json:"schedule" about:"the schedule"`
	Changed  bool   `json:"changed" about:"false if it had ended already"`
}

// Definition is the definition of a schedule that holds.
func Definition(s *store.ScheduleView) (*schedule.Definition, error) {
	holds := s.Edited
	if holds == nil {
		holds = s.Code
	}
	d := &schedule.Definition{}
	if err := json.Unmarshal(holds, d); err != nil {
		return nil, fmt.Errorf("read the definition of schedule %q: %w", s.Name, err)
	}
	return d, nil
}

func planOf(s *store.ScheduleView) (*schedule.Plan, error) {
	d, err := Definition(s)
	if err != nil {
		return nil, err
	}
	plan, err := d.Plan(s.Name)
	if err != nil {
		return nil, fmt.Errorf("read schedule %q: %w", s.Name, err)
	}
	return plan, nil
}

// NextRunsOf lists the next n runs: from the one that the leader waits for, or from now where none is known.
func NextRunsOf(s *store.ScheduleView, n int) (NextRuns, error) {
	next := NextRuns{Name: s.Name, Paused: s.PausedAt != nil, Runs: []time.Time{}}
	plan, err := planOf(s)
	if err != nil || next.Paused {
		return next, err
	}
	tick := plan.Next(time.Now())
	if s.NextRun != nil {
		tick = *s.NextRun
	}
	for ; !tick.IsZero() && len(next.Runs) < n; tick = plan.Next(tick) {
		next.Runs = append(next.Runs, tick.In(plan.Zone()))
	}
	return next, nil
}

// TicksOf counts the ticks of a schedule from one moment to another, both included, and lists the first ones. To count those
// of a long mistake would take minutes.
func TicksOf(s *store.ScheduleView, from, to time.Time) (Backfilled, error) {
	b := Backfilled{Name: s.Name, Runs: []time.Time{}}
	plan, err := planOf(s)
	if err != nil {
		return b, err
	}
	for tick := plan.Next(from.Add(-time.Nanosecond)); !tick.IsZero() && !tick.After(to); tick = plan.Next(tick) {
		if b.Ticks == schedule.MostCounted {
			b.More = true
			break
		}
		if b.Ticks++; b.Ticks <= MostListed {
			b.Runs = append(b.Runs, tick.In(plan.Zone()))
		}
	}
	return b, nil
}

// OfBackfill shows a backfill.
func OfBackfill(b *store.ListBackfillsRow) Backfill {
	return Backfill{
		ID: b.ID, Schedule: b.Schedule, From: b.FromAt, To: b.ToAt, AtOnce: b.AtOnce, Fired: b.Fired, OpenRuns: b.OpenRuns,
		CreatedAt: b.CreatedAt, CreatedBy: b.CreatedBy, EndedAt: b.EndedAt, Cancelled: b.Cancelled,
	}
}
