package pilot

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// A process that was away and declared dead may go on working jobs that others are working by now. It cannot finish
// them, but their handlers should not go on either. River cancels a job's context when it is notified of a cancellation,
// which our listener does inside the process: the server's notification would reach whoever works the job now. And River
// asks the executor from time to time which of its running jobs are to be cancelled, and is told of these as well.

// controlTopic is River's name of the notifications that control clients.
const controlTopic = "river_control"

// overStatement tells which attempts are over: their job waits again, or is another's, or is gone. A row that still
// carries the token is the attempt's own while it runs, and after a finish of its own. Locks nothing.
const overStatement statement = `
SELECT t.id FROM unnest($1::bigint[], $2::timestamptz[]) AS t (id, token)
WHERE NOT EXISTS (SELECT FROM SCHEMA.river_job j
		WHERE j.id = t.id AND j.attempted_at = t.token AND (j.state::text = 'running' OR j.finalized_at IS NOT NULL))
	AND NOT EXISTS (SELECT FROM SCHEMA.job_history h WHERE h.id = t.id AND h.attempted_at = t.token)`

// revoke marks the held attempts that were fetched before our epoch began and that are no longer ours. One that still
// is may end as ever: to cancel it would make the cancellation its end.
func (f *fleet) revoke(ctx context.Context, x *Executor, schema string, since time.Time) error {
	ids, tokens := f.pilot.held.before(since)
	if len(ids) == 0 {
		return nil
	}
	rows, err := x.db.Query(ctx, overStatement.in(schema), x.storage.unnamed(ids, tokens)...)
	if err != nil {
		return fmt.Errorf("look for attempts that are over: %w", riverError(err))
	}
	over, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("look for attempts that are over: %w", riverError(err))
	}
	if len(over) > 0 {
		for id, queue := range f.pilot.held.revoke(over) {
			if x.storage.revoked(id) {
				x.storage.tell(schema, riverdriver.Notification{
					Topic: controlTopic, Payload: fmt.Sprintf(`{"action": "cancel", "job_id": %d, "queue": %q}`, id, queue),
				})
			}
		}
		f.Logger.WarnContext(ctx, "attempts of ours were given to others", slog.Int("jobs", len(over)))
	}
	return nil
}

// before returns the attempts whose handlers are at work and that were fetched before since, without those that are
// revoked already.
func (h *held) before(since time.Time) (ids []int64, tokens []time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, c := range h.jobs {
		if c.token.Before(since) && !c.slotFreed && !c.revoked {
			ids, tokens = append(ids, id), append(tokens, c.token)
		}
	}
	return ids, tokens
}

// revoke marks attempts as over and returns the queues of their jobs.
func (h *held) revoke(ids []int64) map[int64]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	queues := make(map[int64]string, len(ids))
	for _, id := range ids {
		if c, ok := h.jobs[id]; ok {
			c.revoked = true
			queues[id] = c.row.Queue
		}
	}
	return queues
}

// revoked reports whether a client of this driver holds an attempt of the job that is over. Where another client holds
// one that is not, the answer is no: River asks by id alone.
func (s *Storage) revoked(id int64) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, h := range s.helds {
		h.mu.Lock()
		c, ok := h.jobs[id]
		valid := ok && !c.revoked
		h.mu.Unlock()
		if valid {
			return false
		}
		found = found || ok
	}
	return found
}

// JobGetCancelRequested tells River which of its running jobs to cancel: those that somebody asked for, and those whose
// attempt is over.
func (x *Executor) JobGetCancelRequested(ctx context.Context, params *riverdriver.JobGetCancelRequestedParams) ([]int64, error) {
	ids, err := x.Executor.JobGetCancelRequested(ctx, params)
	if err != nil {
		return nil, err
	}
	for _, id := range params.ID {
		if x.storage.revoked(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}
