package jobs

import (
	"context"
	"slices"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// alone marks the context of an insert in whose transaction nothing else happens.
func (c *Client) alone(ctx context.Context) context.Context {
	if c.sole == nil {
		return ctx
	}
	return c.sole(ctx)
}

// hasInsertMiddleware reports whether something runs around the inserts of a client and could fail after them.
func hasInsertMiddleware(config *river.Config) bool {
	return len(config.JobInsertMiddleware) > 0 || //nolint:staticcheck // while River has it
		slices.ContainsFunc(config.Middleware, isInsertMiddleware[rivertype.Middleware]) ||
		slices.ContainsFunc(config.Plugins, isInsertMiddleware[rivertype.Plugin])
}

func isInsertMiddleware[T any](plugin T) bool {
	_, ok := any(plugin).(rivertype.JobInsertMiddleware)
	return ok
}
