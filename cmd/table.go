package cmd

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
	"github.com/vbauerster/mpb/v8/cwriter"
)

// gap is what lies between two columns.
const gap = "  "

// screen is what an output can show.
type screen struct {
	width int // 0: as wide as it takes
	color bool
}

// screenOf looks at an output. Colours are for terminals, unless NO_COLOR is set or TERM says that it has none; only
// CLICOLOR_FORCE asks for them elsewhere.
func screenOf(out io.Writer) screen {
	file, ok := out.(*os.File)
	if !ok {
		return screen{}
	}
	s := screen{color: file == os.Stdout && lipgloss.Writer.Profile >= colorprofile.ANSI}
	if terminal(file) {
		if width, _, err := cwriter.GetSize(int(file.Fd())); err == nil {
			s.width = width
		}
	}
	return s
}

// The styles of the few things that have one.
var (
	headStyle = lipgloss.NewStyle().Bold(true)
	dimStyle  = lipgloss.NewStyle().Faint(true)
	goodStyle = lipgloss.NewStyle().Foreground(lipgloss.Green)
	busyStyle = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	warnStyle = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	badStyle  = lipgloss.NewStyle().Foreground(lipgloss.Red)

	// wordStyles are the styles of words in columns named STATE, STATUS and the like.
	wordStyles = map[string]lipgloss.Style{
		"completed": goodStyle, "live": goodStyle, "fine": goodStyle, "working": goodStyle,
		"running": busyStyle, "available": headStyle,
		"retryable": warnStyle, "paused": warnStyle, "silent": warnStyle, "note": warnStyle, "left alone": warnStyle,
		"discarded": badStyle, "dead": badStyle, "missing": badStyle, "problem": badStyle, "failed": badStyle,
		"cancelled": dimStyle, "stopped": dimStyle, "deleted": dimStyle,
	}
)

// styledColumn reports whether the words of a column have a style.
func styledColumn(header string) bool {
	switch strings.ToUpper(header) {
	case "STATE", "STATUS", "LEVEL", "RESULT":
		return true
	}
	return false
}

// table prints rows in columns of equal width, numbers to the right. Cells must hold no line breaks; cell takes care of
// that. On a terminal the widest columns give way until a line fits, and words of state have a colour.
func table(out io.Writer, header []string, rows [][]string) error {
	if _, err := io.WriteString(out, strings.Join(layOut(screenOf(out), header, rows), "\n")+"\n"); err != nil {
		return fmt.Errorf("print a table: %w", err)
	}
	return nil
}

// layOut returns the lines of a table, the header first.
func layOut(s screen, header []string, rows [][]string) []string {
	widths, right := measure(header, rows)
	shrink(widths, header, s.width)
	lines := make([]string, 0, len(rows)+1)
	for n, row := range append([][]string{header}, rows...) {
		var line strings.Builder
		for i, text := range row {
			if s.width > 0 {
				text = ansi.Truncate(text, widths[i], "…")
			}
			fill := strings.Repeat(" ", max(0, widths[i]-ansi.StringWidth(text)))
			shown := text
			if s.color {
				shown = paint(header[i], text, n == 0)
			}
			switch {
			case right[i]:
				line.WriteString(fill + shown)
			case i == len(row)-1:
				line.WriteString(shown)
			default:
				line.WriteString(shown + fill)
			}
			if i < len(row)-1 {
				line.WriteString(gap)
			}
		}
		lines = append(lines, line.String())
	}
	return lines
}

// paint gives a cell its colour.
func paint(header, text string, first bool) string {
	if first {
		return headStyle.Render(text)
	}
	if style, ok := wordStyles[text]; ok && styledColumn(header) {
		return style.Render(text)
	}
	return text
}

// measure returns the widths of columns, and which of them hold numbers alone: those end at the right, but for the first.
func measure(header []string, rows [][]string) (widths []int, right []bool) {
	widths, right = make([]int, len(header)), make([]bool, len(header))
	for i, title := range header {
		widths[i] = ansi.StringWidth(title)
		numbers := 0
		for _, row := range rows {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
			if isNumber(row[i]) {
				numbers++
			} else if row[i] != "-" {
				numbers = -len(rows)
			}
		}
		right[i] = i > 0 && numbers > 0
	}
	return widths, right
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	return err == nil
}

// shrink narrows columns until a line fits: first the last one, which holds what is long, then the widest, but none below
// what its header or eight characters need, unless that does not do.
func shrink(widths []int, header []string, most int) {
	if most == 0 {
		return
	}
	total := len(gap) * (len(widths) - 1)
	for _, width := range widths {
		total += width
	}
	last := len(widths) - 1
	cut := max(0, min(total-most, widths[last]-max(12, len(header[last]))))
	widths[last] -= cut
	total -= cut
	for _, least := range []func(int) int{
		func(i int) int { return max(8, len(header[i])) },
		func(int) int { return 4 },
	} {
		for total > most {
			widest := -1
			for i, width := range widths {
				if width > least(i) && (widest < 0 || width > widths[widest]) {
					widest = i
				}
			}
			if widest < 0 {
				break
			}
			widths[widest]--
			total--
		}
	}
}
