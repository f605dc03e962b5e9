package migrate

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/towpath/towpath/migrations"
)

// lineColumnVersion is the version of "main" that gives river_migration its column line.
const lineColumnVersion = 5

// SQL returns the missing migrations (or with all set, every one, as for an empty database) as a script for psql. Each
// is a transaction that records itself, as Up would, so that an administrator may apply it by hand; statements that
// Up runs CONCURRENTLY beforehand come first. Nothing is changed.
func (m *Migrator) SQL(ctx context.Context, all bool) (string, error) {
	applied := map[step]struct{}{}
	var b strings.Builder
	if !all {
		there, err := m.applied(ctx)
		if err != nil {
			return "", err
		}
		for one := range there {
			applied[one] = struct{}{}
		}
	}
	if len(applied) == 0 {
		fmt.Fprintf(&b, "CREATE SCHEMA IF NOT EXISTS %s;\n\n", pgx.Identifier{Schema}.Sanitize())
	}
	written := b.Len()
	for _, line := range m.driver.GetMigrationLines() {
		migrator, err := m.migrator(line)
		if err != nil {
			return "", err
		}
		for _, migration := range migrator.AllVersions() {
			if _, done := applied[step{line, migration.Version}]; done {
				continue
			}
			if line == migrations.Line && len(applied) > 0 {
				if err := m.writePreparation(ctx, &b, migration.SQLUp); err != nil {
					return "", err
				}
			}
			writeMigration(&b, line, migration)
		}
	}
	if len(applied) > 0 && b.Len() == written {
		return "", nil
	}
	return b.String(), nil
}

func (m *Migrator) writePreparation(ctx context.Context, b *strings.Builder, sql string) error {
	for _, change := range indexChanges(sql) {
		needed, err := m.needed(ctx, change)
		if err != nil {
			return err
		}
		if needed {
			statement := change.create
			if statement == "" {
				statement = change.drop()
			}
			fmt.Fprintf(b, "%s;\n\n", statement)
		}
	}
	return nil
}

func writeMigration(b *strings.Builder, line string, migration rivermigrate.Migration) {
	record := fmt.Sprintf("INSERT INTO %s (line, version) VALUES ('%s', %d);",
		pgx.Identifier{Schema, "river_migration"}.Sanitize(), line, migration.Version)
	if line == lineMain && migration.Version < lineColumnVersion {
		record = fmt.Sprintf("INSERT INTO %s (version) VALUES (%d);",
			pgx.Identifier{Schema, "river_migration"}.Sanitize(), migration.Version)
	}
	fmt.Fprintf(b, "-- %s %03d: %s\nBEGIN;\n%s\n%s\nCOMMIT;\n\n",
		line, migration.Version, migration.Name, strings.TrimRight(withSchema(migration.SQLUp), "; \n")+";", record)
}
