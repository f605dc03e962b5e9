package pilot

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// River's completer writes the ends of jobs four times a second unless a hundred have gathered, and it cannot be
// replaced. So the end of an attempt that ends its job is written here as soon as it is known, and the completer, when it
// comes with the same end, gets its answer from memory.

const (
	// promptBatch is how many ends one statement writes at most.
	promptBatch = 2000
	// After a batch of promptBusy the next one waits for promptLinger, to be larger, and after one of promptFull for twice
	// as long: the work of a statement is for the most part per statement while it is small.
	promptBusy    = 50
	promptFull    = 200
	promptLinger  = 20 * time.Millisecond
	promptTimeout = 10 * time.Second
)

// finisher writes the ends of attempts of this client: those that succeeded or ended their jobs otherwise as soon as they
// did, and whatever River's completer brings together with them, so that there is one statement for both.
type finisher struct {
	pilot  *Pilot
	filled chan struct{} // told of a whole batch; holds one
	busy   atomic.Bool   // the last batch was a large one: the completer comes soon, and brings what needs the dear statement

	mu     sync.Mutex
	queue  []ending
	schema string
	active bool
	added  int           // ends that ever came
	tried  int           // of these, those that are written or could not be
	passed chan struct{} // closed when tried grows; nil while nobody waits
}

// FinishPromptly takes the end of an attempt of this client that has succeeded and that nothing can fail any more. The end
// is written shortly after, with others. The metadata is what the attempt adds to its job's, a JSON object, or nil.
func (p *Pilot) FinishPromptly(schema string, id int64, metadata []byte) {
	if p.pool == nil || !p.storage.knows(schema) {
		return
	}
	if e, ok := p.held.succeed(id, metadata, p.finisher.busy.Load()); ok {
		p.finisher.add(schema, e)
	}
}

// FailPromptly takes the end of an attempt of this client that has failed for good: its job is discarded or cancelled, and
// nothing can change that any more. The failure needs no time. While many jobs end it is left to River's completer, since
// it needs the dear statement.
func (p *Pilot) FailPromptly(schema string, id int64, state rivertype.JobState, failure rivertype.AttemptError, metadata []byte) {
	if p.pool == nil || !p.storage.knows(schema) || p.finisher.busy.Load() {
		return
	}
	if e, ok := p.held.fail(id, state, failure, metadata); ok {
		p.finisher.add(schema, e)
	}
}

func (f *finisher) add(schema string, endings ...ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, endings...)
	f.added += len(endings)
	f.schema = schema
	if len(f.queue) >= promptBatch {
		select {
		case f.filled <- struct{}{}:
		default:
		}
	}
	if !f.active && len(f.queue) > 0 {
		f.active = true
		go f.run()
	}
}

// run writes batches until nothing is left: the first end at once, and those that come meanwhile together.
func (f *finisher) run() {
	for {
		n := f.flush()
		switch {
		case n == 0:
			return
		case n >= promptFull:
			f.linger(2 * promptLinger)
		case n >= promptBusy:
			f.linger(promptLinger)
		}
	}
}

// linger waits, unless a whole batch is there before that.
func (f *finisher) linger(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for !f.full() {
		select {
		case <-timer.C:
			return
		case <-f.filled:
		}
	}
}

func (f *finisher) full() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) >= promptBatch
}

// flush writes a batch and returns its size. What cannot be written is left to River's completer, which tries again and
// says so.
func (f *finisher) flush() int {
	f.mu.Lock()
	n := min(len(f.queue), promptBatch)
	batch, schema := f.queue[:n:n], f.schema
	f.queue = f.queue[n:]
	if n == 0 {
		f.queue, f.active = nil, false
	}
	f.busy.Store(n >= promptBusy)
	f.mu.Unlock()
	if n == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), promptTimeout)
	defer cancel()
	x := &Executor{db: f.pilot.pool, storage: f.pilot.storage}
	rows, _ := f.pilot.finishRunning(ctx, x, schema, nil, batch)
	f.pilot.held.wrote(rows)
	f.pass(n)
	return n
}

// pass notes that ends have been tried.
func (f *finisher) pass(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried += n
	if f.passed != nil {
		close(f.passed)
		f.passed = nil
	}
}

