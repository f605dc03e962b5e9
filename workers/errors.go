package workers

import (
	"context"
	"errors"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ErrStuck is the failure of an attempt whose handler went on long after its time limit.
var ErrStuck = errors.New("the handler ignored its time limit")

// errAttemptOver is what a handler's return comes to when its attempt had been ended before.
var errAttemptOver = errors.New("the attempt was over before its handler returned")

// Permanent marks an error that no retry can mend: the job is discarded at once, whatever attempts it has left. The mark
// is seen through wrapping, and errors.Is and errors.As see through it. Permanent(nil) is nil.
//
// A job that should not have been there at all is rather cancelled: river.JobCancel.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err: err}
}

// IsPermanent reports whether an error carries the mark of Permanent.
func IsPermanent(err error) bool {
	var permanent *permanentError
	return errors.As(err, &permanent)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// interruptedError is an error that a handler returned because the process stops, without saying so in a way that River
// understands. River hands a job back without using up an attempt when the error is a context.Canceled.
type interruptedError struct{ err error }

func (e *interruptedError) Error() string   { return e.err.Error() }
func (e *interruptedError) Unwrap() []error { return []error{e.err, context.Canceled} }

// manyErrors is what River takes from the handler of a batch: the ends of several jobs.
type manyErrors interface {
	Jobs() []*rivertype.JobRow
	ErrorsByID() map[int64]error
}

// classify turns the handler's error into what River has to see, and makes this attempt the last one where no further
// one would help. ctx is the attempt's without its time limit.
//
// River's executor discards a failed job when row.Attempt has reached row.MaxAttempts, so that is what is changed, in
// memory: the stored row keeps its max_attempts, a retry by hand works as after any other discarding, and error handlers
// see that this was the last attempt. Cancelling, River's other way to end a job at once, would be a lie in the history.
func (a *attempt) classify(ctx context.Context, row *rivertype.JobRow, err error) error {
	if err == nil {
		if a.over.Load() {
			return errAttemptOver
		}
		return nil
	}
	if a.over.Load() {
		return errors.Join(errAttemptOver, err)
	}
	if many, ok := err.(manyErrors); ok { // River looks no deeper either
		byID := many.ErrorsByID()
		for _, one := range many.Jobs() {
			if oneErr := byID[one.ID]; oneErr != nil && a.settings.isLast(oneErr) {
				one.MaxAttempts = one.Attempt
			}
		}
		return err
	}
	if IsPermanent(err) {
		row.MaxAttempts = row.Attempt
		return err
	}
	if decided(err) {
		return err
	}
	if interrupted(ctx) {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return &interruptedError{err: err}
	}
	if a.settings.isLast(err) {
		row.MaxAttempts = row.Attempt
	}
	return err
}

// isLast reports whether a failure with this error ends the job.
func (s *settings) isLast(err error) bool {
	if IsPermanent(err) {
		return true
	}
	return s.retryIf != nil && !decided(err) && !s.retryIf(err)
}

// decided reports whether the handler itself has said what becomes of the job.
func decided(err error) bool {
	var cancel *river.JobCancelError
	var snooze *river.JobSnoozeError
	return errors.As(err, &cancel) || errors.As(err, &snooze)
}

// interrupted reports whether the attempt's context was cancelled because the process stops, and not by an operator who
// cancelled the job.
func interrupted(ctx context.Context) bool {
	return errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), river.ErrJobCancelledRemotely)
}

// errorHandlers tells several handlers of a failure.
type errorHandlers []river.ErrorHandler

func (h errorHandlers) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if errors.Is(err, errAttemptOver) {
		return nil // they were told when it was ended
	}
	return h.each(func(handler river.ErrorHandler) *river.ErrorHandlerResult { return handler.HandleError(ctx, job, err) })
}

func (h errorHandlers) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	return h.each(func(handler river.ErrorHandler) *river.ErrorHandlerResult {
		return handler.HandlePanic(ctx, job, value, trace)
	})
}

func (h errorHandlers) each(tell func(river.ErrorHandler) *river.ErrorHandlerResult) *river.ErrorHandlerResult {
	var all river.ErrorHandlerResult
	for _, handler := range h {
		if result := tell(handler); result != nil && result.SetCancelled {
			all.SetCancelled = true
		}
	}
	return &all
}
