package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// printJSON prints a result for programs: one value, indented.
func (p *Program) printJSON(value any) error {
	encoder := json.NewEncoder(p.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print the result as JSON: %w", err)
	}
	return nil
}

// note prints a line for people beside the result.
func (p *Program) note(format string, args ...any) {
	fmt.Fprintf(p.stderr, format+"\n", args...)
}

// table prints rows in columns of equal width. Cells must hold no tabs or line breaks; cell takes care of that.
func table(out io.Writer, header []string, rows [][]string) error {
	columns := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		// The last cell ends the line without a tab, and tabwriter then leaves it as it is.
		if _, err := fmt.Fprintln(columns, strings.Join(row, "\t")); err != nil {
			return fmt.Errorf("print a table: %w", err)
		}
	}
	if err := columns.Flush(); err != nil {
		return fmt.Errorf("print a table: %w", err)
	}
	return nil
}

// cell makes a text fit a table: on one line, of at most so many characters.
func cell(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most-1]) + "…"
	}
	return text
}

// wrap breaks a text into indented lines of at most so many characters, as far as its words allow.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if line != indent && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	b.WriteString(line + "\n")
	return b.String()
}
