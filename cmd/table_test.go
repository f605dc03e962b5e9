package cmd_test

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
)

var (
	tableHeader = []string{"ID", "STATE", "N", "RATIO", "TEXT"}
	tableRows   = [][]string{
		{"1", "completed", "7", "-", "a short one"},
		{"12", "discarded", "1234", "5.0%", strings.Repeat("long ", 20)},
	}
)

func TestTableAligns(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"ID  STATE         N  RATIO  TEXT",
		"1   completed     7      -  a short one",
		"12  discarded  1234   5.0%  " + strings.Repeat("long ", 20),
	}, cmd.LayOut(0, false, tableHeader, tableRows))
}

// A line never is wider than the terminal, as long as there is room for anything.
func TestTableFitsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, color := range []bool{false, true} {
		for width := 28; width < 140; width += 7 {
			for _, line := range cmd.LayOut(width, color, tableHeader, tableRows) {
				require.LessOrEqual(t, ansi.StringWidth(line), width, "%q", line)
			}
		}
	}
	require.Contains(t, cmd.LayOut(60, false, tableHeader, tableRows)[2], "…", "what is cut says so")
}

func TestTableColoursStates(t *testing.T) {
	t.Parallel()
	lines := cmd.LayOut(80, true, tableHeader, tableRows)
	require.Contains(t, lines[1], "\x1b[32mcompleted")
	require.Contains(t, lines[2], "\x1b[31mdiscarded")
	require.Equal(t, cmd.LayOut(80, false, tableHeader, tableRows)[1], ansi.Strip(lines[1]), "colours take no room")
}
