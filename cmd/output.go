package cmd

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
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

// tell prints a line that says what was done, unless --quiet was given.
func (p *Program) tell(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stdout, format+"\n", args...)
	}
}

// quietFlag adds --quiet to a command.
func (p *Program) quietFlag(c *cobra.Command, usage string) {
	c.Flags().BoolVarP(&p.quiet, "quiet", "q", false, usage)
}

// noteNext says how to see the next page.
func (p *Program) noteNext(next *string) {
	if next != nil {
		p.note("There are more: --after %s", *next)
	}
}

// record prints names and values, one pair a line and in full.
func (p *Program) record(title []string, rows [][]string) error {
	width := len(title[0])
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	look := screenOf(p.stdout)
	for i, row := range append([][]string{title}, rows...) {
		name, value := fmt.Sprintf("%-*s", width, row[0]), orDash(row[1])
		if look.color {
			name = headStyle.Render(name)
			value = paint(row[0], value, i == 0)
		}
		if _, err := fmt.Fprintf(p.stdout, "%s%s%s\n", name, gap, value); err != nil {
			return fmt.Errorf("print a record: %w", err)
		}
	}
	return nil
}

// pageFlags are the flags of a list that is shown by pages.
type pageFlags struct {
	limit int
	after string
}

func (f *pageFlags) addTo(c *cobra.Command, limit int, last string) {
	c.Flags().IntVar(&f.limit, "limit", limit, "how many, from 1")
	c.Flags().StringVar(&f.after, "after", "", "the next page: "+last+" of the page before")
}

// mostOfPage is how many entries a page has at most whose every entry the database reads for it.
const mostOfPage = 1000

// check refuses a limit of a list that is read by pages.
func (f *pageFlags) check() error {
	if f.limit < 1 || f.limit > mostOfPage {
		return usagef("--limit %d: give a number from 1 to %d", f.limit, mostOfPage)
	}
	return nil
}

// number checks the flags of a list whose pages go by numbers, and returns the one of --after, 0 for the first page.
func (f *pageFlags) number() (int64, error) {
	if err := f.check(); err != nil || f.after == "" {
		return 0, err
	}
	id, err := strconv.ParseInt(f.after, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("--after %q: give the id of the last entry of the page before", f.after)
	}
	return id, nil
}

// digits is the key of an entry that has a number.
func digits(id int64) string { return strconv.FormatInt(id, 10) }

// pageOf cuts what was read, one more than the limit, to the limit, and returns the key of the last entry when more follow.
func pageOf[T any](items []T, limit int, key func(T) string) ([]T, *string) {
	if len(items) <= limit {
		return orEmpty(items), nil
	}
	last := key(items[limit-1])
	return items[:limit], &last
}

// paginate returns the page of a list that begins after the item of that key, and the key of its last item when more
// follow.
func paginate[T any](f pageFlags, items []T, key func(T) string) ([]T, *string, error) {
	if f.limit < 1 {
		return nil, nil, usagef("--limit %d: give a number from 1", f.limit)
	}
	if f.after != "" {
		at := slices.IndexFunc(items, func(item T) bool { return key(item) == f.after })
		if at < 0 {
			return nil, nil, fmt.Errorf("--after %q: the list has no such entry (any more); begin again without --after", f.after)
		}
		items = items[at+1:]
	}
	page, next := pageOf(items, f.limit, key)
	return page, next, nil
}

// printList prints the page of a list: page as JSON, or the key of each item on a line, or a table, and how to see the next.
func printList[T any](p *Program, page any, items []T, next *string, key func(T) string, look func([]T) (header []string, rows [][]string)) error {
	switch {
	case p.json:
		return p.printJSON(page)
	case p.quiet:
		for _, item := range items {
			fmt.Fprintln(p.stdout, key(item))
		}
	default:
		header, rows := look(items)
		if err := table(p.stdout, header, rows); err != nil {
			return err
		}
	}
	p.noteNext(next)
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

// moment prints a time for people, in their own zone.
func moment(at *time.Time) string {
	if at == nil || at.IsZero() {
		return "-"
	}
	return at.Local().Format(time.DateTime)
}

// orDash stands in for a text that is empty.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// seconds makes a duration that may be missing, NaN, a number for JSON.
func seconds(s float64) *float64 {
	if math.IsNaN(s) {
		return nil
	}
	return &s
}

// span prints seconds for people, with two or three figures that count.
func span(s *float64) string {
	if s == nil {
		return "-"
	}
	d := time.Duration(*s * float64(time.Second))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
