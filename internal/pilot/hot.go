package pilot

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// planAge is how long a connection keeps the plan of a hot statement. To parse and plan one takes Postgres a millisecond
// and more, which is most of what a small batch costs. But a plan that was made while a table was empty reads all of it,
// and would go on doing so however large it has become; so no plan lives for long.
//
// The hot statements are written so that a plan made without looking at the parameters is as good as one that was made
// for them: what they hold by thousands reaches the tables through arrays and limits that the planner cannot see in
// either case.
const planAge = 15 * time.Second

// hot runs one of the statements that most of the work is made of and reads its rows. On a pool it is prepared; in
// somebody's transaction, and where the pool's mode says that statements must not be prepared, it is planned each time.
func (x *Executor) hot(ctx context.Context, s statement, schema string, args []any, read func(rows pgx.Rows) error) error {
	pool, ok := x.db.(*pgxpool.Pool)
	if !ok || !x.storage.prepares() {
		return x.once(ctx, x.db, s, schema, args, read)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return riverError(err)
	}
	defer conn.Release()
	sql := s.in(schema)
	if err := prepare(ctx, conn.Conn(), sql); err != nil {
		return riverError(err)
	}
	rows, err := conn.Query(ctx, sql, args...)
	if err == nil {
		err = read(rows)
	}
	if err == nil {
		return nil
	}
	if !lostPlan(err) {
		return riverError(err)
	}
	if err := forget(ctx, conn.Conn(), sql); err != nil {
		return riverError(err)
	}
	return x.once(ctx, conn, s, schema, args, read)
}

// once runs a statement that is planned for this time.
func (x *Executor) once(ctx context.Context, db querier, s statement, schema string, args []any, read func(rows pgx.Rows) error) error {
	rows, err := db.Query(ctx, s.in(schema), x.storage.unnamed(args...)...)
	if err != nil {
		return riverError(err)
	}
	return riverError(read(rows))
}

// plans are the hot statements that a connection has prepared, and when.
type plans map[string]time.Time

// plansKey is where a connection keeps its plans.
const plansKey = "towpath.plans"

func plansOf(conn *pgx.Conn) plans {
	data := conn.PgConn().CustomData()
	kept, ok := data[plansKey].(plans)
	if !ok {
		kept = make(plans)
		data[plansKey] = kept
	}
	return kept
}

// forget takes back the preparation of a statement.
func forget(ctx context.Context, conn *pgx.Conn, sql string) error {
	delete(plansOf(conn), sql)
	return conn.Deallocate(ctx, sql)
}

// prepare makes sure that a connection has prepared a statement, not too long ago.
func prepare(ctx context.Context, conn *pgx.Conn, sql string) error {
	kept := plansOf(conn)
	prepared, ok := kept[sql]
	if ok && time.Since(prepared) < planAge {
		return nil
	}
	if ok {
		if err := forget(ctx, conn, sql); err != nil {
			return err
		}
	}
	if _, err := conn.Prepare(ctx, sql, sql); err != nil {
		return err
	}
	kept[sql] = time.Now()
	return nil
}

// lostPlan reports whether a statement was refused before it did anything, because its preparation no longer holds:
// somebody discarded it, or a migration has changed what it returns.
func lostPlan(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (pgErr.Code == "26000" || pgErr.Code == "0A000")
}
