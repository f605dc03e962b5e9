package cmd

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (p *Program) manCommand() *cobra.Command {
	var reference bool
	c := &cobra.Command{
		Use:   "man [DIR]",
		Short: "Write man pages, or the reference of the commands",
		Long: "Write a man page for every command into a directory, which is made if need be. With --reference the commands, their\n" +
			"flags and the fields of their JSON are printed as one Markdown document instead. Both have an application's own\n" +
			"commands as well.",
		Example: "  towpath man share/man/man1\n  towpath man --reference > cli.md",
		Args: func(c *cobra.Command, args []string) error {
			if reference {
				return cobra.NoArgs(c, args)
			}
			return cobra.ExactArgs(1)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if reference {
				return p.writeReference(p.stdout, c.Root())
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory of the man pages: %w", err)
			}
			// Without a date and a version, which would make each build's pages differ.
			c.Root().DisableAutoGenTag = true
			header := &doc.GenManHeader{Section: "1", Source: p.name, Manual: p.name, Date: &epoch}
			if err := doc.GenManTree(c.Root(), header, args[0]); err != nil {
				return fmt.Errorf("write man pages to %s: %w", args[0], err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&reference, "reference", false, "print the reference as Markdown")
	return c
}
