package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

// next lists the next runs of a schedule.
func (s *schedules) next(r *http.Request, name string) (any, error) {
	most, err := limit(r)
	if err != nil {
		return nil, err
	}
	found, err := store.FindSchedule(r.Context(), s.config.Database, name)
	if err != nil {
		return nil, err
	}
	runs, err := view.NextRunsOf(found, most)
	return runs, unreadable(err)
}

// unreadable is the answer for a schedule whose definition this program cannot read, such as one of a later version's.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return (&problem{status: http.StatusConflict, Error: err.Error(), Hint: "Define the schedule anew, or run a later version here."}).error()
}

// span is a backfill that was asked for.
type span struct {
	from, to time.Time
	atOnce   int
	dry      bool
}

const (
	// mostAtOnce is how many runs of a backfill may be unfinished at the same time, as SQL has it.
	mostAtOnce = 1000

	spanExample = `{"from": "2025-11-01T00:00:00+01:00", "to": "2025-11-25T12:00:00Z"}`
)

func readSpan(r *http.Request) (*span, error) {
	text, err := body(r, " such as "+spanExample)
	if err != nil {
		return nil, err
	}
	asked := struct {
		From   string `json:"from"`
		To     string `json:"to"`
		AtOnce int    `json:"at_once"`
		DryRun bool   `json:"dry_run"`
	}{AtOnce: 1}
	if err := decode(text, &asked); err != nil {
		return nil, badRequest("the backfill: %w; send one such as %s, with at_once, a whole number, or dry_run if you like", err, spanExample)
	}
	s := &span{atOnce: asked.AtOnce, dry: asked.DryRun}
	for _, moment := range []struct {
		name, text string
		to         *time.Time
	}{{"from", asked.From, &s.from}, {"to", asked.To, &s.to}} {
		if *moment.to, err = time.Parse(time.RFC3339, moment.text); err != nil {
			return nil, badRequest("%s %q: give a moment such as 2025-11-01T00:00:00+01:00", moment.name, moment.text)
		}
	}
	switch {
	case s.to.Before(s.from):
		err = badRequest("to %s is before from %s; give the earlier moment first", asked.To, asked.From)
	case s.atOnce < 1 || s.atOnce > mostAtOnce:
		err = badRequest("at_once %d: give a number from 1 to %d", s.atOnce, mostAtOnce)
	case s.dry && s.to.After(time.Now()): // else the database's clock decides
		err = badRequest("to %s is in the future; a backfill is for ticks that have passed", asked.To)
	}
	return s, err
}

// backfill has a schedule run for a span of the past.
func (s *schedules) backfill(r *http.Request, name string) (any, error) {
	asked, err := readSpan(r)
	if err != nil {
		return nil, err
	}
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		found, err := store.FindSchedule(ctx, tx, name)
		if err != nil {
			return nil, err
		}
		b, err := view.TicksOf(found, asked.from, asked.to)
		if err != nil {
			return nil, unreadable(err)
		}
		if b.Ticks == 0 {
			return nil, badRequest("schedule %q has no tick from %s to %s; GET /api/schedules/%s/next lists the next ones",
				name, asked.from.Format(time.RFC3339), asked.to.Format(time.RFC3339), url.PathEscape(name))
		}
		if b.DryRun = asked.dry; b.DryRun {
			return b, nil
		}
		id, err := store.BackfillSchedule(ctx, tx, name, asked.from, asked.to, asked.atOnce)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "22023" {
			pgErr.Message = strings.NewReplacer("from_at", "from", "to_at", "to").Replace(pgErr.Message)
		}
		b.Backfill = &id
		return b, err
	})
}

// backfills lists backfills, the newest first.
func (s *schedules) backfills(r *http.Request, _ string) (any, error) {
	most, err := limit(r)
	if err != nil {
		return nil, err
	}
	var before *int64
	if after := r.URL.Query().Get("after"); after != "" {
		id, err := backfillNumber(after)
		if err != nil {
			return nil, err
		}
		before = &id
	}
	found, err := store.ListBackfills(r.Context(), s.config.Database, before, most+1)
	if err != nil {
		return nil, err
	}
	page := view.BackfillPage{Backfills: []view.Backfill{}}
	if len(found) > most {
		found = found[:most]
		last := strconv.FormatInt(found[most-1].ID, 10)
		page.Next = &last
	}
	for i := range found {
		page.Backfills = append(page.Backfills, view.OfBackfill(&found[i]))
	}
	return page, nil
}

func (s *schedules) endBackfill(r *http.Request, number string) (any, error) {
	id, err := backfillNumber(number)
	if err != nil {
		return nil, err
	}
	return s.change(r, func(ctx context.Context, tx pgx.Tx) (any, error) {
		name, changed, err := store.CancelBackfill(ctx, tx, id)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "P0002" {
			pgErr.Hint = "GET /api/backfills lists those that do."
		}
		return view.BackfillEnd{Backfill: id, Schedule: name, Changed: changed}, err
	})
}

func backfillNumber(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, badRequest("backfill %q: give its number, as GET /api/backfills lists it", text)
	}
	return id, nil
}
