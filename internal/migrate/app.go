package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// appFile is how a migration of the user's is named.
var appFile = regexp.MustCompile(`^(\d{3,})_(\w+)\.(up|down)\.sql$`)

// readApp reads the user's migrations into the form that River's migrator wants, which panics where we return errors.
func readApp(fsys fs.FS) (fs.FS, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read the application's migrations: %w", err)
	}
	files := memFS{}
	ups, downs := map[int]string{}, map[int]string{}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || path.Ext(name) != ".sql" {
			continue
		}
		parts := appFile.FindStringSubmatch(name)
		if parts == nil {
			return nil, fmt.Errorf("application's migration %q: name it like 001_create_tables.up.sql", name)
		}
		content, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read the application's migration %q: %w", name, err)
		}
		if len(bytes.TrimSpace(content)) == 0 {
			return nil, fmt.Errorf("application's migration %q: it is empty; write its SQL", name)
		}
		version, err := strconv.Atoi(parts[1])
		if err != nil || fmt.Sprintf("%03d", version) != parts[1] {
			return nil, fmt.Errorf("application's migration %q: write its number with three digits, such as 007", name)
		}
		same := ups
		if parts[3] == "down" {
			same = downs
		}
		if other, twice := same[version]; twice {
			return nil, fmt.Errorf("application's migrations %q and %q have the same number; give each its own", other, name)
		}
		same[version] = name
		files[appRoot+name] = content
	}
	return files, complete(files, ups, downs)
}

// complete checks that versions run from 1 without gaps, and gives those without a way back one that says so.
func complete(files memFS, ups, downs map[int]string) error {
	if len(ups) == 0 {
		return errors.New("the application's migrations hold no file such as 001_create_tables.up.sql; add one, or leave them out")
	}
	for version := range downs {
		if _, ok := ups[version]; !ok {
			return fmt.Errorf("application's migration %03d has a down file alone; add %03d_….up.sql", version, version)
		}
	}
	for version := 1; version <= len(ups); version++ {
		name, ok := ups[version]
		if !ok {
			return fmt.Errorf("application's migration %03d is missing; number the files from 001 without gaps", version)
		}
		if downs[version] == "" {
			down := appRoot + strings.TrimSuffix(name, ".up.sql") + ".down.sql"
			files[down] = fmt.Appendf(nil, "DO $$ BEGIN RAISE EXCEPTION 'migration app %03d has no down file'; END $$;\n", version)
		}
	}
	return nil
}

// Where River's migrator looks for files.
const (
	migrationRoot = "migration"
	appRoot       = migrationRoot + "/" + LineApp + "/"
)

// memFS is the directory migration/app in memory, by full path.
type memFS map[string][]byte

// Open opens a file.
func (m memFS) Open(name string) (fs.File, error) {
	content, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{memInfo{path.Base(name), int64(len(content)), 0o444}, bytes.NewReader(content)}, nil
}

// Stat describes the root; files come with their directory.
func (m memFS) Stat(name string) (fs.FileInfo, error) {
	if name != migrationRoot {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return memInfo{name, 0, fs.ModeDir | 0o555}, nil
}

// ReadDir lists the root or the files.
func (m memFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == migrationRoot {
		return []fs.DirEntry{fs.FileInfoToDirEntry(memInfo{LineApp, 0, fs.ModeDir | 0o555})}, nil
	}
	var entries []fs.DirEntry
	for full, content := range m {
		entries = append(entries, fs.FileInfoToDirEntry(memInfo{path.Base(full), int64(len(content)), 0o444}))
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

type memFile struct {
	memInfo

	*bytes.Reader
}

func (f *memFile) Stat() (fs.FileInfo, error) { return f.memInfo, nil }
func (f *memFile) Size() int64                { return f.size }
func (f *memFile) Close() error               { return nil }

type memInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
