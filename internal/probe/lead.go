package probe

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/store"
)

const (
	// lookEvery is how often the leader looks at least: probes that were put or asked for wait for that, and for lookNone
	// where no other is to run. lookFull is when it looks again while as many run as may, or somebody else holds what is due.
	lookEvery = 5 * time.Second
	lookNone  = agenda.Idle
	lookFull  = time.Second
	// lookSoon is the least time between two looks.
	lookSoon = 10 * time.Millisecond
	// failedPause follows an error of the database.
	failedPause = 5 * time.Second
	// compactEvery is how often old values are summed up, compactBatch how many series at a time.
	compactEvery = time.Hour
	compactBatch = 20
	// finishLimit bounds how long a result is tried to be written.
	finishLimit = 10 * time.Second
)

// Config is what a runner needs.
type Config struct {
	Pool   *pgxpool.Pool
	URL    string   // where queries run; "": on the pool's database
	Roles  []string // which they may run under, the first unless a probe says so; none: as the login of URL
	AtOnce int      // how many run at the same time
	Logger *slog.Logger
	Agenda *agenda.Book // shared with the leader's other services; nil: one of its own
}

// Runner runs probes while its process leads.
type Runner struct{ config Config }

// New returns a runner.
func New(config Config) *Runner {
	if config.Agenda == nil {
		config.Agenda = agenda.NewBook(config.Pool)
	}
	return &Runner{config: config}
}

// Lead runs what is due until ctx ends, and then waits for what runs, which ends with it.
func (r *Runner) Lead(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	free, ended := make(chan struct{}, r.config.AtOnce), make(chan struct{}, 1)
	failing := false
	compacted := time.Now().Add(time.Minute - compactEvery) // a new leader begins with what cannot wait
	reader := r.config.Agenda.Reader()
	for ctx.Err() == nil {
		wait, err := r.look(ctx, reader, free, ended, &running)
		if err == nil && time.Since(compacted) > compactEvery {
			compacted = time.Now()
			err = r.Compact(ctx)
		}
		if err != nil {
			if !failing && ctx.Err() == nil {
				r.config.Logger.WarnContext(ctx, "run probes", slog.Any("error", err))
			}
			wait = failedPause
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-ended: // it may be due again soon
			reader.Forget()
		case <-time.After(wait):
		}
	}
}

// look takes what is due, as far as there is room, and returns how long to wait. What it takes tells when it has ended.
func (r *Runner) look(ctx context.Context, reader *agenda.Reader, taken, ended chan struct{}, running *sync.WaitGroup) (time.Duration, error) {
	// A probe is stale only some time after it was due, so while none is due there is no more to ask for.
	page, err := reader.Next(ctx)
	if err != nil {
		return 0, err
	}
	if wait := rest(page); wait > 0 {
		return wait, nil
	}
	if _, err := store.NoteStaleProbes(ctx, r.config.Pool); err != nil {
		return 0, err
	}
	room := cap(taken) - len(taken)
	if room == 0 {
		return lookFull, nil
	}
	claims, err := store.ClaimProbes(ctx, r.config.Pool, room)
	if err != nil {
		return 0, err
	}
	if len(claims) == 0 {
		return lookFull, nil // somebody else holds what is due
	}
	for _, claim := range claims {
		taken <- struct{}{}
		running.Go(func() {
			defer func() {
				<-taken
				select {
				case ended <- struct{}{}:
				default:
				}
			}()
			r.work(ctx, claim)
		})
	}
	reader.Forget()
	if page, err = reader.Next(ctx); err != nil {
		return 0, err
	}
	return max(rest(page), lookSoon), nil
}

// rest is how long to wait for the next probe; zero or less when one is due.
func rest(page *agenda.Page) time.Duration {
	if !page.Probes {
		return max(page.Rest(nil, lookNone), lookSoon)
	}
	if due := page.Rest(&page.ProbeDue, time.Hour); due <= 0 {
		return due
	}
	return max(page.Rest(&page.ProbeDue, lookEvery), lookSoon)
}

// work runs a probe and writes down what came of it. When this process ceases to lead, the next leader begins anew.
func (r *Runner) work(ctx context.Context, claim store.ProbeClaim) {
	logger := r.config.Logger.With(slog.String("probe", claim.Name))
	end := r.attempt(ctx, claim)
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishLimit)
	defer cancel()
	if ctx.Err() != nil {
		if err := store.ReleaseProbe(writing, r.config.Pool, claim.Name, claim.Run); err != nil {
			logger.WarnContext(ctx, "give a probe back", slog.Any("error", err))
		}
		return
	}
	counts, err := store.FinishProbe(writing, r.config.Pool, claim.Name, claim.Run, end)
	switch {
	case err != nil:
		logger.WarnContext(ctx, "write down a probe's result", slog.Any("error", err))
	case !counts:
		logger.InfoContext(ctx, "a probe's result came too late", slog.Int64("run", claim.Run))
	case end.Outcome != OK:
		logger.DebugContext(ctx, "probe ran", slog.String("outcome", end.Outcome), slog.String("detail", end.Detail))
	}
}

func (r *Runner) attempt(ctx context.Context, claim store.ProbeClaim) (end store.ProbeEnd) {
	defer func() {
		if cause := recover(); cause != nil {
			end = failed(fmt.Errorf("a fault of Towpath's own: %v", cause))
		}
	}()
	d, err := Read(claim.Definition)
	if err != nil {
		return failed(err)
	}
	return r.Run(ctx, d)
}

// Compact sums up and deletes what is old.
func (r *Runner) Compact(ctx context.Context) error {
	for last := 0; ; {
		next, err := store.CompactProbes(ctx, r.config.Pool, last, compactBatch)
		if err != nil {
			return err
		}
		if next < 0 {
			return nil
		}
		last = next
	}
}
