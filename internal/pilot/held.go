package pilot

import (
	"sync"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// held remembers the jobs that this client has fetched and not yet done with. River hands an id to a finish and no
// attempt, so the fetch that the finish belongs to has to be known here: the token is the attempted_at that the fetch
// wrote. The attempt's number would not do, since a job that is handed back comes again with the same one.
type held struct {
	mu   sync.Mutex
	jobs map[int64]*claim
}

// claim is one fetched job. It is let go once its slot is free and its finish is written, in whichever order.
type claim struct {
	token     time.Time
	begun     time.Time        // by this process's clock
	row       rivertype.JobRow // as the fetch brought it: hooks may change the one that River works
	slotFreed bool
	finished  bool
	over      bool // ended by EndAttempt while the handler goes on
	revoked   bool // given to others while the handler goes on
	inTx      bool // ended by a transaction of the handler's, if that was committed
	written   *rivertype.JobRow
}

func newHeld() *held { return &held{jobs: make(map[int64]*claim)} }

// add takes a fetched job. It returns false, and takes nothing, when the client already holds the id: River keys its
// running set and its completer by id, so a client must not work one id twice at once.
func (h *held) add(row *rivertype.JobRow) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.jobs[row.ID]; ok {
		return false
	}
	h.jobs[row.ID] = &claim{token: *row.AttemptedAt, begun: time.Now(), row: *row}
	return true
}

// token returns the token of a held job, or nil.
func (h *held) token(id int64) *time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.jobs[id]; ok {
		return &c.token
	}
	return nil
}

// atWork is token while the handler has something to write; a moment later its slot is still to be freed.
func (h *held) atWork(id int64) *time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c, ok := h.jobs[id]; ok && !c.finished {
		return &c.token
	}
	return nil
}

// timed tells endings how long their attempts ran. The end is told by this process's clock and attempted_at by the
// database's; the time between two clocks is no time that a job ran.
func (h *held) timed(endings []ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for i := range endings {
		e := &endings[i]
		c, ok := h.jobs[e.id]
		if !ok || e.token == nil || !c.token.Equal(*e.token) {
			continue
		}
		ended := now
		if e.endedAt != nil {
			ended = *e.endedAt
		}
		seconds := max(ended.Sub(c.begun).Seconds(), 0)
		e.ran = &seconds
	}
}

// slotFreed notes that the job's handler has returned.
func (h *held) slotFreed(id int64) { h.mark(id, func(c *claim) { c.slotFreed = true }) }

// finished notes that the job's end is written, or that there is nothing left to write it to.
func (h *held) finished(id int64) { h.mark(id, func(c *claim) { c.finished = true }) }

func (h *held) mark(id int64, mark func(*claim)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.jobs[id]
	if !ok {
		return
	}
	mark(c)
	if c.slotFreed && c.finished {
		delete(h.jobs, id)
	}
}

// ids returns the ids of all held jobs.
func (h *held) ids() []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]int64, 0, len(h.jobs))
	for id := range h.jobs {
		ids = append(ids, id)
	}
	return ids
}

// count is how many jobs are held.
func (h *held) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.jobs)
}

// completedRows appends the rows of jobs that were completed without more to write to them, as they are now.
func (h *held) completedRows(rows []*rivertype.JobRow, ids []int64, plain []ending) []*rivertype.JobRow {
	endedAt := make(map[int64]*time.Time, len(plain))
	for i := range plain {
		endedAt[plain[i].id] = plain[i].endedAt
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		c, ok := h.jobs[id]
		if !ok {
			continue
		}
		row, ended := c.row, endedAt[id].UTC().Truncate(time.Microsecond) // Postgres keeps no more
		row.State, row.FinalizedAt = rivertype.JobStateCompleted, &ended
		rows = append(rows, &row)
	}
	return rows
}
