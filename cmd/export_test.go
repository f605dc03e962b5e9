package cmd

import "github.com/spf13/cobra"

// Root returns the tree of commands of a program without options.
func Root() *cobra.Command { return newProgram(nil).root() }
