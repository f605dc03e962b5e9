package pilot_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/towpath/towpath/internal/pilot"
)

// ear is a pool that calls a function before each statement of ours.
type ear struct {
	*pgxpool.Pool
	before func(ctx context.Context, sql string, args []any)
}

func (e ear) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	e.before(ctx, sql, args)
	return e.Pool.Exec(ctx, sql, args...)
}

func (e ear) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	e.before(ctx, sql, args)
	return e.Pool.Query(ctx, sql, args...)
}

func (e ear) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	e.before(ctx, sql, args)
	return e.Pool.QueryRow(ctx, sql, args...)
}

// overheard returns an executor whose statements call the function first.
func (r *rig) overheard(before func(ctx context.Context, sql string, args []any)) *pilot.Executor {
	storage := pilot.NewStorage(r.pool.Config().ConnConfig.DefaultQueryExecMode, func() bool { return true })
	return pilot.NewExecutor(riverpgxv5.New(r.pool).GetExecutor(), ear{r.pool, before}, storage)
}

// interrupted is overheard by somebody who cares for the statement only.
func (r *rig) interrupted(before func(ctx context.Context, sql string)) *pilot.Executor {
	return r.overheard(func(ctx context.Context, sql string, _ []any) { before(ctx, sql) })
}
