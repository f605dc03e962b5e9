package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// step is one migration of one line.
type step struct {
	line    string
	version int
}

// String is how people and messages name a step: "towpath 001".
func (s step) String() string { return fmt.Sprintf("%s %03d", s.line, s.version) }

// Migration is one migration and whether the database has it. Its JSON form is an interface of
// `towpath migrate status --json`.
type Migration struct {
	Line      string     `json:"line" about:"main (River's), towpath or app"`
	Version   int        `json:"version" about:"its number in the line"`
	Name      string     `json:"name" about:"its name; empty when this program does not know it"`
	AppliedAt *time.Time `json:"applied_at" about:"when it was applied; null when the database does not have it"`
}

// State compares a database with this program.
type State string

// The states of a database's schema.
const (
	Older   State = "older"   // migrations are missing; a role must not start
	Current State = "current" // exactly what this program knows
	Newer   State = "newer"   // everything and more; a schema serves the release before it
)

// CheckResult is the answer of Check.
type CheckResult struct {
	State   State
	Missing []string // migrations that the database lacks, such as "towpath 002"
	Unknown []string // migrations of our lines that this program does not know
}

// ErrOlder is what Err wraps.
var ErrOlder = errors.New("the database's schema is older than this program")

// Err is nil unless the schema is older; its message names the command to run.
func (r CheckResult) Err() error {
	if r.State != Older {
		return nil
	}
	return fmt.Errorf("%w (missing: %s); run `towpath migrate up`, or set TOWPATH_MIGRATE=on",
		ErrOlder, strings.Join(r.Missing, ", "))
}

// Check compares the database with this program. It changes nothing and waits for nobody.
func (m *Migrator) Check(ctx context.Context) (CheckResult, error) {
	all, err := m.Status(ctx)
	if err != nil {
		return CheckResult{}, err
	}
	result := CheckResult{State: Current}
	for _, migration := range all {
		name := step{migration.Line, migration.Version}.String()
		switch {
		case migration.AppliedAt == nil:
			result.Missing = append(result.Missing, name)
		case migration.Name == "":
			result.Unknown = append(result.Unknown, name)
		}
	}
	switch {
	case len(result.Missing) > 0:
		result.State = Older
	case len(result.Unknown) > 0:
		result.State = Newer
	}
	return result, nil
}

// Status lists the migrations of all lines of this program, in the order in which they are applied, with those that
// the database has beyond them. Lines that this program does not have are left out.
func (m *Migrator) Status(ctx context.Context) ([]Migration, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, line := range m.driver.GetMigrationLines() {
		migrator, err := m.migrator(line)
		if err != nil {
			return nil, err
		}
		names := map[int]string{}
		for _, known := range migrator.AllVersions() {
			names[known.Version] = known.Name
		}
		versions := slices.Collect(maps.Keys(names))
		for there := range applied {
			if _, known := names[there.version]; there.line == line && !known {
				versions = append(versions, there.version)
			}
		}
		slices.Sort(versions)
		for _, version := range versions {
			migration := Migration{Line: line, Version: version, Name: names[version]}
			if at, done := applied[step{line, version}]; done {
				migration.AppliedAt = &at
			}
			all = append(all, migration)
		}
	}
	return all, nil
}

// applied reads what the database has, from whatever River's line left so far: nothing, a table without lines (before
// version 5 of "main"), or the table of today.
//
// A migration that changes that very table may be under way, for nobody needs the lock to look, and Postgres may end the
// look where the two wait for each other.
func (m *Migrator) applied(ctx context.Context) (applied map[step]time.Time, err error) {
	err = m.retry(ctx, func(ctx context.Context) error {
		applied, err = appliedIn(ctx, m.pool, Schema)
		return err
	})
	return applied, err
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func appliedIn(ctx context.Context, db querier, schema string) (map[step]time.Time, error) {
	var exists, hasLines bool
	err := db.QueryRow(ctx, `
		SELECT c.oid IS NOT NULL, EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'line')
		FROM (SELECT to_regclass(format('%I.river_migration', $1::text)) AS oid) c`, schema).Scan(&exists, &hasLines)
	if err != nil {
		return nil, fmt.Errorf("look for migrations in schema %q: %w", schema, err)
	}
	applied := map[step]time.Time{}
	if !exists {
		return applied, nil
	}
	line := "'" + lineMain + "'"
	if hasLines {
		line = "line"
	}
	rows, err := db.Query(ctx, "SELECT "+line+", version, created_at FROM "+pgx.Identifier{schema, "river_migration"}.Sanitize())
	if err != nil {
		return nil, fmt.Errorf("read migrations of schema %q: %w", schema, err)
	}
	var (
		one step
		at  time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&one.line, &one.version, &at}, func() error {
		applied[one] = at
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read migrations of schema %q: %w", schema, err)
	}
	return applied, nil
}
