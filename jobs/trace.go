package jobs

import (
	"context"
	"slices"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/riverqueue/rivercontrib/otelriver"
	"go.opentelemetry.io/otel/trace"
)

// insertTracer makes inserts spans of the trace that their context belongs to, and has the jobs carry it in their metadata
// (W3C's traceparent). An insert that belongs to no trace costs a look into its context.
type insertTracer struct {
	river.MiddlewareDefaults
	inner *otelriver.Middleware
}

// InsertMany implements River's middleware.
func (t *insertTracer) InsertMany(ctx context.Context, params []*rivertype.JobInsertParams, insert func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return insert(ctx)
	}
	return t.inner.InsertMany(ctx, params, insert)
}

// traceInserts adds the tracer, unless River's own is there already and does it.
func traceInserts(middleware []rivertype.Middleware) []rivertype.Middleware {
	for _, m := range middleware {
		if _, ours := m.(*otelriver.Middleware); ours {
			return middleware
		}
	}
	return append(slices.Clone(middleware), &insertTracer{inner: otelriver.NewMiddleware(&otelriver.MiddlewareConfig{EnableTracePropagation: true})})
}
