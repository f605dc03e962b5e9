package pilot

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// lifelinePatience is how long a beat waits for a connection of the pool.
const lifelinePatience = time.Second

// lifeline gets beats through. Handlers that keep all connections of the pool busy must not make their process look
// dead: a beat that finds none free goes by a connection of its own, which is kept until the pool has room again. It is
// used by one goroutine.
type lifeline struct {
	pool  *pgxpool.Pool
	spare *pgx.Conn
}

// run calls fn with a connection. Without a pool it is db.
func (l *lifeline) run(ctx context.Context, db querier, fn func(querier) error) error {
	if l.pool == nil {
		return fn(db)
	}
	waitCtx, cancel := context.WithTimeout(ctx, lifelinePatience)
	conn, err := l.pool.Acquire(waitCtx)
	cancel()
	switch {
	case err == nil:
		defer conn.Release()
		l.close()
		return fn(conn)
	case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
		return err
	}
	if l.spare == nil || l.spare.IsClosed() {
		if l.spare, err = l.dial(ctx); err != nil {
			return err
		}
	}
	return fn(l.spare)
}

// dial opens a connection as the pool would.
func (l *lifeline) dial(ctx context.Context) (*pgx.Conn, error) {
	config := l.pool.Config()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil || config.AfterConnect == nil {
		return conn, err
	}
	if err := config.AfterConnect(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

// close lets the spare connection go.
func (l *lifeline) close() {
	if l.spare == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lifelinePatience)
	defer cancel()
	_ = l.spare.Close(ctx) // it is of no use any more, however it ends
	l.spare = nil
}
