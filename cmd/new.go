package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/scaffold"
)

const ownModule = "github.com/towpath/towpath"

func (p *Program) newCommand() *cobra.Command {
	var module, directory, replace string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a small application of your own, to begin with",
		Long: "Write a repository with a kind of job, its worker, a command, tables, a test, a compose file and CI, which builds\n" +
			"and passes its test. A program that was built from a checkout takes Towpath from there; --replace names another.",
		Example: "  towpath new shop --module example.com/shop\n  towpath new shop --directory elsewhere",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			project := scaffold.Project{Name: args[0], Module: module, Version: ownVersion(), Replace: replace, Go: goVersion()}
			if project.Module == "" {
				project.Module = "example.com/" + project.Name
			}
			if project.Replace == "" {
				project.Replace = checkout()
			}
			if directory == "" {
				directory = project.Name
			}
			return p.writeProject(directory, project)
		},
	}
	c.Flags().StringVar(&module, "module", "", "path of the module (default example.com/NAME)")
	c.Flags().StringVar(&directory, "directory", "", "where to write it: a directory that is empty or not there yet (default NAME)")
	c.Flags().StringVar(&replace, "replace", "", "directory of Towpath's source, to be used instead of a published version")
	p.quietFlag(c, "print nothing")
	p.returns(c, newResult{})
	return c
}

// newResult is the JSON form of what was written.
type newResult struct {
	Directory string   `json:"directory" about:"where it was written"`
	Module    string   `json:"module" about:"the path of its module"`
	Towpath   string   `json:"towpath" about:"the version of Towpath that it needs"`
	Replace   string   `json:"replace" about:"the directory that Towpath is taken from; empty when it is published"`
	Files     []string `json:"files" about:"the names of its files"`
}

func (p *Program) writeProject(directory string, project scaffold.Project) error {
	var err error
	if project.Replace != "" {
		if project.Replace, err = filepath.Abs(project.Replace); err != nil {
			return fmt.Errorf("find the directory %q: %w", project.Replace, err)
		}
		project.Version = "v0.0.0" // whatever is in the directory
	}
	if err := project.Check(); err != nil {
		return usagef("%w", err)
	}
	files, err := scaffold.Write(directory, project)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(newResult{directory, project.Module, project.Version, project.Replace, files})
	}
	if p.quiet {
		return nil
	}
	for _, file := range files {
		fmt.Fprintln(p.stdout, filepath.Join(directory, file))
	}
	p.note("\nNext:\n  cd %s\n  go mod tidy\n  go test ./...\n  go run . dev", directory)
	return nil
}

// ownVersion is the version of Towpath in this program: its own, or that of the dependency.
func ownVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == ownModule && dependency.Replace == nil {
				return dependency.Version
			}
		}
		if v := info.Main.Version; info.Main.Path == ownModule && strings.HasPrefix(v, "v") {
			return strings.TrimSuffix(v, "+dirty")
		}
	}
	return "v0.0.0"
}

// checkout is the directory of the source that this program was built from, when that is a checkout and no copy in the
// cache of modules, and when the program knows: one that was built with -trimpath does not.
func checkout() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) || strings.Contains(file, "@") {
		return ""
	}
	root := filepath.Dir(filepath.Dir(file))
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return ""
	}
	return root
}

var goForm = regexp.MustCompile(`^go(\d+\.\d+)`)

// goVersion is the least version of Go that a project with this Towpath needs, as go.mod writes it.
func goVersion() string {
	if m := goForm.FindStringSubmatch(runtime.Version()); m != nil {
		return m[1] + ".0"
	}
	return "1.26.0"
}
