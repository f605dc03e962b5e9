package pilot

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// River's completer writes the ends of jobs four times a second unless a hundred have gathered, and it cannot be
// replaced. So the end of an attempt that succeeded is written here as soon as the handler has returned, and the
// completer, when it comes with the same end, gets its answer from memory.

const (
	// promptBatch is how many ends one statement writes at most.
	promptBatch = 2000
	// After a batch of promptBusy the next one waits for promptLinger, to be larger: the work of a statement is for the
	// most part per statement while it is small.
	promptBusy    = 50
	promptLinger  = 20 * time.Millisecond
	promptTimeout = 10 * time.Second
)

// PromptTx is given to river.JobCompleteTx in place of a transaction once a handler has succeeded. That is the one
// public way to learn what the attempt adds to its job's metadata. Nothing is completed before the call returns; the end
// is written shortly after, with others.
var PromptTx pgx.Tx = promptTx{}

type promptTx struct{ pgx.Tx }

// finisher writes the ends of attempts that succeeded.
type finisher struct {
	pilot *Pilot

	flushing sync.Mutex // held while a batch is on its way
	mu       sync.Mutex
	queue    []ending
	schema   string
	active   bool
}

// promptly takes the end of an attempt that succeeded. It answers as if that were written.
func (p *Pilot) promptly(params *riverdriver.JobSetStateIfRunningManyParams) []*rivertype.JobRow {
	endings := newEndings(params, p.held.token)
	p.held.timed(endings)
	rows := make([]*rivertype.JobRow, len(endings))
	for i := range endings {
		rows[i] = &rivertype.JobRow{ID: endings[i].id, State: rivertype.JobState(endings[i].state), EncodedArgs: []byte("{}")}
		if p.pool != nil && p.storage.knows(params.Schema) && p.held.succeeds(endings[i].id) {
			p.finisher.add(params.Schema, endings[i])
		}
	}
	return rows
}

func (f *finisher) add(schema string, e ending) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, e)
	f.schema = schema
	if !f.active {
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
		case n >= promptBusy:
			<-time.After(promptLinger)
		}
	}
}

// flush writes a batch and returns its size. What cannot be written is left to River's completer, which tries again and
// says so.
func (f *finisher) flush() int {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	f.mu.Lock()
	n := min(len(f.queue), promptBatch)
	batch, schema := f.queue[:n:n], f.schema
	f.queue = f.queue[n:]
	if n == 0 {
		f.queue, f.active = nil, false
	}
	f.mu.Unlock()
	if n == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), promptTimeout)
	defer cancel()
	x := &Executor{db: f.pilot.pool, storage: f.pilot.storage}
	if rows, err := f.pilot.finishRunning(ctx, x, schema, nil, batch); err == nil {
		f.pilot.held.written(rows)
	}
	return n
}

// withdraw takes back the ends of jobs that somebody else is about to write, and waits for those on their way.
func (f *finisher) withdraw(endings []ending) {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return
	}
	ids := make(map[int64]struct{}, len(endings))
	for i := range endings {
		ids[endings[i].id] = struct{}{}
	}
	rest := f.queue[:0]
	for _, e := range f.queue {
		if _, ok := ids[e.id]; !ok {
			rest = append(rest, e)
		}
	}
	f.queue = rest
}

// succeeds reports whether the end of a held job may be written ahead of River: the job is this attempt's still, and the
// handler has not ended it in a transaction of its own.
func (h *held) succeeds(id int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.jobs[id]
	return ok && !c.over && !c.revoked && !c.inTx
}

// endedInTx notes that a handler has ended its job in a transaction, which may yet roll back.
func (h *held) endedInTx(id int64) { h.mark(id, func(c *claim) { c.inTx = true }) }

// written notes the rows of jobs whose end is in the database.
func (h *held) written(rows []*rivertype.JobRow) {
	for _, row := range rows {
		h.mark(row.ID, func(c *claim) { c.written = row })
	}
}

// known splits endings into those whose rows are known, those that a handler's transaction has probably ended, and the
// rest.
func (h *held) known(endings []ending) (rows []*rivertype.JobRow, probable, rest []ending) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rows = make([]*rivertype.JobRow, 0, len(endings))
	for i := range endings {
		switch c, ok := h.jobs[endings[i].id]; {
		case ok && c.written != nil:
			rows = append(rows, c.written)
		case ok && c.inTx:
			probable = append(probable, endings[i])
		default:
			rest = append(rest, endings[i])
		}
	}
	return rows, probable, rest
}
