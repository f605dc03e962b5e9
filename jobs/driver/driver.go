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
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/towpath/towpath/migrations"
)

// Driver implements River's driver for pgx v5.
type Driver struct{ *riverpgxv5.Driver }

// New returns a driver on the pool. A nil pool is allowed for clients that only insert inside transactions, as with
// riverpgxv5.
func New(pool *pgxpool.Pool) *Driver { return &Driver{Driver: riverpgxv5.New(pool)} }

// river returns River's driver. River calls some methods on a nil driver of the type parameter's type, in rivertest
// for example, and riverpgxv5 bears it.
func (d *Driver) river() *riverpgxv5.Driver {
	if d == nil {
		return nil
	}
	return d.Driver
}

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
