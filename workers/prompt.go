package workers

import (
	"context"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/pilot"
	"github.com/towpath/towpath/jobs/driver"
)

// finishPromptly has the end of an attempt that succeeded written at once instead of with River's next batch. Nothing
// may fail the attempt any more: neither middleware of the worker or the client, nor River's own around resumable steps,
// all of which run further in than the caller.
func finishPromptly(ctx context.Context, row *rivertype.JobRow) {
	// An error means that River's own finish, which follows, has to do.
	_, _ = river.JobCompleteTx[*driver.Driver](ctx, pilot.PromptTx, &river.Job[anyArgs]{JobRow: row})
}

// anyArgs are args that nobody looks at.
type anyArgs struct{}

// Kind is never asked for.
func (anyArgs) Kind() string { return "" }

// UnmarshalJSON accepts everything.
func (*anyArgs) UnmarshalJSON([]byte) error { return nil }
