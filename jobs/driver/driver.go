// Package driver is a River driver that keeps River's behaviour and adds Towpath's storage: finished jobs move to a
// history, every finish is fenced, lifecycle counters are exact, and a dead process's jobs come back within half a
// minute.
//
// Its names are those of riverpgxv5, so adopting it is one import line:
//
//	client, err := river.NewClient(driver.New(pool), &river.Config{Schema: "towpath", …})
//
// The additions need the migration line "towpath" in the schema of the client (see package migrations). On a database
// with River's line alone the driver works as riverpgxv5 does.
package driver

import (
	"context"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"

	"github.com/towpath/towpath/internal/pilot"
	"github.com/towpath/towpath/migrations"
)

// Config and its parts describe the process and set how long history is kept.
type (
	Config    = pilot.Config
	Process   = pilot.Process
	Retention = pilot.Retention
)

// Driver implements River's driver for pgx v5. One driver serves any number of clients.
type Driver struct {
	*riverpgxv5.Driver
	config  Config
	pool    *pgxpool.Pool
	storage *pilot.Storage
}

// New returns a driver on the pool with River's periods of retention. A nil pool is allowed for clients that only
// insert inside transactions, as with riverpgxv5.
func New(pool *pgxpool.Pool) *Driver { return NewWithConfig(pool, nil) }

// NewWithConfig returns a driver that describes its process and keeps history as the config says; a nil config is that
// of New.
func NewWithConfig(pool *pgxpool.Pool, config *Config) *Driver {
	mode := pgx.QueryExecModeCacheStatement
	if pool != nil {
		mode = pool.Config().ConnConfig.DefaultQueryExecMode
	}
	river := riverpgxv5.New(pool)
	d := &Driver{Driver: river, pool: pool, storage: pilot.NewStorage(mode, river.SupportsListenNotify)}
	if config != nil {
		d.config = *config
	}
	return d
}

// river returns River's driver. River calls some methods on a nil driver of the type parameter's type, in rivertest
// for example, and riverpgxv5 bears it.
func (d *Driver) river() *riverpgxv5.Driver {
	if d == nil {
		return nil
	}
	return d.Driver
}

func (d *Driver) known() *pilot.Storage {
	if d == nil {
		return nil
	}
	return d.storage
}

// ArgPlaceholder is the sign before the number of a parameter.
func (d *Driver) ArgPlaceholder() string { return "$" }

// DatabaseName names the database as River does.
func (d *Driver) DatabaseName() string { return riverdriver.DatabaseNamePostgres }

// GetExecutor returns an executor on the pool.
func (d *Driver) GetExecutor() riverdriver.Executor {
	return pilot.NewPoolExecutor(d.Driver.GetExecutor(), d.pool, d.storage, d.Driver.UnwrapExecutor)
}

// Sole marks the context of an insert on the pool whose transaction is for the insert alone. Without insert middleware every
// Insert and InsertMany is one. A marked insert is one round trip and may share its commit with others, see
// Config.SeparateInserts. Only inserts of clients of this driver heed the mark.
func (d *Driver) Sole(ctx context.Context) context.Context { return d.storage.Sole(ctx) }

// GetListener returns a listener that the process itself can wake, besides the server.
func (d *Driver) GetListener(params *riverdriver.GetListenenerParams) riverdriver.Listener {
	return pilot.NewListener(d.Driver.GetListener(params), d.storage)
}

// UnwrapExecutor returns an executor on the transaction. The receiver may be nil.
func (d *Driver) UnwrapExecutor(tx pgx.Tx) riverdriver.ExecutorTx {
	return pilot.NewExecutorTx(d.river().UnwrapExecutor(tx), tx, d.known())
}

// UnwrapTx returns the transaction of an executor of ours or of riverpgxv5.
func (d *Driver) UnwrapTx(exec riverdriver.ExecutorTx) pgx.Tx {
	if own, ok := exec.(*pilot.ExecutorTx); ok {
		return own.Tx()
	}
	return d.river().UnwrapTx(exec)
}

// PluginInit is part of River's plugin interface; the pilot does the work.
func (d *Driver) PluginInit(*baseservice.Archetype) {}

// PluginPilot returns a pilot for one client.
func (d *Driver) PluginPilot() riverpilot.Pilot { return pilot.New(d.pool, d.storage, d.config) }

// GetMigrationDefaultLines names the lines of a new schema: River's and ours.
func (d *Driver) GetMigrationDefaultLines() []string { return d.GetMigrationLines() }

// GetMigrationLines names the lines that the driver has files for.
func (d *Driver) GetMigrationLines() []string {
	return []string{riverdriver.MigrationLineMain, migrations.Line}
}

// GetMigrationFS returns the files of a line.
func (d *Driver) GetMigrationFS(line string) fs.FS {
	if line == migrations.Line {
		return migrations.FS()
	}
	return d.river().GetMigrationFS(line)
}

// GetMigrationTruncateTables names the tables that hold data of a line, for test helpers that empty them.
func (d *Driver) GetMigrationTruncateTables(line string, version int) []string {
	if line == migrations.Line {
		return migrations.Tables()
	}
	return d.river().GetMigrationTruncateTables(line, version)
}
