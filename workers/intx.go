package workers

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/jobs"
)

// InTx returns what River's rivertest needs to work a job of type T inside tx as a Runner would work it: the client's
// configuration and the bundle's worker with the settings of its kind. What the job logs is written to tx when its
// handler has returned. It is there for package workerstest.
func InTx[T river.JobArgs](bundle *Bundle, tx pgx.Tx, config jobs.Config) (*river.Config, river.Worker[T], error) {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.Hooks = append(config.Hooks, bundle.hooks...)
	config.Middleware = append(config.Middleware, bundle.middleware...)
	rc := config.River()
	recorder := newRecorder(rc.Logger, func(ctx context.Context, events []store.JobEvent) error {
		return store.InsertJobEvents(ctx, tx, events)
	})
	recorder.direct = true
	rt := newRuntime(tx, recorder, rc.Logger, nil)
	rt.retryPolicy = rc.RetryPolicy

	var args T
	worker, ok := bundle.worker(args.Kind(), rt).(river.Worker[T])
	if !ok {
		return nil, nil, fmt.Errorf("work a job of kind %q: the bundle has no worker for type %T", args.Kind(), args)
	}
	return rc, worker, nil
}
