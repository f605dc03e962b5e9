package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// notifyChannel is nobody's but the doctor's.
	notifyChannel = "towpath_doctor"
	// notifyLimit is how long a notification to ourselves may take.
	notifyLimit = 3 * time.Second
)

// lookAtNotify finds notifications that do not arrive, and a queue of them that somebody does not read.
func lookAtNotify(ctx context.Context, e *examination) error {
	var usage float64
	if err := e.pool.QueryRow(ctx, `SELECT pg_notification_queue_usage()`).Scan(&usage); err != nil {
		return err
	}
	if usage > e.options.QueueUsage {
		e.find(Warning, fmt.Sprintf("the server's queue of notifications is %.2g%% full: when it is, every commit that notifies fails", usage*100), "server",
			"SELECT pid, application_name, xact_start FROM pg_stat_activity WHERE xact_start < now() - interval '1 minute' ORDER BY xact_start;"+
				"   -- end the oldest, which has LISTENed")
	}
	if e.options.NotifyOff {
		return nil
	}
	reached, err := e.reach(ctx)
	if err != nil || reached {
		return err
	}
	e.find(Warning, fmt.Sprintf("a notification did not reach this program within %s, so a pooler in transaction mode may stand between: waiting workers are not woken",
		notifyLimit), "connection", "TOWPATH_DATABASE_NOTIFY=off, or a connection string that leads to the server itself")
	return nil
}

// reach sends a notification to ourselves and reports whether it arrives. The connection is given up afterwards: what
// a session was left LISTENing to must not meet the next user of a pooler's connection.
func (e *examination) reach(ctx context.Context) (bool, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	own := conn.Hijack()
	defer func() {
		_, _ = own.Exec(context.WithoutCancel(ctx), "UNLISTEN "+notifyChannel) // closing does it as well, but for a pooler
		_ = own.Close(context.WithoutCancel(ctx))
	}()
	if _, err := own.Exec(ctx, "LISTEN "+notifyChannel); err != nil {
		return false, nil // a proxy that refuses LISTEN is what this looks for
	}
	token := rand.Text()
	if _, err := e.pool.Exec(ctx, `SELECT pg_notify($1, $2)`, notifyChannel, token); err != nil {
		return false, err
	}
	return await(ctx, own, token)
}

func await(ctx context.Context, conn *pgx.Conn, token string) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, notifyLimit)
	defer cancel()
	for {
		notification, err := conn.WaitForNotification(limited)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return false, nil
		case err != nil:
			return false, err
		case notification.Payload == token:
			return true, nil
		}
	}
}
