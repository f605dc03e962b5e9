package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river/rivermigrate"
)

// DownOptions say how far Down goes.
type DownOptions struct {
	Line  string // "main", "towpath" or "app"
	To    int    // the version that is left; 0 undoes the whole line
	Force bool   // even while processes are alive
}

// Down undoes the migrations of a line above a version, newest first. A line goes only when those after it are gone.
// It is for leaving, not for operation, and refuses while a process of Towpath gives signs of life.
func (m *Migrator) Down(ctx context.Context, opts DownOptions) error {
	if !slices.Contains(m.driver.GetMigrationLines(), opts.Line) {
		return fmt.Errorf("migration line %q does not exist; choose one of %s", opts.Line, strings.Join(m.driver.GetMigrationLines(), ", "))
	}
	if opts.To < 0 {
		return fmt.Errorf("version %d does not exist; choose 0 or more", opts.To)
	}
	return m.alone(ctx, func(ctx context.Context) error { return m.down(ctx, opts) })
}

func (m *Migrator) down(ctx context.Context, opts DownOptions) error {
	if err := m.mayGoDown(ctx, opts); err != nil {
		return err
	}
	migrator, err := m.migrator(opts.Line)
	if err != nil {
		return err
	}
	for {
		applied, err := m.applied(ctx)
		if err != nil {
			return err
		}
		newest := 0
		for there := range applied {
			if there.line == opts.Line {
				newest = max(newest, there.version)
			}
		}
		if newest <= opts.To {
			return nil
		}
		err = m.retry(ctx, func(ctx context.Context) error {
			result, err := migrator.Migrate(ctx, rivermigrate.DirectionDown, &rivermigrate.MigrateOpts{MaxSteps: 1})
			if err != nil {
				return err
			}
			for _, done := range result.Versions {
				m.report(fmt.Sprintf("undid %s %03d %s (%s)", opts.Line, done.Version, done.Name, done.Duration.Round(time.Millisecond)))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("migrate line %q down: %w", opts.Line, err)
		}
	}
}

// mayGoDown refuses what would lose something.
func (m *Migrator) mayGoDown(ctx context.Context, opts DownOptions) error {
	applied, err := m.applied(ctx)
	if err != nil {
		return err
	}
	migrator, err := m.migrator(opts.Line)
	if err != nil {
		return err
	}
	lines := m.driver.GetMigrationLines()
	// The line of an application that is not this one counts as well.
	later := append(slices.Clone(lines[slices.Index(lines, opts.Line)+1:]), LineApp)
	known := len(migrator.AllVersions())
	for there := range applied {
		if there.line == opts.Line && there.version > known {
			return fmt.Errorf("the database has %s, which this program does not know; use the program that made it", there)
		}
		if there.line != opts.Line && slices.Contains(later, there.line) {
			return fmt.Errorf("line %q stands on line %q; first run `towpath migrate down --line %s --to 0`", there.line, opts.Line, there.line)
		}
	}
	if opts.Force {
		return nil
	}
	alive, err := m.alive(ctx)
	if err != nil {
		return err
	}
	if len(alive) > 0 {
		return fmt.Errorf("%d processes are alive (%s); stop them, or add --force", len(alive), strings.Join(alive, ", "))
	}
	return nil
}

// alive lists the processes that gave a sign of life in the last half minute and did not say that they stopped.
func (m *Migrator) alive(ctx context.Context) ([]string, error) {
	var exists bool
	if err := m.pool.QueryRow(ctx, `SELECT to_regclass('towpath.process') IS NOT NULL`).Scan(&exists); err != nil {
		return nil, fmt.Errorf("look for live processes: %w", err)
	}
	if !exists {
		return nil, nil
	}
	var alive []string
	err := m.pool.QueryRow(ctx, `
		SELECT coalesce(array_agg(client_id ORDER BY client_id), '{}') FROM towpath.process
		WHERE stopped_at IS NULL AND dead_at IS NULL AND beat_at > clock_timestamp() - interval '30 seconds'`).Scan(&alive)
	if err != nil {
		return nil, fmt.Errorf("look for live processes: %w", err)
	}
	return alive, nil
}
