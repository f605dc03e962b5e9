// Package app makes every mistake that the checks know, and some things that look like one.
package app

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/vet/testdata/help"
	"github.com/towpath/towpath/jobs"
)

type order struct {
	ID    int64
	total float64 // want Args.Order.total is not exported
}

// strict reads itself, so that what is wrong can be told later.
type strict struct {
	Name    string
	Out     *os.File // want Args.Strict.Out is an open file
	problem error
}

// UnmarshalJSON keeps what was wrong.
func (s *strict) UnmarshalJSON(text []byte) error {
	s.problem = json.Unmarshal(text, &s.Name)
	return nil
}

// Part is part of args.
type Part struct {
	Next *Part // want Args.Parts[].Next is a pointer to Part
	Out  chan int // want Args.Parts[].Out is a channel
}

// Args hold what they should not.
type Args struct {
	Order   order
	Strict  strict
	Parts   []Part
	Pool    *pgxpool.Pool       // want Args.Pool is a pool
	DB      *sql.DB             // want Args.DB is a database handle
	HTTP    http.Client         // want Args.HTTP is an HTTP client
	File    *os.File            // want Args.File is an open file
	Done    func()              // want Args.Done is a function
	ByName  map[string]*order   // want Args.ByName[] is a pointer to order
	Ctx     context.Context     // want Args.Ctx is a context
	Jobs    *jobs.Client        // want Args.Jobs is a job client
	secret  string              // want Args.secret is not exported
	cache   map[string]int      `json:"-"`
	Skipped *os.File            `json:"-"`
	Known   *os.File            //towpath:allow filled by the worker, see Work
	Maybe   *int                // an optional number
	When    *time.Time          // an optional time
	At      time.Time
	Raw     json.RawMessage
	Any     any
	Names   []string
}

// Kind names the kind.
func (Args) Kind() string { return "app" }

// Shape has a method Kind that names no kind of job.
type Shape struct{ file *os.File }

// Kind is computed.
func (s Shape) Kind() string { return s.file.Name() }

// Own says itself what is kept.
type Own struct{ file *os.File }

// Kind names the kind.
func (Own) Kind() string { return "own" }

// MarshalJSON keeps the name.
func (o Own) MarshalJSON() ([]byte, error) { return json.Marshal(o.file.Name()) }

// Careful reads itself as well.
type Careful struct {
	ID      int64
	Done    chan int // want Careful.Done is a channel
	problem error
}

// Kind names the kind.
func (Careful) Kind() string { return "careful" }

// UnmarshalJSON keeps what was wrong.
func (c *Careful) UnmarshalJSON(text []byte) error {
	c.problem = json.Unmarshal(text, &c.ID)
	return nil
}

// Worker waits, directly and not.
type Worker struct {
	river.WorkerDefaults[Args]
	client *jobs.Client
}

// Work waits.
func (w *Worker) Work(ctx context.Context, job *river.Job[Args]) error {
	go func() { _, _ = w.client.Await(context.Background(), 1) }() // holds no slot
	if job.ID == 1 {
		_, err := w.client.Await(ctx, 2) // want a handler waits for another job with jobs.Client.Await
		return err
	}
	return nil
}

// Handlers are functions.
func Handlers(client *jobs.Client) []any {
	return []any{
		river.WorkFunc(func(ctx context.Context, _ *river.Job[Own]) error {
			return help.Result(ctx, client, 3) // in another package: Await refuses it when it runs
		}),
		river.WorkFunc(func(ctx context.Context, _ *river.Job[Own]) error {
			return later(ctx, client) // want a handler waits for another job with later
		}),
		river.WorkFunc(func(ctx context.Context, _ *river.Job[Own]) error {
			//towpath:allow the job that it waits for runs elsewhere
			return later(ctx, client)
		}),
	}
}

func later(ctx context.Context, client *jobs.Client) error {
	_, err := client.Await(ctx, 4)
	return err
}

// Page may wait: it is no handler.
func Page(w http.ResponseWriter, r *http.Request) {
	_, _ = new(jobs.Client).Await(r.Context(), 5)
}
