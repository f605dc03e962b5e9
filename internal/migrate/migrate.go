// Package migrate brings a database to the schema that this program was built for, and says how far it is.
//
// # Lines
//
// Migrations come in up to three lines, applied in this order by River's migrator and recorded in
// towpath.river_migration: "main" (River's own), "towpath" (package migrations) and "app" (the user's own files, see
// WithApp). Each migration is a transaction of its own that also records it, so one is either there or not.
//
// # Many at once, and under load
//
// Any number of processes may call Up at the same time: one works, the others wait (see lock.go). No migration waits
// for a lock longer than LockTimeout, because whatever wants to write would wait behind it; it gives up, lets the queue
// go on, and tries again. Indexes of tables that hold jobs are built and dropped CONCURRENTLY before the migration that
// names them.
//
// # Older and newer schemas
//
// A schema serves the release before it. So Check tells three states apart: Older, with which a role must not start;
// Current; and Newer, with which it works on.
//
// All of it works as the plain owner of a database, and needs no state of a session, so a pooler in transaction mode
// is fine.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/towpath/towpath/migrations"
)

// Schema is where everything of Towpath lives.
const Schema = "towpath"

// LineApp is the line of the user's own migrations.
const LineApp = "app"

// LockTimeout is how long a statement of a migration waits for a lock before it makes way.
const LockTimeout = time.Second

// A Migrator applies and inspects the migrations of one database.
type Migrator struct {
	pool   *pgxpool.Pool
	driver *lineDriver
	report func(line string)
	giveUp time.Duration
}

// An Option changes a Migrator.
type Option func(*Migrator) error

// WithApp adds the user's own migrations as the line "app", applied after ours. The files lie at the root of fsys and
// are named 001_name.up.sql, 002_…, without gaps; 001_name.down.sql beside them may undo one. Each file may hold many
// statements and runs in a transaction; its SQL should name its schemas. A nil fsys adds nothing.
func WithApp(fsys fs.FS) Option {
	return func(m *Migrator) error {
		if fsys == nil {
			return nil
		}
		app, err := readApp(fsys)
		if err != nil {
			return err
		}
		m.driver.app = app
		return nil
	}
}

// WithReport has progress reported in lines for people: what was applied, and whom it waits for.
func WithReport(report func(line string)) Option {
	return func(m *Migrator) error {
		m.report = report
		return nil
	}
}

