// Package migrations holds the SQL of the River migration line "towpath": tables, views, functions, roles and their
// comments.
//
// The files are named NNN_name.up.sql and NNN_name.down.sql, numbered from 001 without gaps. They are applied by
// River's migrator, which replaces each schema template by the schema it runs in; every file runs in a transaction of
// its own, after River's line "main". A file that was released is never changed again.
package migrations

import (
	"embed"
	"io/fs"
	"strings"
)

// Line is the name of the migration line in river_migration.
const Line = "towpath"

//go:embed *.sql
var files embed.FS

// FS returns the files as River's migrator expects them: below migration/towpath/.
func FS() fs.FS { return lineFS{} }

// lineFS answers for migration/towpath/ with the files that lie beside this one.
type lineFS struct{}

const root = "migration"

// Open opens a file of the line.
func (lineFS) Open(name string) (fs.File, error) {
	file, ok := strings.CutPrefix(name, root+"/"+Line+"/")
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return files.Open(file)
}

// Stat describes a file or one of the two directories above it.
func (l lineFS) Stat(name string) (fs.FileInfo, error) {
	if name == root || name == root+"/"+Line {
		return fs.Stat(files, ".")
	}
	file, err := l.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Stat()
}

// ReadDir lists one of the two directories.
func (lineFS) ReadDir(name string) ([]fs.DirEntry, error) {
	switch name {
	case root:
		dir, err := fs.Stat(files, ".")
		if err != nil {
			return nil, err
		}
		return []fs.DirEntry{lineDir{fs.FileInfoToDirEntry(dir)}}, nil
	case root + "/" + Line:
		return files.ReadDir(".")
	default:
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
}

// lineDir is the entry of the line's directory.
type lineDir struct{ fs.DirEntry }

// Name is the line's name.
func (lineDir) Name() string { return Line }

// Tables lists the tables of the line that hold data, for helpers that empty a schema between tests.
func Tables() []string {
	return []string{
		"job_history", "job_event", "counter", "counter_delta", "counter_minute", "process", "periodic_job", "received",
		"schedule", "schedule_run", "schedule_event", "schedule_backfill", "deployment",
		"heartbeat_event", "heartbeat_ping", "heartbeat",
		"probe_event", "probe_point", "probe_series", "probe",
	}
}
