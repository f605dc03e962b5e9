package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate sh -c "go run ./towpath man --reference > ../docs/cli.md"

// epoch is the date of generated pages, which must not change by themselves.
var epoch = time.Unix(0, 0).UTC()

// writeReference prints all commands as one Markdown document.
func (p *Program) writeReference(out io.Writer, root *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# Which commands are there?

<!-- Made by %[2]sgo generate ./cmd%[2]s. -->

%[2]s%[1]s COMMAND --help%[2]s says the same, with the variables of the environment that a command reads. %[2]s%[1]s man DIR%[2]s writes man
pages, and %[2]s%[1]s completion bash%[2]s (or zsh, fish) what the shell needs to complete commands, flags, kinds and queues.

- Exit codes: 0 done, 1 failed or something could not be done, 2 wrong usage.
- Results go to standard output, everything else to standard error; an error is one line that begins with the program's name.
- On a terminal, tables have colours and fit its width. %[2]sNO_COLOR%[2]s and %[2]sTERM=dumb%[2]s turn colours off.
- %[2]s--json%[2]s prints the result for programs. Fields are added, never renamed or taken away within a major version; times are
  RFC 3339 in any zone, durations are numbers of seconds.
- %[2]s--quiet%[2]s prints ids or names alone, one a line, or nothing.
- A list that has more says so at its end, or in %[2]snext%[2]s: give that to %[2]s--after%[2]s for the next page.

`, p.name, "`")
	walkCommands(root, func(c *cobra.Command) {
		if c != root && !isGroup(c) {
			fmt.Fprintf(&b, "- [%s](#%s): %s\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
		}
	})
	walkCommands(root, func(c *cobra.Command) {
		if c != root && !isGroup(c) {
			p.describe(&b, c)
		}
	})
	if _, err := io.WriteString(out, strings.TrimRight(b.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("write the reference: %w", err)
	}
	return nil
}

// walkCommands visits a tree of commands, parents first, without what cobra adds for itself.
func walkCommands(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			walkCommands(sub, visit)
		}
	}
}

// describe writes a command's chapter.
func (p *Program) describe(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```sh\n%s\n```\n", c.CommandPath(), markdown(c.Long), unindent(c.Example))
	fmt.Fprintf(b, "\nUsage: `%s`\n", c.UseLine())
	if role := c.Annotations[roleKey]; role != "" {
		fmt.Fprintf(b, "\nThe database's user needs the role `%s`.\n", role)
	}
	var flags []string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "json" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind != "" {
			name += " " + kind
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		flags = append(flags, fmt.Sprintf("| `%s` | %s |", name, escape(usage)))
	})
	if len(flags) > 0 {
		fmt.Fprintf(b, "\n| Flag | |\n|---|---|\n%s\n", strings.Join(flags, "\n"))
	}
	if result, ok := p.results[c]; ok {
		b.WriteString("\n| Field of `--json` | Type | |\n|---|---|---|\n")
		for _, field := range fields(reflect.TypeOf(result), "") {
			fmt.Fprintf(b, "| `%s` | %s | %s |\n", field.path, field.kind, escape(field.about))
		}
	}
}

// jsonField is a field of what a command prints as JSON.
type jsonField struct{ path, kind, about string }

// fields lists the fields of a result, those of objects inside it behind it.
func fields(t reflect.Type, prefix string) []jsonField {
	if t.Kind() == reflect.Slice {
		return fields(t.Elem(), prefix+"[].")
	}
	var list []jsonField
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		inner, path := field.Type, prefix+name
		null := ""
		if inner.Kind() == reflect.Pointer {
			inner, null = inner.Elem(), " or null"
		}
		kind := jsonKind(inner)
		if inner.Kind() == reflect.Slice && kind == "list" {
			inner, path = inner.Elem(), path+"[]"
			kind = "list of " + jsonKind(inner) + "s"
		}
		list = append(list, jsonField{path: path, kind: kind + null, about: field.Tag.Get("about")})
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			list = append(list, fields(inner, path+".")...)
		}
	}
	return list
}

// jsonKind names a type as JSON has it.
func jsonKind(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[json.RawMessage]():
		return "JSON"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "list"
	case reflect.Struct, reflect.Map:
		return "object"
	default:
		return "number"
	}
}

// markdown makes of a help text paragraphs of Markdown.
func markdown(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "<", `\<`), "*", `\*`)
}

// escape makes a text fit a cell.
func escape(text string) string { return strings.ReplaceAll(markdown(text), "|", `\|`) }

// unindent takes the two spaces of cobra's examples away.
func unindent(example string) string {
	lines := strings.Split(example, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}
