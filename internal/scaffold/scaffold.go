// Package scaffold writes a new repository that uses Towpath: an application that takes orders and ships each exactly
// once, with its tables, a worker, a command, a test, and what it is built and run with.
//
// # Contract
//
//   - Write creates a directory or fills an empty one, and touches nothing else. What it cannot write whole, it leaves
//     out whole: the files are made beside the directory and moved into its place.
//   - The repository builds and passes its test after `go mod tidy`. A test makes one and does so.
//   - The templates lie in template/, named as the files they become; "dot_" stands for a dot, and ".tmpl" is left out.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/module"
)

//go:embed all:template
var templates embed.FS

// Project is what a new repository is called and what it is built on.
type Project struct {
	Name    string // of the program, such as "shop"
	Module  string // its path, such as "example.com/shop"
	Version string // of Towpath, such as "v1.2.3"
	Replace string // directory of Towpath's source, when it is to be taken from there; else ""
	Go      string // the version of Go that Towpath needs, such as "1.26.0"
}

// Schema is the schema of the application's own tables.
func (p Project) Schema() string { return strings.ReplaceAll(p.Name, "-", "_") }

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// taken are names that mean something else to Go, to Postgres or to Towpath.
var taken = []string{"towpath", "test", "vendor", "internal", "main", "public", "information-schema", "cmd"}

// Check says what is wrong with the names; nil is nothing.
func (p Project) Check() error {
	switch {
	case len(p.Name) > 40 || !nameForm.MatchString(p.Name):
		return fmt.Errorf("name %q: use small letters, digits and single hyphens, beginning with a letter, at most 40, such as my-shop", p.Name)
	case slices.Contains(taken, p.Name) || strings.HasPrefix(p.Name, "pg-"):
		return fmt.Errorf("name %q means something else to Go, Postgres or Towpath; choose another one", p.Name)
	}
	if err := module.CheckImportPath(p.Module); err != nil {
		return fmt.Errorf("module %q: %w; give a path such as example.com/%s", p.Module, errors.Unwrap(err), p.Name)
	}
	if p.Replace != "" {
		if _, err := os.Stat(filepath.Join(p.Replace, "go.mod")); err != nil {
			return fmt.Errorf("directory %q holds no go.mod; give that of Towpath's source", p.Replace)
		}
	}
	return nil
}

// Write writes the project into dir, which must not exist or be empty, and returns the names of the files.
func Write(dir string, p Project) ([]string, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if err := vacant(dir); err != nil {
		return nil, err
	}
	files, err := p.render()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	draft, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-*")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	defer os.RemoveAll(draft)
	var names []string
	for name, text := range files {
		names = append(names, name)
		file := filepath.Join(draft, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, fmt.Errorf("write %s: %w", dir, err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // source is for everybody to read
			return nil, fmt.Errorf("write %s: %w", dir, err)
		}
	}
	if err := os.Chmod(draft, 0o755); err != nil {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	// The empty directory makes way; nothing else would.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	if err := os.Rename(draft, dir); err != nil {
		return nil, fmt.Errorf("write %s: %w", dir, err)
	}
	slices.Sort(names)
	return names, nil
}

// vacant demands that there is nothing that could be overwritten.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look into %s: %w", dir, err)
	case len(entries) > 0:
		return fmt.Errorf("directory %q is not empty (it holds %s); choose another name, or --directory", dir, entries[0].Name())
	}
	return nil
}

// render makes the files, by name.
func (p Project) render() (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(templates, "template", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(templates, name)
		if err != nil {
			return err
		}
		parsed, err := template.New(name).Delims("[[", "]]").Option("missingkey=error").Parse(string(raw))
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := parsed.Execute(&text, p); err != nil {
			return err
		}
		files[target(name)] = text.Bytes()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("fill in the templates: %w", err)
	}
	return files, nil
}

// target is the name of the file that a template becomes.
func target(name string) string {
	parts := strings.Split(strings.TrimPrefix(name, "template/"), "/")
	for i, part := range parts {
		if after, ok := strings.CutPrefix(part, "dot_"); ok {
			parts[i] = "." + after
		}
	}
	return strings.TrimSuffix(path.Join(parts...), ".tmpl")
}
