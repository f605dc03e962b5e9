// Package migrate brings a database to the schema that this program was built for, and says how far it is.
package migrate

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/towpath/towpath/jobs/driver"
	"github.com/towpath/towpath/migrations"
)

// Schema is where everything of Towpath lives.
const Schema = "towpath"

// Up applies every migration that is missing: the schema itself, River's line, then ours.
func Up(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, "CREATE SCHEMA IF NOT EXISTS "+Schema); err != nil {
		return fmt.Errorf("create schema %q: %w", Schema, err)
	}
	for _, line := range []string{riverdriver.MigrationLineMain, migrations.Line} {
		migrator, err := rivermigrate.New(driver.New(pool), &rivermigrate.Config{Line: line, Schema: Schema})
		if err != nil {
			return fmt.Errorf("open migration line %q: %w", line, err)
		}
		if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return fmt.Errorf("migrate line %q up: %w", line, err)
		}
	}
	return nil
}
