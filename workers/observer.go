package workers

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// Observer is told of the attempts of a process: when each begins, and how it ended once its error was classified. What
// happens to a job elsewhere, such as the rescue of a dead process's jobs, it does not see; the counters of the database
// do.
//
// Its methods are called on the goroutines of the jobs. They must not block and not keep the row.
type Observer interface {
	AttemptBegan(job *rivertype.JobRow)
	// AttemptEnded gets one of the outcomes succeeded, retried, discarded, snoozed, interrupted and cancelled.
	AttemptEnded(job *rivertype.JobRow, outcome string, ran time.Duration)
}

// The outcomes of an attempt.
const (
	OutcomeSucceeded   = "succeeded"
	OutcomeRetried     = "retried"
	OutcomeDiscarded   = "discarded"
	OutcomeSnoozed     = "snoozed"
	OutcomeInterrupted = "interrupted"
	OutcomeCancelled   = "cancelled"
)

// observed tells the observer of an attempt, one that panics included.
func (rt *runtime) observed(ctx context.Context, a *attempt, row *rivertype.JobRow, work func() error) (err error) {
	rt.observer.AttemptBegan(row)
	panicked := true
	defer func() {
		if !a.over.Load() { // else it was ended before, and told
			rt.observer.AttemptEnded(row, outcomeOf(ctx, row, err, panicked), time.Since(a.begun))
		}
	}()
	err = work()
	panicked = false
	return err
}

// outcomeOf is how River will end an attempt whose error is classified.
func outcomeOf(ctx context.Context, row *rivertype.JobRow, err error, panicked bool) string {
	var (
		cancel *river.JobCancelError
		snooze *river.JobSnoozeError
	)
	if many, ok := err.(manyErrors); ok {
		err = many.ErrorsByID()[row.ID]
	}
	switch {
	case err == nil && !panicked:
		return OutcomeSucceeded
	case errors.Is(context.Cause(ctx), river.ErrJobCancelledRemotely), errors.As(err, &cancel):
		return OutcomeCancelled
	case errors.As(err, &snooze):
		return OutcomeSnoozed
	case !panicked && interrupted(ctx) && errors.Is(err, context.Canceled):
		return OutcomeInterrupted
	case row.Attempt >= row.MaxAttempts:
		return OutcomeDiscarded
	default:
		return OutcomeRetried
	}
}

// observeForced tells the observer of an attempt that was ended while its handler runs.
func (a *attempt) observeForced(end *riverdriver.JobSetStateIfRunningParams) {
	if a.runtime.observer == nil {
		return
	}
	outcome := OutcomeRetried
	switch {
	case end.State == rivertype.JobStateCancelled:
		outcome = OutcomeCancelled
	case end.State == rivertype.JobStateDiscarded:
		outcome = OutcomeDiscarded
	case end.ErrData == nil:
		outcome = OutcomeInterrupted
	}
	a.runtime.observer.AttemptEnded(&a.row, outcome, time.Since(a.begun))
}
