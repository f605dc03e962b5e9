// Package testdb gives every test a real Postgres database of its own.
//
// # Contract
//
//   - Pool and URL give a database with all migrations applied, cloned from a
//     template; Empty one without any. Each belongs to one test and is dropped
//     when the test ends. Tests that commit, LISTEN, or use several connections
//     want these.
//   - Tx gives a transaction in a migrated database that the tests of one
//     process share; it is rolled back when the test ends. It is the quickest.
//   - Super reaches the same database as superuser, for what only that one may
//     do, such as ending other people's sessions; As reaches it with the rights
//     of any role.
//
// Tests connect as the plain owner of their database, who is no superuser:
// Towpath must work with that.
//
// A test without Postgres fails, it is never skipped. No TestMain is needed.
//
// The server is a private one (package pgdev) that all test binaries of one
// `go test` share. It ends with that command, by whatever means the command
// ends, and it trades durability for speed. With TOWPATH_DATABASE_URL set, that
// server is used instead; its role needs CREATEDB. What a killed test binary
// leaves there is dropped by the next one on the same machine, and the template
// stays, one for each set of migrations.
//
// The package imports pgdev, migrate and migrations only, so that nearly every
// package of ours can use it in its tests.
package testdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// limit bounds each step of setting up and taking down, so that a server
	// that hangs fails a test instead of the whole run.
	limit = time.Minute

	// leakLimit is how long a test's connections may take to come back when it
	// has ended.
	leakLimit = 10 * time.Second

	// poolSize suits a test that runs a few clients at once.
	poolSize = 20
)

// Pool returns a pool of connections to a migrated database of t's own.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, URL(t))
}

// URL returns the connection string of a migrated database of t's own.
func URL(t testing.TB) string {
	t.Helper()
	c := server(t)
	template, err := c.template()
	if err != nil {
		t.Fatalf("build the template of the test databases: %v", err)
	}
	return create(t, c, template)
}

// Empty returns a pool of connections to a new database without any migration.
func Empty(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return open(t, create(t, server(t), "template1"))
}

// Tx begins a transaction in the migrated database that the tests of this
// process share. Tests that run in parallel see nothing of each other, but wait
// for each other's locks and unique keys.
func Tx(t testing.TB) pgx.Tx {
	t.Helper()
	pool, err := shared()
	if err != nil {
		t.Fatalf("open the shared test database: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tx, err := pool.Begin(ctx)
	if err != nil {
		t.Fatalf("begin a transaction in the shared test database: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := tx.Rollback(ctx); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("roll back the test's transaction: %v", err)
		}
	})
	return tx
}

// Super returns a superuser's pool to the database that pool leads to. It fails
// the test when TOWPATH_DATABASE_URL names a server whose superuser we are not.
func Super(t testing.TB, pool *pgxpool.Pool) *pgxpool.Pool {
	t.Helper()
	c := server(t)
	super := open(t, withDatabase(c.adminURL, pool.Config().ConnConfig.Database))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var is bool
	err := super.QueryRow(ctx, `SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user`).Scan(&is)
	if err != nil {
		t.Fatalf("connect as superuser: %v", err)
	}
	if !is {
		t.Fatal("this test needs a superuser, which the role of TOWPATH_DATABASE_URL is not")
	}
	return super
}

// As returns a pool to the same database whose connections act as another role,
// with its rights and no others.
func As(t testing.TB, pool *pgxpool.Pool, role string) *pgxpool.Pool {
	t.Helper()
	config := Super(t, pool).Config()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE "+pgx.Identifier{role}.Sanitize())
		return err
	}
	as, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("open a pool as role %q: %v", role, err)
	}
	t.Cleanup(as.Close)
	return as
}

// shared opens the process's database for Tx. It is dropped with the server, or
// by the next run's sweep.
var shared = sync.OnceValues(func() (*pgxpool.Pool, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	template, err := c.template()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	name := databaseName()
	if err := c.createDatabase(ctx, name, template); err != nil {
		return nil, err
	}
	return newPool(ctx, withDatabase(c.ownerURL, name))
})

// server returns the run's server or fails the test.
func server(t testing.TB) *cluster {
	t.Helper()
	c, err := connect()
	if err != nil {
		t.Fatalf("this test needs Postgres: %v", err)
	}
	return c
}

var serial atomic.Int64

// create makes a database for t and returns its connection string.
func create(t testing.TB, c *cluster, template string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	name := databaseName()
	if err := c.createDatabase(ctx, name, template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := c.dropDatabase(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return withDatabase(c.ownerURL, name)
}

// open returns a pool that is closed when t ends. Connections that t forgot to
// release fail it, instead of hanging it.
func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	pool, err := newPool(ctx, url)
	if err != nil {
		t.Fatalf("open a pool to the test's database: %v", err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(leakLimit):
			t.Errorf("close the test's pool: %d connections are still in use", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

func newPool(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("parse the test database's address: %w", err)
	}
	config.MaxConns = poolSize
	return pgxpool.NewWithConfig(ctx, config)
}
