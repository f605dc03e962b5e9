package scaffold_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/scaffold"
)

// project is one that takes Towpath from this checkout.
func project(t *testing.T, name string) scaffold.Project {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return scaffold.Project{Name: name, Module: "example.com/" + name, Version: "v0.0.0", Replace: root, Go: "1.26.0"}
}

// A new project builds and passes its own test, as it is.
func TestTheProjectPassesItsTest(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "my-shop")
	files, err := scaffold.Write(dir, project(t, "my-shop"))
	require.NoError(t, err)
	require.Contains(t, files, ".github/workflows/ci.yml")
	require.Contains(t, files, ".gitignore")
	require.Contains(t, files, "main_test.go")
	for _, args := range [][]string{{"mod", "tidy"}, {"vet", "./..."}, {"build", "./..."}, {"test", "-v", "./..."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %v:\n%s", args, out)
		if args[0] == "test" {
			require.Contains(t, string(out), "--- PASS: TestAnOrderIsShipped")
		}
	}
	cmd := exec.CommandContext(t.Context(), "gofmt", "-l", dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Empty(t, string(out), "files that gofmt would change")
}

func TestNames(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*scaffold.Project)
		want   string
	}{
		"capital":     {func(p *scaffold.Project) { p.Name = "Shop" }, `name "Shop": use small letters`},
		"space":       {func(p *scaffold.Project) { p.Name = "my shop" }, "use small letters"},
		"empty":       {func(p *scaffold.Project) { p.Name = "" }, "use small letters"},
		"path":        {func(p *scaffold.Project) { p.Name = "../shop" }, "use small letters"},
		"hyphen":      {func(p *scaffold.Project) { p.Name = "shop-" }, "use small letters"},
		"ours":        {func(p *scaffold.Project) { p.Name = "towpath" }, `name "towpath" means something else`},
		"Postgres's":  {func(p *scaffold.Project) { p.Name = "pg-shop" }, "means something else"},
		"module":      {func(p *scaffold.Project) { p.Module = "example.com/my shop" }, `module "example.com/my shop": `},
		"no checkout": {func(p *scaffold.Project) { p.Replace = t.TempDir() }, "holds no go.mod"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := project(t, "shop")
			test.change(&p)
			dir := filepath.Join(t.TempDir(), "shop")
			_, err := scaffold.Write(dir, p)
			require.ErrorContains(t, err, test.want)
			require.NoDirExists(t, dir)
		})
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "diary.txt")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	_, err := scaffold.Write(dir, project(t, "shop"))
	require.ErrorContains(t, err, "is not empty (it holds diary.txt)")
	_, err = scaffold.Write(file, project(t, "shop"))
	require.Error(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.Mkdir(empty, 0o700))
	_, err = scaffold.Write(empty, project(t, "shop"))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(empty, "main.go"))
}
