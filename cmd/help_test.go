package cmd_test

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
)

// Every command says what it does, and how it is called.
func TestHelp(t *testing.T) {
	t.Parallel()
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, c.Short)
			require.NotEmpty(t, c.Long)
			require.False(t, strings.HasSuffix(c.Short, "."), c.Short)
			if !cmd.IsGroup(c) {
				require.Contains(t, c.Example, c.CommandPath(), "the example shows the command itself")
			}
			for line := range strings.SplitSeq(c.Long+"\n"+c.Example, "\n") {
				require.LessOrEqual(t, len([]rune(line)), 120, line)
			}
		})
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				walk(sub)
			}
		}
	}
	walk(cmd.Root())
}
