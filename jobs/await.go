package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/puddle/v2"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/store"
)

// Errors of this package, to be looked for with errors.Is.
var (
	// ErrNotFound is River's: there is no such job, live or in history.
	ErrNotFound = rivertype.ErrNotFound

	// ErrAwaitInWorker is returned by Await inside a job. A job that waits for another holds its slot meanwhile, and
	// when all slots hold such jobs, nothing moves any more. Insert the other job with what shall happen afterwards,
	// or return river.JobSnooze and look again.
	ErrAwaitInWorker = errors.New("a job must not wait for another job")

	// ErrNoOutput is returned by Output for a job that recorded none.
	ErrNoOutput = errors.New("the job recorded no output")

	errNoPool = errors.New("the client has no pool")
)

// Result is the end of a job.
type Result struct {
	// Job is the row as it was when the job had ended.
	Job *rivertype.JobRow
	// State is completed, cancelled or discarded.
	State rivertype.JobState
	// Output is the JSON that the job recorded with river.RecordOutput, or nil.
	Output json.RawMessage
	// Errors are those of the failed attempts, the oldest first. A completed job may have some.
	Errors []rivertype.AttemptError
}

// Err returns nil for a completed job and an error with the state and the last failure for another.
func (r *Result) Err() error {
	switch {
	case r.State == rivertype.JobStateCompleted:
		return nil
	case len(r.Errors) == 0:
		return fmt.Errorf("job %d (%s) was %s", r.Job.ID, r.Job.Kind, r.State)
	default:
		return fmt.Errorf("job %d (%s) was %s: %s", r.Job.ID, r.Job.Kind, r.State, r.Errors[len(r.Errors)-1].Error)
	}
}

// Output decodes what the job recorded with river.RecordOutput. It returns ErrNoOutput when there is nothing; whether
// the job succeeded is for Result.Err to say.
func Output[T any](r *Result) (T, error) {
	var value T
	if r.Output == nil {
		return value, fmt.Errorf("read output of job %d: %w", r.Job.ID, ErrNoOutput)
	}
	if err := json.Unmarshal(r.Output, &value); err != nil {
		return value, fmt.Errorf("read output of job %d: %w", r.Job.ID, err)
	}
	return value, nil
}

// Await returns when the job has ended: completed, cancelled or discarded. A job that waits for a retry has not ended.
// The job must be committed; an unknown id gives ErrNotFound, and so does one whose history has been retired. An end of
// ctx gives its error. Inside a job it fails at once with ErrAwaitInWorker.
//
// All waiting calls of a client share one query, sent every few milliseconds at first and every quarter of a second
// when nothing happens for long.
func (c *Client) Await(ctx context.Context, id int64) (*Result, error) {
	if _, err := river.ClientFromContextSafely[pgx.Tx](ctx); err == nil {
		return nil, fmt.Errorf("await job %d: %w", id, ErrAwaitInWorker)
	}
	if c.awaiter == nil {
		return nil, fmt.Errorf("await job %d: %w", id, errNoPool)
	}
	row, err := c.awaiter.await(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("await job %d: %w", id, err)
	}
	return &Result{Job: row, State: row.State, Output: row.Output(), Errors: row.Errors}, nil
}

const (
	awaitShortest = 4 * time.Millisecond
	awaitLongest  = 250 * time.Millisecond
	// awaitShare is how many times longer than the query took the pause after it is, so that waiting costs the
	// database a tenth of one connection at most.
	awaitShare   = 9
	awaitTimeout = 10 * time.Second
)

// awaiter looks for the ends of jobs on behalf of all calls of Await. Its loop runs while there are any.
type awaiter struct {
	pool   *pgxpool.Pool
	exec   riverdriver.Executor
	schema string

	mu      sync.Mutex
	waiting map[int64]map[*waiter]struct{}
	running bool
	added   chan struct{} // tells the loop about a new call; holds one
	lastErr error         // of the latest look, nil when it went well
}

// waiter is one call of Await.
type waiter struct{ done chan ending }

type ending struct {
	row *rivertype.JobRow
	err error
}

func newAwaiter(pool *pgxpool.Pool, exec riverdriver.Executor, schema string) *awaiter {
	return &awaiter{
		pool: pool, exec: exec, schema: schema,
		waiting: make(map[int64]map[*waiter]struct{}), added: make(chan struct{}, 1),
	}
}

