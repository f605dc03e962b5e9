package pilot

import (
	"slices"
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
	token time.Time
	begun time.Time        // by this process's clock
	ended time.Time        // when the attempt ended its job
	ran   float64          // so many seconds, once it has ended
	row   rivertype.JobRow // as the fetch brought it, since hooks may change the one that River works; once written, as it is now

	slotFreed bool
	finished  bool
	over      bool // ended by EndAttempts while the handler goes on
	revoked   bool // given to others while the handler goes on
	inTx      bool // ended by a transaction of the handler's, if that was committed
	queued    bool // its end has been given to the finisher
	written   bool // ended by the finisher
}

// mine reports whether the attempt's end may be written for it: nobody has ended it, or given the job to somebody else.
func (c *claim) mine() bool { return !c.over && !c.revoked && !c.inTx }

// stays reports whether the row holds a unique key that keeps it in river_job once it is completed.
func (c *claim) stays() bool {
	return c.row.UniqueKey != nil && slices.Contains(c.row.UniqueStates, rivertype.JobStateCompleted)
}

func newHeld() *held { return &held{jobs: make(map[int64]*claim)} }

// add takes fetched jobs and returns those that it does not take, because the client holds their ids already: River keys
// its running set and its completer by id, so a client must not work one id twice at once.
func (h *held) add(rows []*rivertype.JobRow) (twice []*rivertype.JobRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, row := range rows {
		if _, ok := h.jobs[row.ID]; ok {
			twice = append(twice, row)
			continue
		}
		h.jobs[row.ID] = &claim{token: *row.AttemptedAt, begun: now, row: *row}
	}
	return twice
}

// begin notes that handlers begin with jobs: those that were fetched ahead have waited since their fetch.
func (h *held) begin(rows []*rivertype.JobRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, row := range rows {
		if c, ok := h.jobs[row.ID]; ok {
			c.begun = now
		}
	}
}

// forget lets go of jobs that no handler has begun with.
func (h *held) forget(ids []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		delete(h.jobs, id)
	}
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

// attach tells endings of held jobs which fetch they belong to, unless they know, and how long their attempts ran. The end
// is told by this process's clock and attempted_at by the database's; the time between two clocks is no time that a job
// ran.
func (h *held) attach(endings []ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for i := range endings {
		e := &endings[i]
		c, ok := h.jobs[e.id]
		switch {
		case !ok:
			continue
		case e.token == nil:
			e.token = &c.token
		case !c.token.Equal(*e.token):
			continue
		}
		ended := now
		if e.endedAt != nil {
			ended = *e.endedAt
		}
		seconds := max(ended.Sub(c.begun).Seconds(), 0)
		e.ran, e.stays = &seconds, c.stays()
	}
}

// slotFreed notes that the job's handler has returned, and reports whether its slot is free by that: of one that was stuck
// it was free before.
func (h *held) slotFreed(id int64) (freed bool) {
	h.mark(id, func(c *claim) { c.slotFreed, freed = true, !c.over })
	return freed
}

// finished notes that the jobs' ends are written, or that there is nothing left to write them to.
func (h *held) finished(ids []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if c, ok := h.jobs[id]; ok {
			c.finished = true
			h.letGo(id, c)
		}
	}
}

func (h *held) mark(id int64, mark func(*claim)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.jobs[id]
	if !ok {
		return
	}
	mark(c)
	h.letGo(id, c)
}

// letGo forgets a job that is done with. The caller holds the lock.
func (h *held) letGo(id int64, c *claim) {
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

// completedRows appends the rows of jobs that were completed without more to write to them, as they are now: those of the
// endings whose ids the statement returned.
func (h *held) completedRows(rows []*rivertype.JobRow, ids []int64, plain []ending) []*rivertype.JobRow {
	var done map[int64]struct{} // nil: all of them
	if len(ids) < len(plain) {
		done = make(map[int64]struct{}, len(ids))
		for _, id := range ids {
			done[id] = struct{}{}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range plain {
		e := &plain[i]
		if _, ok := done[e.id]; !ok && done != nil {
			continue
		}
		if c, ok := h.jobs[e.id]; ok {
			c.ended = e.endedAt.UTC().Truncate(time.Microsecond) // Postgres keeps no more
			c.row.State, c.row.FinalizedAt = rivertype.JobStateCompleted, &c.ended
			rows = append(rows, &c.row)
		}
	}
	return rows
}
