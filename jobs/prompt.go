package jobs

import (
	"context"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/pilot"
	"github.com/towpath/towpath/jobs/driver"
)

// promptFinish has the ends of jobs that succeeded written at once instead of with River's next batch. It has to be the
// outermost middleware: what is nil here is the end of the attempt. A worker's own middleware runs further out still;
// package workers, which puts one around every worker, takes the finish over (see pilot.PromptLater).
type promptFinish struct{ river.MiddlewareDefaults }

// finishPromptly puts the middleware around all others.
func finishPromptly(rc *river.Config) {
	if len(rc.WorkerMiddleware) > 0 { // River takes either this or Middleware
		rc.WorkerMiddleware = append([]rivertype.WorkerMiddleware{&promptFinish{}}, rc.WorkerMiddleware...)
		return
	}
	if len(rc.JobInsertMiddleware) > 0 {
		rc.WorkerMiddleware = []rivertype.WorkerMiddleware{&promptFinish{}}
		return
	}
	rc.Middleware = append([]rivertype.Middleware{&promptFinish{}}, rc.Middleware...)
}

// Work implements river's worker middleware.
func (*promptFinish) Work(ctx context.Context, row *rivertype.JobRow, inner func(context.Context) error) error {
	if err := inner(ctx); err != nil {
		return err
	}
	pilot.PromptNow(ctx, func() {
		// An error means that River's own finish, which follows, has to do.
		_, _ = river.JobCompleteTx[*driver.Driver](ctx, pilot.PromptTx, &river.Job[anyArgs]{JobRow: row})
	})
	return nil
}

// anyArgs are args that nobody looks at.
type anyArgs struct{}

// Kind is never asked for.
func (anyArgs) Kind() string { return "" }

// UnmarshalJSON accepts everything.
func (*anyArgs) UnmarshalJSON([]byte) error { return nil }
