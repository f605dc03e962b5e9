package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/store"
)

const (
	// settleLimit bounds how long the end of a stuck attempt is tried to be written, and so how long its slot stays
	// taken while the database is away.
	settleLimit      = 10 * time.Second
	settleRetryPause = 250 * time.Millisecond

	// promptRetry is how near a retry has to be to need no scheduler: River's scheduler runs that often, and River's own
	// executor draws the line there.
	promptRetry = 5 * time.Second
)

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
	trace := a.seat.stack()
	end := a.failure(ctx, r.errorHandlers, trace)
	ended, err := r.endRetrying(ctx, a, end)
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
	a.observeForced(end)
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
	a.retry.Lock()
	question := a.retry.question
	a.retry.Unlock()
	if question != nil {
		if at := question.nextRetry(); at.After(now) {
			return at
		}
	}
	return a.runtime.retryPolicy.NextRetry(&a.row)
}

// attemptEnder is what Towpath's pilot offers beside River's methods: the end of attempts whose handlers have not
// returned. What River's executor uses would make the pilot believe that they have.
type attemptEnder interface {
	EndAttempts(ctx context.Context, exec riverdriver.Executor, attemptedAt []time.Time, params *riverdriver.JobSetStateIfRunningManyParams) ([]int64, error)
}

// endAll ends attempts whose handlers have not returned. It returns the ids of those that were still to be ended.
func (r *Runner) endAll(ctx context.Context, attempts []*attempt, ends []*riverdriver.JobSetStateIfRunningParams) ([]int64, error) {
	tokens := make([]time.Time, len(ends))
	many := &riverdriver.JobSetStateIfRunningManyParams{Schema: r.client.Schema()}
	for i, end := range ends {
		tokens[i] = *attempts[i].row.AttemptedAt
		many.ID = append(many.ID, end.ID)
		many.Attempt = append(many.Attempt, end.Attempt)
		many.ErrData = append(many.ErrData, end.ErrData)
		many.FinalizedAt = append(many.FinalizedAt, end.FinalizedAt)
		many.MetadataDoMerge = append(many.MetadataDoMerge, end.MetadataDoMerge)
		many.MetadataUpdates = append(many.MetadataUpdates, end.MetadataUpdates)
		many.ScheduledAt = append(many.ScheduledAt, end.ScheduledAt)
		many.State = append(many.State, end.State)
	}
	ender := r.client.Pilot().(attemptEnder) //nolint:forcetypeassert // the client has our driver, whose pilot is ours
	return ender.EndAttempts(ctx, r.client.Driver().GetExecutor(), tokens, many)
}

// end ends an attempt whose handler has not returned. It reports whether the attempt was still to be ended.
func (r *Runner) end(ctx context.Context, a *attempt, params *riverdriver.JobSetStateIfRunningParams) (bool, error) {
	ended, err := r.endAll(ctx, []*attempt{a}, []*riverdriver.JobSetStateIfRunningParams{params})
	if err != nil {
		return false, fmt.Errorf("end attempt %d of job %d: %w", a.row.Attempt, a.row.ID, err)
	}
	return len(ended) > 0, nil
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

// handBackBatch is how many attempts one statement hands back.
const handBackBatch = 500

// handBack ends the attempts that are still running when the process has to go, as if they had not begun. It returns
// how many there were.
func (r *Runner) handBack(ctx context.Context) (handed int, failed error) {
	attempts := r.runtime.attempts()
	attempts = slices.DeleteFunc(attempts, func(a *attempt) bool { return !a.over.CompareAndSwap(false, true) })
	for batch := range slices.Chunk(attempts, handBackBatch) {
		ends := make([]*riverdriver.JobSetStateIfRunningParams, len(batch))
		for i, a := range batch {
			ends[i] = riverdriver.JobSetStateInterrupted(a.row.ID, time.Now(), max(a.row.Attempt-1, 0), nil)
		}
		ended, err := r.endAll(ctx, batch, ends)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("hand back %d jobs: %w", len(batch), err))
			continue
		}
		handed += len(ended)
		for i, a := range batch {
			if slices.Contains(ended, a.row.ID) {
				a.observeForced(ends[i])
				r.runtime.logger.LogAttrs(ctx, slog.LevelWarn, "job ignored cancellation and was handed back", a.identity()...)
			}
		}
	}
	return handed, failed
}
