package cmd

import (
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/towpath/towpath/internal/config"
)

// readsKey is the annotation of a command that lists the groups of variables it reads.
const readsKey = "towpath_reads"

// reads notes which groups of variables a command reads, for its help.
func reads(c *cobra.Command, groups ...config.Group) *cobra.Command {
	names := make([]string, len(groups))
	for i, group := range groups {
		names[i] = string(group)
	}
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[readsKey] = strings.Join(names, ",")
	return c
}

func readsOf(c *cobra.Command) []config.Group {
	var groups []config.Group
	for name := range strings.SplitSeq(c.Annotations[readsKey], ",") {
		if name != "" {
			groups = append(groups, config.Group(name))
		}
	}
	return groups
}

// newLogger makes the logger of a process.
func newLogger(log config.Log, out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(log.Level)}
	if log.Format == config.FormatText || (log.Format == config.FormatAuto && isTerminal(out)) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

// terminal reports whether a file is a terminal.
func terminal(file *os.File) bool { return cwriter.IsTerminal(int(file.Fd())) }
