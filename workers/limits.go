package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/store"
)

const (
	// softShare is the soft limit's part of the hard one.
	softShare = 0.8

	// settleLimit bounds how long the end of a stuck attempt is tried to be written, and so how long its slot stays
	// taken while the database is away.
	settleLimit      = 10 * time.Second
	settleRetryPause = 250 * time.Millisecond

	// promptRetry is how near a retry has to be to need no scheduler: River's scheduler runs that often, and River's own
	// executor draws the line there.
	promptRetry = 5 * time.Second
)

// SoftLimit returns a channel that is closed when the attempt passes its soft time limit, to save what is done and to
// return an error or river.JobSnooze before the hard limit cancels the context. It never closes when there is no limit;
// outside a job it is nil.
func SoftLimit(ctx context.Context) <-chan struct{} {
	if a := attemptOf(ctx); a != nil {
		return a.soft
	}
	return nil
}

// watchSoftLimit starts the clock of the soft limit and returns what stops it.
func (a *attempt) watchSoftLimit(ctx context.Context) (stop func()) {
	limit := a.settings.softLimit
	if limit == 0 {
		deadline, ok := ctx.Deadline()
		if !ok {
			return func() {}
		}
		limit = time.Duration(float64(time.Until(deadline)) * softShare)
	}
	timer := time.AfterFunc(limit, func() {
		if ctx.Err() != nil {
			return
		}
		close(a.soft)
		a.note(store.JobEvent{
			Event: store.EventSoftLimit, Level: slog.LevelWarn.String(),
			Message: fmt.Sprintf("soft time limit of %s passed", limit.Round(time.Millisecond)),
		})
		a.runtime.logger.LogAttrs(ctx, slog.LevelWarn, "job passed its soft time limit",
			append(a.identity(), slog.Duration("soft_limit", limit))...)
	})
	return func() { timer.Stop() }
}

// stuck is called by River when a handler has not returned for some time after its context was cancelled. It ends the
// attempt as failed and gives the slot to others.
//
// The statement that ends it is the pilot's, fenced by the attempt: it changes nothing when the job has ended otherwise,
// and from then on nothing that belongs to this attempt changes the job: the handler's late return writes nothing, and
// its CompleteTx fails, so that its transaction rolls back.
func (r *Runner) stuck(ctx context.Context, params river.JobStuckHandlerParams) river.JobStuckHandlerResult {
	result := river.JobStuckHandlerResult{AddWorkerSlot: true}
	if r.onStuck != nil {
		r.onStuck(ctx, params)
	}
	a := attemptOf(ctx)
	if a == nil || !a.over.CompareAndSwap(false, true) {
		return result
	}
	trace := handlerStack(a.row.ID)
	ended, err := r.endRetrying(ctx, a, a.failure(ctx, r.errorHandlers, trace))
	switch {
	case err != nil:
		// The row still says running, and the handler's own end is as good as any.
		a.over.Store(false)
		r.runtime.logger.LogAttrs(ctx, slog.LevelError, "stuck job could not be ended",
			append(a.identity(), slog.String("error", err.Error()))...)
		return result
	case !ended:
		return result
	}
	a.note(store.JobEvent{Event: store.EventStuck, Level: slog.LevelError.String(), Message: ErrStuck.Error(), Attrs: stackAttrs(trace)})
	r.runtime.logger.LogAttrs(ctx, slog.LevelError, "job is stuck; its attempt was ended", a.identity()...)
	return result
}

// failure is the end of a stuck attempt: discarded after the last one, else retried as after any other error.
func (a *attempt) failure(ctx context.Context, handlers errorHandlers, trace string) *riverdriver.JobSetStateIfRunningParams {
	row := a.row
	if a.settings.isLast(ErrStuck) {
		row.MaxAttempts = row.Attempt
	}
	now := time.Now()
	// Of these types the encoder refuses nothing.
	errData, _ := json.Marshal(rivertype.AttemptError{At: now, Attempt: row.Attempt, Error: ErrStuck.Error(), Trace: trace})
	if result := handlers.HandleError(ctx, &row, ErrStuck); result.SetCancelled {
		return riverdriver.JobSetStateCancelled(row.ID, now, errData, nil)
	}
	if row.Attempt >= row.MaxAttempts {
		return riverdriver.JobSetStateDiscarded(row.ID, now, errData, nil)
	}
	at := a.retryAt(now)
	if at.Sub(now) <= promptRetry {
		return riverdriver.JobSetStateErrorAvailable(row.ID, at, errData, nil)
	}
	return riverdriver.JobSetStateErrorRetryable(row.ID, at, errData, nil)
}

// retryAt is when the job is due again after a failure now.
func (a *attempt) retryAt(now time.Time) time.Time {
	if next := a.nextRetry.Load(); next != nil {
		if at := (*next)(); at.After(now) {
			return at
		}
	}
	return a.runtime.retryPolicy.NextRetry(&a.row)
}

// attemptEnder is what Towpath's pilot offers beside River's methods: the end of an attempt whose handler has not
// returned. What River's executor uses would make the pilot believe that the handler has.
type attemptEnder interface {
	EndAttempt(ctx context.Context, exec riverdriver.Executor, schema string, attemptedAt time.Time, params *riverdriver.JobSetStateIfRunningParams) (bool, error)
}

// end ends an attempt whose handler has not returned. It reports whether it was still to be ended.
func (r *Runner) end(ctx context.Context, a *attempt, params *riverdriver.JobSetStateIfRunningParams) (bool, error) {
	ender := r.client.Pilot().(attemptEnder) //nolint:forcetypeassert // the client has our driver, whose pilot is ours
	ended, err := ender.EndAttempt(ctx, r.client.Driver().GetExecutor(), r.client.Schema(), *a.row.AttemptedAt, params)
	if err != nil {
		return false, fmt.Errorf("end attempt %d of job %d: %w", a.row.Attempt, a.row.ID, err)
	}
	return ended, nil
}

func (r *Runner) endRetrying(ctx context.Context, a *attempt, params *riverdriver.JobSetStateIfRunningParams) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		ended, err := r.end(ctx, a, params)
		if err == nil {
			return ended, nil
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(settleRetryPause):
		}
	}
}

// handBack ends the attempts that are still running when the process has to go, as if they had not begun. It returns
// how many there were.
func (r *Runner) handBack(ctx context.Context) (int, error) {
	var failed error
	handed := 0
	for _, a := range r.runtime.attempts() {
		if !a.over.CompareAndSwap(false, true) {
			continue
		}
		ended, err := r.end(ctx, a, riverdriver.JobSetStateInterrupted(a.row.ID, time.Now(), max(a.row.Attempt-1, 0), nil))
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if ended {
			handed++
			r.runtime.logger.LogAttrs(ctx, slog.LevelWarn, "job ignored cancellation and was handed back", a.identity()...)
		}
	}
	return handed, failed
}
