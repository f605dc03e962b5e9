package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// promptFinisher is what Towpath's pilot offers beside River's methods: the end of a job at once, instead of with
// River's next batch.
type promptFinisher interface {
	FinishPromptly(schema string, id int64, metadata []byte)
	FailPromptly(schema string, id int64, state rivertype.JobState, failure rivertype.AttemptError, metadata []byte)
}

// finishPromptly has the end of an attempt that succeeded written at once. Nothing may fail the attempt any more: neither
// middleware of the worker or the client, nor River's own around resumable steps, all of which run further in than the
// caller. Where it cannot be done, River's own finish, which follows, has to do.
func (rt *runtime) finishPromptly(ctx context.Context, id int64) {
	if rt.prompt == nil {
		return
	}
	updates, ok := metadataUpdates(ctx)
	if !ok {
		return
	}
	if metadata, ok := encodeUpdates(updates); ok {
		rt.prompt.FinishPromptly(rt.schema, id, metadata)
	}
}

// metadataUpdates returns what the attempt adds to its job's metadata. ctx is the attempt's.
func metadataUpdates(ctx context.Context) (map[string]any, bool) {
	updates, ok := ctx.Value(metadataKey()).(map[string]any)
	return updates, ok
}

func encodeUpdates(updates map[string]any) (metadata []byte, ok bool) {
	if len(updates) == 0 {
		return nil, true
	}
	metadata, err := json.Marshal(updates)
	return metadata, err == nil // else River says so
}

// attemptError is the error that an attempt ends with on its way through River's executor to the failureReporter, with
// what the attempt recorded, which is in no context any more by then. Nobody else gets to see it.
type attemptError struct {
	error
	updates map[string]any
}

func (e *attemptError) Unwrap() error { return e.error }

// failed prepares what River's executor makes of an attempt that ended with an error, which nothing may change any more
// but a cancellation. Where the job is cancelled River asks no error handler, so its end is written from here; whether
// any other failure is final is known once they have answered. ctx is River's.
func (rt *runtime) failed(ctx context.Context, a *attempt, row *rivertype.JobRow, err error) error {
	updates, ok := metadataUpdates(ctx)
	if rt.prompt == nil || !ok || errors.Is(err, errAttemptOver) {
		return err
	}
	if _, ok := err.(manyErrors); ok { // River tells the end of each
		return err
	}
	var (
		cancel *river.JobCancelError
		snooze *river.JobSnoozeError
	)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, river.ErrJobCancelledRemotely): // whatever the error
		rt.recorder.finish(a)
		rt.failPromptly(row, rivertype.JobStateCancelled, cause.Error(), "", updates)
	case errors.As(err, &snooze): // not an end
	case !errors.As(err, &cancel):
		return &attemptError{error: err, updates: updates}
	case cause == nil && !errors.Is(err, context.Canceled): // else River may take it for an interruption by its stop
		rt.recorder.finish(a)
		rt.failPromptly(row, rivertype.JobStateCancelled, err.Error(), "", updates)
	}
	return err
}

// panics keeps what an attempt recorded until the failureReporter is told of its panic, by River's row of the job.
func (rt *runtime) panics(a *attempt, row *rivertype.JobRow) {
	updates, ok := metadataUpdates(a.Context)
	if rt.prompt == nil || !ok || a.over.Load() {
		return
	}
	if _, sound := encodeUpdates(updates); !sound { // River says so, and does not report the panic
		return
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.panicked == nil {
		rt.panicked = make(map[*rivertype.JobRow]map[string]any)
	}
	rt.panicked[row] = updates
}

// panicOf returns what an attempt recorded that panicked, once.
func (rt *runtime) panicOf(row *rivertype.JobRow) (updates map[string]any, ok bool) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	updates, ok = rt.panicked[row]
	delete(rt.panicked, row)
	return updates, ok
}

// failPromptly has the end of a job that failed for good written at once, or leaves it to River, as finishPromptly does.
func (rt *runtime) failPromptly(row *rivertype.JobRow, state rivertype.JobState, text, trace string, updates map[string]any) {
	if metadata, ok := encodeUpdates(updates); ok {
		failure := rivertype.AttemptError{Attempt: row.Attempt, Error: text, Trace: trace}
		rt.prompt.FailPromptly(rt.schema, row.ID, state, failure, metadata)
	}
}

// failureReporter is the client's error handler. River's executor asks it last of all before it decides what becomes of a
// failed job, and decides by its answer and the attempts that the row has left. So a job that has ended by that is known
// here, and its end is written at once. A handler that panics leaves it to River.
type failureReporter struct {
	errorHandlers
	runtime *runtime
}

func (r *failureReporter) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	failed, ok := err.(*attemptError) //nolint:errorlint // River hands on what the middleware returned
	if !ok {
		return r.errorHandlers.HandleError(ctx, job, err)
	}
	result := r.errorHandlers.HandleError(ctx, job, failed.error)
	if state, final := finalState(job, result); final {
		r.runtime.failPromptly(job, state, failed.Error(), "", failed.updates)
	}
	return result
}

func (r *failureReporter) HandlePanic(ctx context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	updates, ok := r.runtime.panicOf(job)
	result := r.errorHandlers.HandlePanic(ctx, job, value, trace)
	if state, final := finalState(job, result); final && ok {
		r.runtime.failPromptly(job, state, fmt.Sprintf("%v", value), trace, updates)
	}
	return result
}

// finalState is the state in which a failure ends a job, if it does, by River's rule.
func finalState(job *rivertype.JobRow, result *river.ErrorHandlerResult) (state rivertype.JobState, final bool) {
	switch {
	case result != nil && result.SetCancelled:
		return rivertype.JobStateCancelled, true
	case job.Attempt >= job.MaxAttempts:
		return rivertype.JobStateDiscarded, true
	default:
		return "", false
	}
}

// metadataKey is the key under which River keeps in a handler's context what the attempt adds to its job's metadata. It is
// the one that RecordOutput asks for.
var metadataKey = sync.OnceValue(func() any {
	asked := &keySpy{Context: context.Background()}
	_ = river.RecordOutput(asked, nil) // an error, since there is nothing under the key
	return asked.key
})

// keySpy is a context that tells which key it was asked for.
type keySpy struct {
	context.Context
	key any
}

// Value has no values.
func (s *keySpy) Value(key any) any {
	s.key = key
	return nil
}