// New returns a Migrator on the pool. It fails when the user's files are not in order.
func New(pool *pgxpool.Pool, opts ...Option) (*Migrator, error) {
	m := &Migrator{
		pool:   pool,
		driver: newLineDriver(pool),
		report: func(string) {},
		giveUp: 10 * time.Minute,
	}
	for _, opt := range opts {
		if err := opt(m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Up applies every migration of ours that is missing. It is what a test or a program without migrations of its own
// needs; others make a Migrator.
func Up(ctx context.Context, pool *pgxpool.Pool) error {
	m, err := New(pool)
	if err != nil {
		return err
	}
	return m.Up(ctx)
}

// Up applies every migration that is missing: the schema itself, River's line, ours, the user's. It waits while
// another process migrates, and gives up when it got no lock for ten minutes.
func (m *Migrator) Up(ctx context.Context) error {
	// The usual start finds nothing to do, and should wait for nobody to learn it.
	if check, err := m.Check(ctx); err != nil || check.State != Older {
		return err
	}
	return m.alone(ctx, m.up)
}

func (m *Migrator) up(ctx context.Context) error {
	if err := m.createSchema(ctx); err != nil {
		return err
	}
	for _, line := range m.driver.GetMigrationLines() {
		if err := m.upLine(ctx, line); err != nil {
			return err
		}
	}
	return m.reportRoles(ctx)
}

// reportRoles says which roles could not be made, and who can make them. The migration itself says so in a notice, which
// nobody may be listening for.
func (m *Migrator) reportRoles(ctx context.Context) error {
	var (
		owner   string
		missing []string
	)
	err := m.pool.QueryRow(ctx, `SELECT quote_ident(current_user), coalesce(array_agg(r ORDER BY r), '{}')
		FROM unnest('{towpath_operator,towpath_probe,towpath_producer,towpath_reader}'::text[]) r
		WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r)`).Scan(&owner, &missing)
	if err != nil {
		return fmt.Errorf("look for roles: %w", err)
	}
	if len(missing) > 0 {
		m.report(fmt.Sprintf("roles missing: %s, and %s may not create roles", strings.Join(missing, ", "), owner))
		m.report(fmt.Sprintf("as an administrator: CREATE ROLE %s; then, as %s: SELECT %s.grant_roles();",
			strings.Join(missing, "; CREATE ROLE "), owner, Schema))
	}
	return nil
}

// createSchema looks before it creates: CREATE SCHEMA IF NOT EXISTS asks for the right to create schemas even where
// the schema exists, and a careful administrator makes it beforehand and gives no such right.
func (m *Migrator) createSchema(ctx context.Context) error {
	exists, err := m.schemaExists(ctx)
	if err != nil || exists {
		return err
	}
	_, err = m.pool.Exec(ctx, "CREATE SCHEMA "+pgx.Identifier{Schema}.Sanitize())
	if err == nil {
		return nil
	}
	if exists, lookErr := m.schemaExists(ctx); lookErr == nil && exists {
		return nil // another process was quicker
	}
	return fmt.Errorf("create schema %q (as an administrator: CREATE SCHEMA %s AUTHORIZATION your_role): %w", Schema, Schema, err)
}

func (m *Migrator) schemaExists(ctx context.Context) (bool, error) {
	var exists bool
	if err := m.pool.QueryRow(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, Schema).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for schema %q: %w", Schema, err)
	}
	return exists, nil
}

// upLine goes one step at a time, so that each is prepared beforehand and reported when it is done.
func (m *Migrator) upLine(ctx context.Context, line string) error {
	migrator, err := m.migrator(line)
	if err != nil {
		return err
	}
	for {
		next, err := m.next(ctx, migrator, line)
		if err != nil || next == nil {
			return err
		}
		if err := m.retry(ctx, func(ctx context.Context) error { return m.upStep(ctx, migrator, line, *next) }); err != nil {
			return fmt.Errorf("migrate line %q up: %w", line, err)
		}
	}
}

// upStep applies the line's first missing migration, unless another process is quicker.
func (m *Migrator) upStep(ctx context.Context, migrator *rivermigrate.Migrator[pgx.Tx], line string, next rivermigrate.Migration) error {
	if line == migrations.Line {
		if err := m.prepare(ctx, next.SQLUp); err != nil {
			return err
		}
	}
	result, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{MaxSteps: 1})
	if err != nil {
		applied, lookErr := m.applied(ctx)
		if _, there := applied[step{line, next.Version}]; lookErr == nil && there {
			return nil
		}
		return err
	}
	for _, done := range result.Versions {
		m.report(fmt.Sprintf("applied %s %03d %s (%s)", line, done.Version, done.Name, done.Duration.Round(time.Millisecond)))
	}
	return nil
}

// next returns the first migration of the line that is missing, or nil.
func (m *Migrator) next(ctx context.Context, migrator *rivermigrate.Migrator[pgx.Tx], line string) (*rivermigrate.Migration, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	for _, migration := range migrator.AllVersions() {
		if _, done := applied[step{line, migration.Version}]; !done {
			return &migration, nil
		}
	}
	return nil, nil
}

func (m *Migrator) migrator(line string) (*rivermigrate.Migrator[pgx.Tx], error) {
	migrator, err := rivermigrate.New(m.driver, &rivermigrate.Config{
		Line: line, Schema: Schema, Logger: slog.New(slog.DiscardHandler), // we report ourselves
	})
	if err != nil {
		return nil, fmt.Errorf("open migration line %q: %w", line, err)
	}
	return migrator, nil
}

// sqlState returns the SQLSTATE of a database error, or "".
func sqlState(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// lineMain is River's name for its own line.
const lineMain = riverdriver.MigrationLineMain
