package migrate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockName names the advisory lock of everyone who changes the schema.
const lockName = "towpath migrate"

// How long to wait between two tries: for the other process, and after a lock timeout.
const (
	pollLock   = 200 * time.Millisecond
	pauseLeast = 300 * time.Millisecond
	pauseMost  = 3 * time.Second
)

// alone runs change while no other process changes the schema.
//
// The lock is an advisory lock of a transaction, on a connection of its own that does nothing else. So it lives and
// dies with that transaction: a pooler in transaction mode keeps the server's connection for as long as it is open,
// and a killed process leaves nothing behind. Those who wait ask again and again (pg_try_…) from transactions that
// they end at once. Waiting inside a statement would hold a snapshot, and the holder's CREATE INDEX CONCURRENTLY
// waits for every older snapshot, the waiters' too: a deadlock that Postgres cannot see, because the holder's two
// connections are strangers to it. The holder itself is idle in READ COMMITTED, has no snapshot, and bothers nobody;
// that takes the simple protocol, since the extended one leaves a portal, with its snapshot, open behind a query.
//
// The lock saves work and noise; safety does not rest on it. Every migration commits together with its row in
// river_migration, whose primary key admits one. If the connection with the lock is lost and a second process starts,
// one of the two fails on a key or on an object that is there or gone already, rolls back, and finds that the
// migration has been applied: every step asks that before it fails.
func (m *Migrator) alone(ctx context.Context, change func(context.Context) error) error {
	conn, err := pgx.ConnectConfig(ctx, m.pool.Config().ConnConfig)
	if err != nil {
		return fmt.Errorf("connect to take the migration lock: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))

	tx, err := m.waitForLock(ctx, conn)
	if err != nil {
		return fmt.Errorf("wait for another process that migrates: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	return change(ctx)
}

func (m *Migrator) waitForLock(ctx context.Context, conn *pgx.Conn) (pgx.Tx, error) {
	start, told := time.Now(), time.Time{}
	for {
		tx, got, err := tryLock(ctx, conn)
		if err != nil || got {
			return tx, err
		}
		if now := time.Now(); now.Sub(told) > 5*time.Second {
			m.report(fmt.Sprintf("waiting for another process that migrates (%s)", now.Sub(start).Round(time.Second)))
			told = now
		}
		if err := pause(ctx, pollLock); err != nil {
			return nil, err
		}
	}
}

// readCommitted is said outright: a role may have another default, under which an idle transaction keeps its snapshot.
var readCommitted = pgx.TxOptions{IsoLevel: pgx.ReadCommitted}

// tryLock begins a transaction that holds the lock, or ends it when it cannot have it.
func tryLock(ctx context.Context, conn *pgx.Conn) (pgx.Tx, bool, error) {
	tx, err := conn.BeginTx(ctx, readCommitted)
	if err != nil {
		return nil, false, err
	}
	// Providers end transactions that idle; ours idles on purpose while the migrations run beside it.
	_, err = tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0")
	got := false
	if err == nil {
		err = tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))",
			pgx.QueryExecModeSimpleProtocol, lockName).Scan(&got)
	}
	if err != nil || !got {
		rollback := tx.Rollback(context.WithoutCancel(ctx))
		if sqlState(err) == "0A000" {
			// A server without advisory locks: retry's reasoning has to do. Any transaction serves as the token.
			tx, err = conn.BeginTx(ctx, readCommitted)
			return tx, err == nil, err
		}
		return nil, false, errors.Join(err, rollback)
	}
	return tx, true, nil
}

// retry runs step again for as long as it fails because others were in the way. A step must find out itself what is
// left to do.
func (m *Migrator) retry(ctx context.Context, step func(context.Context) error) error {
	start, told := time.Now(), time.Time{}
	for attempt := 1; ; attempt++ {
		err := step(ctx)
		reason := inTheWay(err)
		if reason == "" {
			return err
		}
		now := time.Now()
		if now.Sub(start) > m.giveUp {
			return fmt.Errorf("give up after %d tries in %s: %w", attempt, now.Sub(start).Round(time.Second), err)
		}
		if now.Sub(told) > 5*time.Second {
			m.report(fmt.Sprintf("%s; trying again (%s)", reason, now.Sub(start).Round(time.Second)))
			told = now
		}
		// The longer it lasts, the longer the queue has the table for itself in between.
		most := min(pauseMost, pauseLeast*time.Duration(attempt))
		if err := pause(ctx, most/2+rand.N(most/2)); err != nil {
			return err
		}
	}
}

// inTheWay says why a later try may succeed, or "" when none would.
func inTheWay(err error) string {
	switch sqlState(err) {
	case "55P03": // lock_not_available
		return "a table is in use"
	case "40P01", "40001": // deadlock_detected, serialization_failure
		return "another transaction was in the way"
	default:
		return ""
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
