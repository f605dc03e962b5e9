package pilot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/riverdriver"
)

// A busy queue gets no notification for every job (see bell.go), and one that was sent may tell of a transaction that
// commits after the fetch it caused. So a producer that has just seen several jobs looks again by itself, often at
// first, then less, until the queue has been quiet for a while. It is woken as by a notification: River's notifier gets
// one from the listener that the server never sent.
const (
	// busyJobs within busyWindow make a queue busy. Fewer are all notified one by one.
	busyJobs   = 5
	busyWindow = 100 * time.Millisecond
	// busyPause is how soon a busy queue is looked at again, restPause how soon one that was busy within the last restWindow.
	busyPause  = 2 * time.Millisecond
	restPause  = 50 * time.Millisecond
	restWindow = time.Second
)

// trail decides when to look at a queue again.
type trail struct {
	mu       sync.Mutex
	armed    bool
	since    time.Time // begin of the window
	jobs     int       // fetched since
	lastBusy time.Time
}

// next notes that a fetch brought so many jobs and returns how long to wait before looking again, or 0 not to. A caller
// that gets a time has to call again after it.
func (t *trail) next(now time.Time, jobs int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.since) > busyWindow {
		t.since, t.jobs = now, 0
	}
	t.jobs += jobs
	busy := t.jobs >= busyJobs
	if busy {
		t.lastBusy = now
	}
	switch {
	case t.armed:
		return 0
	case busy:
		t.armed = true
		return busyPause
	case now.Sub(t.lastBusy) < restWindow:
		t.armed = true
		return restPause
	default:
		return 0
	}
}

func (t *trail) fired() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
}

// lookAgain arranges the next fetch of a queue that was busy.
func (s *producer) lookAgain(storage *Storage, schema, queue string, jobs int) {
	pause := s.trail.next(time.Now(), jobs)
	if pause == 0 {
		return
	}
	time.AfterFunc(pause, func() {
		s.trail.fired()
		storage.wake(schema, queue)
	})
}

// Listener is River's listener with a second source: the process itself.
type Listener struct {
	riverdriver.Listener
	storage *Storage

	mu        sync.Mutex
	schema    string                     // River's own answer waits while the connection does
	pending   []riverdriver.Notification // to report
	interrupt context.CancelFunc         // ends the wait on the connection
}

// NewListener wraps River's listener and lets the storage wake it.
func NewListener(river riverdriver.Listener, storage *Storage) *Listener {
	l := &Listener{Listener: river, storage: storage, schema: river.Schema()}
	storage.mu.Lock()
	defer storage.mu.Unlock()
	storage.listeners = append(storage.listeners, l)
	return l
}

// Listen listens to a topic. Where the server, or a pooler before it, does not know LISTEN, the process hears itself and
// no other, and the polls of River's services do the rest.
func (l *Listener) Listen(ctx context.Context, topic string) error {
	return unlessRefused(l.Listener.Listen(ctx, topic))
}

// Unlisten ends listening to a topic.
func (l *Listener) Unlisten(ctx context.Context, topic string) error {
	return unlessRefused(l.Listener.Unlisten(ctx, topic))
}

// unlessRefused drops the error of a server that refuses the statement as such. What has to do with the connection stays.
func unlessRefused(err error) error {
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) && (strings.HasPrefix(refusal.Code, "0A") || strings.HasPrefix(refusal.Code, "42")) {
		return nil
	}
	return err
}

// Connect opens the connection, which tells the schema where none is configured.
func (l *Listener) Connect(ctx context.Context) error {
	if err := l.Listener.Connect(ctx); err != nil {
		return err
	}
	schema := l.Listener.Schema()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schema = schema
	return nil
}

// Schema is the schema whose notifications the listener hears.
func (l *Listener) Schema() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.schema
}

// wake makes the producers of a queue in this process look for jobs. Without a listener, in poll-only mode, they poll.
func (s *Storage) wake(schema, queue string) {
	s.tell(schema, riverdriver.Notification{Topic: insertTopic, Payload: insertPayload(queue)})
}

// canWake reports whether wake gets through.
func (s *Storage) canWake(schema string) bool {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	return slices.ContainsFunc(listeners, func(l *Listener) bool { return schema == "" || l.Schema() == schema })
}

// tell gives the clients of this process a notification that the server never sent.
func (s *Storage) tell(schema string, n riverdriver.Notification) {
	s.mu.Lock()
	listeners := s.listeners
	s.mu.Unlock()
	for _, l := range listeners {
		if schema == "" || l.Schema() == schema {
			l.tell(n)
		}
	}
}

func (l *Listener) tell(n riverdriver.Notification) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.pending, n) {
		return
	}
	l.pending = append(l.pending, n)
	if l.interrupt != nil {
		l.interrupt()
	}
}

// WaitForNotification returns what the process or the server has to say. Only one call runs at a time, as with River's.
func (l *Listener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	l.mu.Lock()
	if n := l.take(); n != nil {
		l.mu.Unlock()
		return n, nil
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	l.interrupt = cancel
	l.mu.Unlock()

	n, err := l.Listener.WaitForNotification(wait)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.interrupt = nil
	if err == nil && n.Topic == insertTopic && n.Payload == insertPayload(leaderCall) {
		l.storage.callLeader(l.schema)
	}
	if err == nil || ctx.Err() != nil {
		return n, err
	}
	if own := l.take(); own != nil && wait.Err() != nil {
		return own, nil
	}
	return n, err
}

func (l *Listener) take() *riverdriver.Notification {
	if len(l.pending) == 0 {
		return nil
	}
	n := l.pending[0]
	l.pending = l.pending[1:]
	return &n
}
