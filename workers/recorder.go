package workers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/towpath/towpath/internal/store"
)

const (
	// recordLinger is how long events wait for others to be written with. Attempts that end do not wait for it.
	recordLinger = 100 * time.Millisecond
	recordBatch  = 1000 // events in one statement

	// recordMaxEvents and recordMaxBytes bound what all attempts have noted and the database has not taken yet.
	recordMaxEvents = 10_000
	recordMaxBytes  = 16 << 20

	recordTimeout    = 5 * time.Second        // of one statement
	recordRetryPause = 500 * time.Millisecond // after a failed one

	// finishWait is how long the end of an attempt waits for its last lines to be written. Only a database in trouble
	// takes that long; the lines are kept and written when it is back.
	finishWait = time.Second
)

// recorder writes what attempts note, in batches, so that a hundred jobs that log cost one statement now and then.
// Noting never waits. When the database does not keep up, what does not fit is dropped and counted.
type recorder struct {
	write  func(ctx context.Context, events []store.JobEvent) error
	logger *slog.Logger
	// direct makes finish write by itself, where there is no loop.
	direct bool

	wake   chan struct{} // there is something to write; holds one
	urgent chan struct{} // somebody waits for it; holds one
	quit   chan struct{} // closed by stop
	done   chan struct{} // closed when the loop has ended

	mu       sync.Mutex
	queue    []queuedEvent
	bytes    int
	appended uint64                // how many events have ever been taken
	written  uint64                // how many of them have left, by being written or given up
	advanced chan struct{}         // closed and replaced when written grows
	late     map[*attempt]struct{} // those with a progress that waits for its turn
	failing  bool
}

type queuedEvent struct {
	store.JobEvent
	at time.Time
}

func newRecorder(logger *slog.Logger, write func(ctx context.Context, events []store.JobEvent) error) *recorder {
	return &recorder{
		write: write, logger: logger,
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
		advanced: make(chan struct{}), late: make(map[*attempt]struct{}),
	}
}

func eventSize(e *store.JobEvent) int { return len(e.Message) + len(e.Attrs) + 64 }

// add takes an event and returns its number, or 0 when there is no room. With force it is taken anyway.
func (r *recorder) add(e store.JobEvent, force bool) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !force && (len(r.queue) >= recordMaxEvents || r.bytes >= recordMaxBytes) {
		return 0
	}
	r.queue = append(r.queue, queuedEvent{JobEvent: e, at: time.Now()})
	r.bytes += eventSize(&e)
	r.appended++
	signal(r.wake)
	if len(r.queue) >= recordBatch {
		signal(r.urgent)
	}
	return r.appended
}

// later remembers that an attempt has a progress to be taken with the next batch.
func (r *recorder) later(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late[a] = struct{}{}
	signal(r.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// finish waits until everything that the attempt has noted is written, but not for long.
func (r *recorder) finish(a *attempt) {
	number := a.closeNotes()
	if number == 0 {
		return
	}
	if r.direct {
		r.flush()
		return
	}
	limit := time.NewTimer(finishWait)
	defer limit.Stop()
	for {
		r.mu.Lock()
		reached, advanced, failing := r.written >= number, r.advanced, r.failing
		r.mu.Unlock()
		if reached || failing {
			return
		}
		signal(r.urgent)
		select {
		case <-advanced:
		case <-limit.C:
			return
		case <-r.done:
			return
		}
	}
}

// loop writes until stop is called, and then what is left.
func (r *recorder) loop() {
	defer close(r.done)
	for {
		select {
		case <-r.wake:
		case <-r.quit:
			r.flush()
			return
		}
		select {
		case <-time.After(recordLinger):
		case <-r.urgent:
		case <-r.quit:
		}
		if !r.flush() {
			select {
			case <-time.After(recordRetryPause):
			case <-r.quit:
			}
			signal(r.wake)
		}
	}
}

func (r *recorder) start() { go r.loop() }

// stop writes what is left, once, and ends the loop.
func (r *recorder) stop() {
	close(r.quit)
	<-r.done
	r.mu.Lock()
	lost := len(r.queue)
	r.mu.Unlock()
	if lost > 0 {
		r.logger.Error("job events were lost at the stop", slog.Int("events", lost))
	}
}

// flush writes everything that is there. It returns false when the database did not take it.
func (r *recorder) flush() bool {
	r.collectLate()
	for {
		batch := r.take()
		if len(batch) == 0 {
			return true
		}
		n, err := r.send(batch)
		r.advance(n)
		if err != nil {
			r.putBack(batch[n:], err)
			return false
		}
	}
}

// collectLate takes the progress that attempts hold back, each its latest.
func (r *recorder) collectLate() {
	r.mu.Lock()
	late := r.late
	r.late = make(map[*attempt]struct{})
	r.mu.Unlock()
	for a := range late {
		a.releaseProgress()
	}
}

// take removes a batch from the queue's head.
func (r *recorder) take() []queuedEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.queue), recordBatch)
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	for i := range batch {
		r.bytes -= eventSize(&batch[i].JobEvent)
	}
	return batch
}

// send writes a batch and returns how many of its events are done with. When the database refuses it for what is in it,
// the events are written one by one, so that one of them does not take the others with it.
func (r *recorder) send(batch []queuedEvent) (int, error) {
	err := r.sendOnce(batch)
	if err == nil {
		return len(batch), nil
	}
	if !isDataError(err) {
		return 0, err
	}
	refused := 0
	for i := range batch {
		switch oneErr := r.sendOnce(batch[i : i+1]); {
		case oneErr == nil:
		case isDataError(oneErr):
			refused, err = refused+1, oneErr
		default:
			return i, oneErr
		}
	}
	r.logger.Error("job events were refused", slog.Int("events", refused), slog.String("error", err.Error()))
	return len(batch), nil
}

func (r *recorder) sendOnce(batch []queuedEvent) error {
	ctx, cancel := context.WithTimeout(context.Background(), recordTimeout)
	defer cancel()
	now := time.Now()
	events := make([]store.JobEvent, len(batch))
	for i := range batch {
		events[i] = batch[i].JobEvent
		events[i].Age = now.Sub(batch[i].at)
	}
	return r.write(ctx, events)
}

// putBack returns a batch to the queue's head after a failure. It is said once, until things go well again.
func (r *recorder) putBack(batch []queuedEvent, err error) {
	r.mu.Lock()
	r.queue = append(batch, r.queue...)
	for i := range batch {
		r.bytes += eventSize(&batch[i].JobEvent)
	}
	first := !r.failing
	r.failing = true
	r.mu.Unlock()
	if first {
		r.logger.Warn("job events cannot be written; they are kept as far as there is room", slog.String("error", err.Error()))
	}
}

// advance notes that so many events have left.
func (r *recorder) advance(n int) {
	if n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = false
	r.written += uint64(n) //nolint:gosec // a length
	close(r.advanced)
	r.advanced = make(chan struct{})
}

// hasWritten reports whether the event of that number has left.
func (r *recorder) hasWritten(number uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written >= number
}

// isDataError reports whether the database refused a statement for the values in it.
func isDataError(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code[:2] == "22" || pgErr.Code[:2] == "23")
}
