// Package house holds the rules of the repository that no compiler and no linter knows: its documents link to what is
// there, the README stays short, files and functions stay small, and every package says what it is for. The rules for
// imports are the linter's (depguard in .golangci.yaml).
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root = "../.."

	// maxFile and maxFunction are lines. A file over its limit wants to be two; a function over its limit wants a name
	// for its middle.
	maxFile     = 500
	maxFunction = 60
)

// A source is one Go file of ours, outside of tests and not generated.
type source struct {
	path  string // from the root of the repository
	files *token.FileSet
	file  *ast.File
}

// sources parses every Go file that people write and that ships.
func sources(t *testing.T) []source {
	t.Helper()
	var found []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "testdata" || strings.HasPrefix(name, ".") && path != root) {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(file) {
			return nil
		}
		relative, err := filepath.Rel(root, path)
		found = append(found, source{path: relative, files: files, file: file})
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if lines := s.files.File(s.file.Pos()).LineCount(); lines > maxFile {
			t.Errorf("%s has %d lines, of %d at most", s.path, lines, maxFile)
		}
	}
}

func TestFunctionsAreShort(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			start, end := s.files.Position(function.Pos()), s.files.Position(function.End())
			if lines := end.Line - start.Line + 1; lines > maxFunction {
				t.Errorf("%s:%d: %s has %d lines, of %d at most", s.path, start.Line, function.Name.Name, lines, maxFunction)
			}
		}
	}
}

// One comment is a contract; two are an argument.
func TestEveryPackageHasOneComment(t *testing.T) {
	t.Parallel()
	comments := map[string][]string{}
	for _, s := range sources(t) {
		dir := filepath.Dir(s.path)
		comments[dir] = append(comments[dir], nil...)
		if s.file.Doc == nil {
			continue
		}
		comments[dir] = append(comments[dir], s.path)
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + filepath.Base(dir) + " "
		}
		if text := s.file.Doc.Text(); !strings.HasPrefix(text, want) {
			first, _, _ := strings.Cut(text, "\n")
			t.Errorf("%s: the package comment begins %q, not %q", s.path, first, want)
		}
	}
	for dir, files := range comments {
		slices.Sort(files)
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, not one: %s", dir, len(files), strings.Join(files, ", "))
		}
	}
}
