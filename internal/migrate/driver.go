package migrate

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/towpath/towpath/migrations"
)

// lineDriver is River's driver with the files of all lines, whose transactions make way for others.
type lineDriver struct {
	*riverpgxv5.Driver

	app fs.FS // the user's files below migration/app/, or nil
}

func newLineDriver(pool *pgxpool.Pool) *lineDriver {
	return &lineDriver{Driver: riverpgxv5.New(pool)}
}

// GetMigrationDefaultLines is GetMigrationLines.
func (d *lineDriver) GetMigrationDefaultLines() []string { return d.GetMigrationLines() }

// GetMigrationLines lists the lines in the order in which they are applied.
func (d *lineDriver) GetMigrationLines() []string {
	lines := []string{lineMain, migrations.Line}
	if d.app != nil {
		lines = append(lines, LineApp)
	}
	return lines
}

// GetMigrationFS returns the files of a line.
func (d *lineDriver) GetMigrationFS(line string) fs.FS {
	switch line {
	case migrations.Line:
		return migrations.FS()
	case LineApp:
		return d.app
	default:
		return d.Driver.GetMigrationFS(line)
	}
}

// GetExecutor returns River's executor with our transactions.
func (d *lineDriver) GetExecutor() riverdriver.Executor {
	return yieldingExecutor{d.Driver.GetExecutor()}
}

// yieldingExecutor begins transactions that wait for no lock longer than LockTimeout.
//
// A statement that waits for ACCESS EXCLUSIVE makes everybody who comes later wait behind it, however short its own
// work is. The limit is set for the transaction alone, so a pooler's other clients never see it. A statement_timeout
// that a role or a provider sets is meant for queries, not for building an index, and is lifted in the same way.
type yieldingExecutor struct{ riverdriver.Executor }

// Begin begins a transaction.
func (e yieldingExecutor) Begin(ctx context.Context) (riverdriver.ExecutorTx, error) {
	tx, err := e.Executor.Begin(ctx)
	if err != nil {
		return nil, err
	}
	limits := fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = 0", LockTimeout.Milliseconds())
	if err := tx.Exec(ctx, limits); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("bound the migration's locks: %w", err)
	}
	return tx, nil
}