// join has the ends that River's completer brings written with those that are on their way, and returns when all of them
// have been tried. Which of them are written, held knows.
func (f *finisher) join(ctx context.Context, schema string, endings []ending) error {
	f.add(schema, f.pilot.held.enqueue(endings)...)
	f.mu.Lock()
	last := f.added
	f.mu.Unlock()
	for {
		f.mu.Lock()
		if f.tried >= last {
			f.mu.Unlock()
			return nil
		}
		if f.passed == nil {
			f.passed = make(chan struct{})
		}
		passed := f.passed
		f.mu.Unlock()
		select {
		case <-passed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// succeed notes that an attempt has succeeded and returns its end, if that may be written ahead of River: the job is this
// attempt's still, and the handler has not ended it in a transaction of its own. With plainOnly it must add nothing to
// its row, too.
func (h *held) succeed(id int64, metadata []byte, plainOnly bool) (ending, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.jobs[id]
	if !ok || !c.mine() {
		return ending{}, false
	}
	e := c.end(id, rivertype.JobStateCompleted, metadata)
	if plainOnly && !e.plain() {
		return ending{}, false
	}
	c.queued = true
	return e, true
}

// fail is succeed for an attempt that has failed for good. The moment of the failure is the attempt's begin, as it is
// River's.
func (h *held) fail(id int64, state rivertype.JobState, failure rivertype.AttemptError, metadata []byte) (ending, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.jobs[id]
	if !ok || !c.mine() {
		return ending{}, false
	}
	failure.At = c.begun
	raw, err := json.Marshal(failure)
	if err != nil {
		return ending{}, false // River says so
	}
	e := c.end(id, state, metadata)
	e.err, c.queued = jsonText(raw), true
	return e, true
}

// end is the end of the attempt now, in a final state.
func (c *claim) end(id int64, state rivertype.JobState, metadata []byte) ending {
	c.ended = time.Now()
	c.ran = max(c.ended.Sub(c.begun).Seconds(), 0)
	e := ending{
		id: id, token: &c.token, state: string(state), endedAt: &c.ended, event: string(state), ran: &c.ran, stays: c.stays(),
	}
	if metadata != nil {
		e.merge = jsonText(metadata)
	}
	return e
}

// enqueue returns the endings that the finisher has not had yet and may write.
func (h *held) enqueue(endings []ending) []ending {
	h.mu.Lock()
	defer h.mu.Unlock()
	var fresh []ending
	for i := range endings {
		c, ok := h.jobs[endings[i].id]
		if ok && !c.queued && c.mine() && endings[i].token == &c.token {
			c.queued = true
			fresh = append(fresh, endings[i])
		}
	}
	return fresh
}

// endedInTx notes that a handler has ended its job in a transaction, which may yet roll back.
func (h *held) endedInTx(id int64) { h.mark(id, func(c *claim) { c.inTx = true }) }

// wrote notes the rows of jobs whose end is in the database.
func (h *held) wrote(rows []*rivertype.JobRow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, row := range rows {
		if c, ok := h.jobs[row.ID]; ok {
			c.written = true
			if row != &c.row {
				c.row = *row
			}
		}
	}
}

// isWritten reports whether the job's end is in the database.
func (h *held) isWritten(id int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.jobs[id]
	return ok && c.written
}

// settled answers a finish from memory: it returns the rows of those whose end is written, and the places in ids of
// those that are still open. Attempts that were ended for their handlers are neither.
func (h *held) settled(ids []int64) (rows []*rivertype.JobRow, open []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows = make([]*rivertype.JobRow, 0, len(ids))
	for i, id := range ids {
		switch c, ok := h.jobs[id]; {
		case ok && c.over:
		case ok && c.written:
			rows = append(rows, &c.row)
		default:
			open = append(open, i)
		}
	}
	return rows, open
}

// known splits endings into those whose rows are known, those that a handler's transaction has probably ended, and the
// rest.
func (h *held) known(endings []ending) (rows []*rivertype.JobRow, probable, rest []ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows = make([]*rivertype.JobRow, 0, len(endings))
	for i := range endings {
		switch c, ok := h.jobs[endings[i].id]; {
		case ok && c.written:
			rows = append(rows, &c.row)
		case ok && c.inTx:
			probable = append(probable, endings[i])
		default:
			rest = append(rest, endings[i])
		}
	}
	return rows, probable, rest
}
