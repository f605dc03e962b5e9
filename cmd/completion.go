package cmd

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// completeLimit bounds how long the shell is kept waiting for a completion.
const completeLimit = 2 * time.Second

// A completer returns what a word may be completed to.
type completer func(ctx context.Context, db store.DB) ([]string, error)

// complete has the shell complete a flag.
func (p *Program) complete(c *cobra.Command, flag string, words completer) {
	err := c.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return p.completions(words, begun)
	})
	if err != nil {
		panic(err) // the flag is not there: a mistake in the program
	}
}

// completeArg has the shell complete the first argument.
func (p *Program) completeArg(c *cobra.Command, words completer) {
	c.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return p.completions(words, begun)
	}
}

// completions asks the database. Of several values with commas between them the last is completed. It is silent when that is not reached: nobody wants errors in the middle of a line.
func (p *Program) completions(words completer, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completeLimit)
	defer cancel()
	stderr := p.stderr
	p.stderr = io.Discard
	defer func() { p.stderr = stderr }()
	pool, err := p.Database(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := words(ctx, pool)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before := begun[:strings.LastIndex(begun, ",")+1]
	var fitting []string
	for _, word := range all {
		if strings.HasPrefix(word, begun[len(before):]) && !strings.Contains(","+before, ","+word+",") {
			fitting = append(fitting, before+word)
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

// completeFilter has the shell complete the flags of the filter over jobs.
func (p *Program) completeFilter(c *cobra.Command) {
	p.complete(c, "kind", kindNames)
	p.complete(c, "queue", queueNames)
	states := make([]string, 0, len(rivertype.JobStates()))
	for _, state := range rivertype.JobStates() {
		states = append(states, string(state))
	}
	fixed(c, "state", states)
}

// fixed has the shell complete a flag to one of these words.
func fixed(c *cobra.Command, flag string, words []string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is not there: a mistake in the program
	}
}

func kindNames(ctx context.Context, db store.DB) ([]string, error) {
	kinds, err := store.ListKinds(ctx, db, time.Hour)
	names := make([]string, len(kinds))
	for i, kind := range kinds {
		names[i] = kind.Kind
	}
	return names, err
}

func queueNames(ctx context.Context, db store.DB) ([]string, error) {
	queues, err := store.ListQueues(ctx, db)
	names := make([]string, len(queues))
	for i, queue := range queues {
		names[i] = queue.Queue
	}
	return names, err
}
