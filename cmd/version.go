package cmd

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build says what this program was made of.
type build struct {
	Version  string `json:"version" about:"the version; devel when built from a work tree"`
	Commit   string `json:"commit" about:"what it was built from; empty when unknown"`
	Modified bool   `json:"modified" about:"whether the work tree had changes beside the commit"`
	Go       string `json:"go" about:"the version of Go"`
	Platform string `json:"platform" about:"operating system and architecture"`
}

// readBuild reads what the toolchain wrote into the binary.
func readBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

// String is one line for people.
func (b build) String() string {
	commit := b.Commit
	switch {
	case commit == "":
		commit = "commit unknown"
	case b.Modified:
		commit = "commit " + commit + ", modified"
	default:
		commit = "commit " + commit
	}
	return fmt.Sprintf("%s (%s, %s, %s)", b.Version, commit, b.Go, b.Platform)
}

func (p *Program) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Long:    "Print the version of this program, the commit it was built from, and the Go that built it.",
		Example: "  towpath version\n  towpath version --json",
		RunE: func(*cobra.Command, []string) error {
			if p.json {
				return p.printJSON(readBuild())
			}
			fmt.Fprintf(p.stdout, "%s %s\n", p.name, readBuild())
			return nil
		},
	}
	p.returns(c, build{})
	return c
}