func (a *awaiter) await(ctx context.Context, id int64) (*rivertype.JobRow, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &waiter{done: make(chan ending, 1)}
	a.add(id, w)
	select {
	case end := <-w.done:
		return end.row, end.err
	case <-ctx.Done():
		if lastErr := a.remove(id, w); lastErr != nil {
			return nil, fmt.Errorf("%w; the last look failed: %w", ctx.Err(), lastErr)
		}
		return nil, ctx.Err()
	}
}

func (a *awaiter) add(id int64, w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting[id] == nil {
		a.waiting[id] = make(map[*waiter]struct{})
	}
	a.waiting[id][w] = struct{}{}
	if !a.running {
		a.running = true
		go a.loop()
		return
	}
	select {
	case a.added <- struct{}{}:
	default:
	}
}

// remove forgets a call and returns why the latest look failed, if it did.
func (a *awaiter) remove(id int64, w *waiter) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting[id], w)
	if len(a.waiting[id]) == 0 {
		delete(a.waiting, id)
	}
	return a.lastErr
}

func (a *awaiter) loop() {
	pause := awaitShortest
	for {
		ids := a.ids()
		if ids == nil {
			return
		}
		began := time.Now()
		found := a.look(ids)
		if found {
			pause = awaitShortest
		}
		wait := max(pause, awaitShare*time.Since(began))
		select {
		case <-a.added:
			// Not at once: calls that come one after the other would each make a query of their own.
			pause = awaitShortest
			<-time.After(min(wait, max(awaitShortest, awaitShare*time.Since(began))))
		case <-time.After(wait):
			pause = min(pause*3/2, awaitLongest)
		}
	}
}

// ids returns the ids waited for, or nil when there are none and the loop ends.
func (a *awaiter) ids() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 {
		a.running, a.lastErr = false, nil
		return nil
	}
	ids := make([]int64, 0, len(a.waiting))
	for id := range a.waiting {
		ids = append(ids, id)
	}
	return ids
}

// look asks once for all ids and wakes the calls whose jobs have ended. It reports whether there were any.
func (a *awaiter) look(ids []int64) bool {
	ctx, cancel := context.WithTimeout(context.Background(), awaitTimeout)
	defer cancel()
	ends, err := a.ends(ctx, ids)

	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastErr = err
	if err != nil {
		if passes(err) {
			return false
		}
		for _, id := range ids {
			a.wake(id, ending{err: err})
		}
		return true
	}
	for id, end := range ends {
		a.wake(id, end)
	}
	return len(ends) > 0
}

// wake hands the end to every call that waits for the id. The caller holds the lock.
func (a *awaiter) wake(id int64, end ending) {
	for w := range a.waiting[id] {
		w.done <- end
	}
	delete(a.waiting, id)
}

// ends returns the ends of those ids that have one. The question that is asked again and again carries ids and nothing
// else; whole rows are read once, when a job is no longer among the unfinished.
func (a *awaiter) ends(ctx context.Context, ids []int64) (map[int64]ending, error) {
	unfinished, err := store.UnfinishedJobs(ctx, a.pool, a.schema, ids)
	if err != nil {
		return nil, err
	}
	ends := make(map[int64]ending, len(ids)-len(unfinished))
	for _, id := range ids {
		ends[id] = ending{err: ErrNotFound}
	}
	for _, id := range unfinished {
		delete(ends, id)
	}
	if len(ends) == 0 {
		return nil, nil
	}
	asked := make([]int64, 0, len(ends))
	for id := range ends {
		asked = append(asked, id)
	}
	rows, err := a.exec.JobGetByIDMany(ctx, &riverdriver.JobGetByIDManyParams{ID: asked, Schema: a.schema})
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.FinalizedAt == nil { // revived in between
			delete(ends, row.ID)
			continue
		}
		ends[row.ID] = ending{row: row}
	}
	return ends, nil
}

// passes reports whether a failed look is worth repeating: the database could not be reached, is shutting down, or gave
// up on this one statement. What it refuses it will refuse again.
func passes(err error) bool {
	if errors.Is(err, puddle.ErrClosedPool) {
		return false
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return true
	}
	switch pgErr.Code[:2] {
	case "08", "40", "53", "55", "57":
		return true
	default:
		return false
	}
}
