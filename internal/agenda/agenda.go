// Package agenda tells the services of a leader what time will bring them: the next moments of schedules, probes and checks.
//
// # Contract
//
// A service waits for the next moment that it knows of, and looks now and then for what people have changed meanwhile. It
// asks for a page that was read after the one that it knows, or after what it has done itself. A page that another service
// has read since will do: while nothing is due, a leader looks for all of them in one statement.
package agenda

import (
	"context"
	"time"

	"github.com/towpath/towpath/internal/store"
)

// Idle is how old a page may become before somebody looks for changes: a little older than the ticker lets it become, which
// reads one of its own each time, so that the others find that one.
const Idle = 20*time.Second + 250*time.Millisecond

// Book is what the services of a leader read in. It is safe for use by several goroutines.
type Book struct {
	db   store.DB
	turn chan struct{} // held by who reads or looks at last
	last *Page
}

// NewBook returns a book that nobody has read in.
func NewBook(db store.DB) *Book { return &Book{db: db, turn: make(chan struct{}, 1)} }

// Page is the agenda at a moment.
type Page struct {
	store.Agenda
	Begun time.Time // when it was begun to be read, by this process's clock
	read  time.Time // and when it had been read
}

// After returns a page that was begun to be read after a moment: the last one, or a new one.
func (b *Book) After(ctx context.Context, moment time.Time) (*Page, error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-b.turn }()
	if b.last != nil && b.last.Begun.After(moment) {
		return b.last, nil
	}
	begun := time.Now()
	agenda, err := store.ReadAgenda(ctx, b.db)
	if err != nil {
		return nil, err
	}
	b.last = &Page{Agenda: agenda, Begun: begun, read: time.Now()}
	return b.last, nil
}

// Reader is a service that reads in a book. Only one goroutine uses it.
type Reader struct {
	book  *Book
	known time.Time
}

// Reader returns one that knows nothing of what was before now.
func (b *Book) Reader() *Reader { return &Reader{book: b, known: time.Now()} }

// Next returns a page that is newer than the one before.
func (r *Reader) Next(ctx context.Context) (*Page, error) {
	page, err := r.book.After(ctx, r.known)
	if err == nil {
		r.known = page.Begun
	}
	return page, err
}

// Forget says that the reader has changed something: what was read before now no longer holds.
func (r *Reader) Forget() { r.known = time.Now() }

// Rest returns how long it is until a moment of the database's clock, and at most until the page is of the age most. It is
// zero or less when the moment has come, and rather late than early, so that the database thinks so as well.
func (p *Page) Rest(moment *time.Time, most time.Duration) time.Duration {
	age := time.Since(p.read)
	rest := max(most-age, 0)
	if moment != nil {
		rest = min(rest, moment.Sub(p.Clock)-age)
	}
	return rest
}
