package workers

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/towpath/towpath/internal/store"
)

const (
	// noteMaxWaiting bounds the lines of one attempt that wait to be written, so that a chatty job leaves room.
	noteMaxWaiting = 2000
	// noteMaxMessage and noteMaxAttrs bound one line, in bytes.
	noteMaxMessage = 16 << 10
	noteMaxAttrs   = 32 << 10

	// progressEvery is the least time between two progress events of an attempt.
	progressEvery = 100 * time.Millisecond
)

// notes is what an attempt has noted and the recorder has not taken, and how much it has taken.
type notes struct {
	mu         sync.Mutex
	last       uint64 // the number of the latest event taken
	taken      int    // events of this attempt in the recorder since all of them were written
	dropped    int
	progress   *store.JobEvent // held back
	progressAt time.Time       // when one was last taken
	closed     bool
}

// note hands an event to the recorder. Log lines may be dropped, other events are few and are not.
func (a *attempt) note(e store.JobEvent) {
	a.notes.mu.Lock()
	defer a.notes.mu.Unlock()
	a.take(e, e.Event != store.EventLog)
}

// take completes an event and hands it over. The caller holds the lock.
func (a *attempt) take(e store.JobEvent, force bool) {
	n := &a.notes
	if n.taken >= noteMaxWaiting && a.runtime.recorder.hasWritten(n.last) {
		n.taken = 0
	}
	if !force && n.taken >= noteMaxWaiting {
		n.dropped++
		return
	}
	if n.dropped > 0 && a.admit(a.droppedNote(), false) {
		n.dropped = 0
	}
	if !a.admit(e, force) {
		n.dropped++
	}
}

// admit gives an event to the recorder and reports whether it had room. The caller holds the lock.
func (a *attempt) admit(e store.JobEvent, force bool) bool {
	e.JobID, e.Attempt = a.row.ID, a.row.Attempt
	e.Message = clip(cleanText(e.Message), noteMaxMessage)
	number := a.runtime.recorder.add(e, force)
	if number == 0 {
		return false
	}
	a.notes.last = number
	a.notes.taken++
	return true
}

func (a *attempt) droppedNote() store.JobEvent {
	return store.JobEvent{
		Event: store.EventLog, Level: slog.LevelWarn.String(),
		Message: fmt.Sprintf("%d log lines were dropped here, because the database did not keep up", a.notes.dropped),
		Attrs:   fmt.Sprintf(`{"dropped":%d}`, a.notes.dropped),
	}
}

// closeNotes hands over what is held back and returns the number of the attempt's last event, 0 when it had none.
func (a *attempt) closeNotes() uint64 {
	n := &a.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	if n.progress != nil {
		a.admit(*n.progress, true)
		n.progress = nil
	}
	if n.dropped > 0 {
		a.admit(a.droppedNote(), true)
		n.dropped = 0
	}
	return n.last
}

// Progress records how far the attempt is, from 0 to 1, and what it is at. It never waits and may be called as often as
// is convenient: at most ten a second are kept, always the latest of them and always the last. Outside a job it does
// nothing.
func Progress(ctx context.Context, fraction float64, message string) {
	a := attemptOf(ctx)
	if a == nil {
		return
	}
	if math.IsNaN(fraction) {
		fraction = 0
	}
	fraction = min(max(fraction, 0), 1)
	a.noteProgress(store.JobEvent{Event: store.EventProgress, Message: message, Fraction: &fraction})
}

func (a *attempt) noteProgress(e store.JobEvent) {
	n := &a.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.closed || now.Sub(n.progressAt) >= progressEvery {
		n.progress, n.progressAt = nil, now
		a.admit(e, true)
		return
	}
	n.progress = &e
	a.runtime.recorder.later(a)
}

// releaseProgress hands over the progress that was held back; the recorder calls it once a batch.
func (a *attempt) releaseProgress() {
	n := &a.notes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.progress == nil {
		return
	}
	if now := time.Now(); now.Sub(n.progressAt) >= progressEvery {
		a.admit(*n.progress, true)
		n.progress, n.progressAt = nil, now
		return
	}
	a.runtime.recorder.later(a)
}

// cleanText makes text that Postgres takes.
func cleanText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// clip shortens text that is too long, between runes.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
