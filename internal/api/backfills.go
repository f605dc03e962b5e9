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
	return view.NextRunsOf(found, most)
}

// span is a backfill as it is asked for.
type span struct {
	From   *time.Time `json:"from"`
	To     *time.Time `json:"to"`
	AtOnce *int       `json:"at_once"`
	DryRun bool       `json:"dry_run"`
}

// mostAtOnce is how many runs of a backfill may be unfinished at the same time, as SQL has it.
const mostAtOnce = 1000

func readSpan(r *http.Request) (*span, error) {
	text, err := body(r, true)
	if err != nil {
		return nil, err
	}
	asked, once := &span{}, 1
	if err := decode(text, asked); err != nil {
		return nil, badRequest("the backfill: %w; it has from and to, moments such as 2025-11-01T00:00:00+01:00, and perhaps at_once, a number, and dry_run", err)
	}
	if asked.AtOnce == nil {
		asked.AtOnce = &once
	}
	switch {
	case asked.From == nil || asked.To == nil:
		err = badRequest("from and to are missing; give both, moments such as 2025-11-01T00:00:00+01:00")
	case asked.To.Before(*asked.From):
		err = badRequest("to %s is before from %s; give the earlier moment first", asked.To.Format(time.RFC3339), asked.From.Format(time.RFC3339))
	case *asked.AtOnce < 1 || *asked.AtOnce > mostAtOnce:
		err = badRequest("at_once %d: give a number from 1 to %d", *asked.AtOnce, mostAtOnce)
	case asked.DryRun && asked.To.After(time.Now()): // else the database's clock decides
		err = badRequest("to %s is in the future; a backfill is for ticks that have passed", asked.To.Format(time.RFC3339))
	}
	return asked, err
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
		b, err := view.TicksOf(found, *asked.From, *asked.To)
		if err != nil {
			return nil, err
		}
		if b.Ticks == 0 {
			return nil, badRequest("schedule %q has no tick from %s to %s; GET /api/schedules/%s/next lists the next ones",
				name, asked.From.Format(time.RFC3339), asked.To.Format(time.RFC3339), url.PathEscape(name))
		}
		if b.DryRun = asked.DryRun; b.DryRun {
			return b, nil
		}
		id, err := store.BackfillSchedule(ctx, tx, name, *asked.From, *asked.To, *asked.AtOnce)
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
