// Package store holds the SQL of the Go side that is not the pilot's. Every function takes its handle, a pool or a
// transaction, so that nothing escapes its caller's transaction; none keeps state.
//
// A statement lies in queries, in the file of its topic, with its schema spelled out; sqlc makes a method of it and the
// types of its rows, and checks it against testdata/schema.sql. The function beside it is what other packages call: it
// says in its error what was tried. What sqlc does not know it is told by a cast: that an expression, or a column of a
// function, is never NULL.
package store

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:generate go tool -modfile=../tools/go.mod sqlc generate -f ../../sqlc.yaml

// DB is what statements run on: *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type DB = DBTX

var queries = New()

// inSchema is a handle whose statements name another schema than the one that they are written with. It is for what
// serves any River client on our driver, whatever its Config.Schema.
type inSchema struct {
	db     DB
	schema string
}

func (s inSchema) sql(sql string) string {
	return strings.ReplaceAll(sql, "towpath.", pgx.Identifier{s.schema}.Sanitize()+".")
}

// Exec implements DB.
func (s inSchema) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return s.db.Exec(ctx, s.sql(sql), args...)
}

// Query implements DB.
func (s inSchema) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return s.db.Query(ctx, s.sql(sql), args...)
}

// QueryRow implements DB.
func (s inSchema) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return s.db.QueryRow(ctx, s.sql(sql), args...)
}
