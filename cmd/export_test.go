package cmd

import (
	"fmt"
	"io"
	"reflect"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"
)

// Root returns the tree of commands of a program without options.
func Root() *cobra.Command { return newProgram(nil).root() }

// IsGroup reports whether a command does nothing but hold others.
func IsGroup(c *cobra.Command) bool { return isGroup(c) }

// WriteReference writes the reference of a program without options.
func WriteReference(out io.Writer) error {
	p := newProgram(nil)
	return p.writeReference(out, p.root())
}

// JSONFields returns, by command, the fields of what it prints as JSON, with their types and their explanations.
func JSONFields() map[string][][3]string {
	p := newProgram(nil)
	p.root()
	all := map[string][][3]string{}
	for c, result := range p.results {
		for _, field := range fields(reflect.TypeOf(result), "") {
			all[c.CommandPath()] = append(all[c.CommandPath()], [3]string{field.path, field.kind, field.about})
		}
	}
	return all
}

// LayOut returns the lines of a table for a screen.
func LayOut(width int, color bool, header []string, rows [][]string) []string {
	return layOut(screen{width: width, color: color}, header, rows)
}

// NewTop returns the live view over so many queues; each reading names the first one.
func NewTop(queues int, read func() (string, error)) tea.Model {
	view := func(first string) *topView {
		v := &topView{Queues: make([]queueView, queues)}
		for i := range v.Queues {
			v.Queues[i].Queue = fmt.Sprintf("queue%d", i)
		}
		v.Queues[0].Queue = first
		return v
	}
	return &topModel{interval: time.Hour, view: view("none"), read: func() (*topView, error) {
		first, err := read()
		return view(first), err
	}}
}
