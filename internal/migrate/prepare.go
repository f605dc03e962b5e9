package migrate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// template is what River's migrator replaces by the schema and a dot.
const template = "/* TEMPLATE: schema */"

// withSchema returns SQL with its templates filled in.
func withSchema(sql string) string {
	return strings.ReplaceAll(sql, template, pgx.Identifier{Schema}.Sanitize()+".")
}

// indexStatement finds statements at the start of a line that make or drop an index and bear being done already.
var indexStatement = regexp.MustCompile(`(?m)^(?:` +
	`(CREATE (?:UNIQUE )?INDEX) IF NOT EXISTS (\w+) (ON ` + regexp.QuoteMeta(template) + `(\w+)[^;]*)` +
	`|DROP INDEX IF EXISTS ` + regexp.QuoteMeta(template) + `(\w+)` +
	`);`)

// indexChange is one index that a migration makes or drops.
type indexChange struct {
	name   string
	create string // the statement that makes it CONCURRENTLY, or ""
	table  string // which it is made on, or ""
}

func (c indexChange) drop() string {
	return "DROP INDEX CONCURRENTLY IF EXISTS " + pgx.Identifier{Schema, c.name}.Sanitize()
}

func indexChanges(sql string) []indexChange {
	var changes []indexChange
	for _, found := range indexStatement.FindAllStringSubmatch(sql, -1) {
		if found[1] == "" {
			changes = append(changes, indexChange{name: found[5]})
			continue
		}
		create := withSchema(found[1] + " CONCURRENTLY IF NOT EXISTS " + found[2] + " " + found[3])
		changes = append(changes, indexChange{name: found[2], create: create, table: found[4]})
	}
	return changes
}

// prepare does beforehand, CONCURRENTLY, what a migration would do to indexes of tables that hold rows. The migration
// then finds IF [NOT] EXISTS satisfied and takes no lock for it.
//
// A concurrent build waits for every transaction that was open when it began, but nobody waits for it: it takes SHARE
// UPDATE EXCLUSIVE, which readers and writers pass. One that fails, or whose process is killed, leaves an index that is
// marked invalid, is maintained by every write and used by no read, and satisfies IF NOT EXISTS; so such a one is
// dropped first. Indexes are made before others are dropped because the files are written in that order.
func (m *Migrator) prepare(ctx context.Context, sql string) error {
	for _, change := range indexChanges(sql) {
		needed, err := m.needed(ctx, change)
		if err != nil {
			return err
		}
		if !needed {
			continue
		}
		if err := m.change(ctx, change); err != nil {
			if needed, lookErr := m.needed(ctx, change); lookErr == nil && !needed {
				continue // another process was quicker
			}
			return err
		}
	}
	return nil
}

// needed reports whether the change is not done yet and would lock a table that holds rows.
func (m *Migrator) needed(ctx context.Context, change indexChange) (bool, error) {
	index, err := m.index(ctx, change.name)
	if err != nil {
		return false, err
	}
	table := change.table
	switch {
	case change.create == "" && !index.exists, change.create != "" && index.exists && index.valid:
		return false, nil
	case change.create == "":
		table = index.table
	}
	var exists, rows bool
	qualified := pgx.Identifier{Schema, table}.Sanitize()
	if err := m.pool.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, qualified).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for table %s: %w", qualified, err)
	}
	if !exists {
		return false, nil
	}
	if err := m.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+qualified+")").Scan(&rows); err != nil {
		return false, fmt.Errorf("look into table %s: %w", qualified, err)
	}
	// An invalid leftover has to go even from a table that is empty by now.
	return rows || (index.exists && !index.valid), nil
}

func (m *Migrator) change(ctx context.Context, change indexChange) error {
	start := time.Now()
	index, err := m.index(ctx, change.name)
	if err != nil {
		return err
	}
	if index.exists && (change.create == "" || !index.valid) {
		if _, err := m.pool.Exec(ctx, change.drop()); err != nil {
			return fmt.Errorf("drop index %q beforehand: %w", change.name, err)
		}
	}
	if change.create == "" {
		m.report(fmt.Sprintf("dropped index %s without blocking (%s)", change.name, time.Since(start).Round(time.Millisecond)))
		return nil
	}
	m.report(fmt.Sprintf("building index %s without blocking", change.name))
	if _, err := m.pool.Exec(ctx, change.create); err != nil {
		return fmt.Errorf("build index %q beforehand: %w", change.name, err)
	}
	m.report(fmt.Sprintf("built index %s (%s)", change.name, time.Since(start).Round(time.Millisecond)))
	return nil
}

// indexState is an index as the catalogue has it.
type indexState struct {
	exists, valid bool
	table         string
}

func (m *Migrator) index(ctx context.Context, name string) (indexState, error) {
	state := indexState{exists: true}
	err := m.pool.QueryRow(ctx, `
		SELECT i.indisvalid AND i.indisready, t.relname
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
		JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
		WHERE n.nspname = $1 AND c.relname = $2`, Schema, name).Scan(&state.valid, &state.table)
	if errors.Is(err, pgx.ErrNoRows) {
		return indexState{}, nil
	}
	if err != nil {
		return indexState{}, fmt.Errorf("look for index %q: %w", name, err)
	}
	return state, nil
}
