package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// kindShown is the result of `kinds show --json`.
type kindShown struct {
	Kind    string           `json:"kind" about:"its name"`
	Checked bool             `json:"checked" about:"whether jobs whose args do not fit are refused"`
	Since   time.Time        `json:"since" about:"when the schema last changed"`
	Schema  *json.RawMessage `json:"schema" about:"the JSON schema of its args"`
}

// kindChecked is the result of `kinds check --json`.
type kindChecked struct {
	Kind    string `json:"kind" about:"its name"`
	Checked bool   `json:"checked" about:"whether its args are checked now"`
	Changed bool   `json:"changed" about:"false if that was so already"`
}

func (p *Program) kindsShow() *cobra.Command {
	c := &cobra.Command{
		Use:   "show KIND",
		Short: "Show what the args of a kind look like",
		Long: "Show the JSON schema of the args of a kind, as the program tells it that has a worker for it, and whether it is\n" +
			"checked when a job is enqueued.",
		Example: "  towpath kinds show mail.send\n  towpath kinds show mail.send --json",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.showKind(c.Context(), args[0]) },
	}
	p.returns(c, kindShown{})
	return p.needs(c, roleReader)
}

func (p *Program) showKind(ctx context.Context, kind string) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	all, err := store.KindSchemas(ctx, pool)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(s store.KindSchema) bool { return s.Kind == kind })
	if at < 0 {
		return fmt.Errorf("kind %q has no schema; a program with a worker for it tells it when it starts, unless its args cannot be described", kind)
	}
	found := all[at]
	if p.json {
		return p.printJSON(kindShown{Kind: kind, Checked: found.Checked, Since: found.ToldAt, Schema: &found.Schema})
	}
	checked := "no"
	if found.Checked {
		checked = "yes"
	}
	if err := p.record([]string{"Kind", kind}, [][]string{{"Checked", checked}, {"Since", found.ToldAt.UTC().Format(time.RFC3339)}}); err != nil {
		return err
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, found.Schema, "", "  "); err != nil {
		return errors.New("the schema cannot be read")
	}
	fmt.Fprintf(p.stdout, "\n%s\n", pretty.String())
	return nil
}

func (p *Program) kindsCheck() *cobra.Command {
	var off bool
	c := &cobra.Command{
		Use:   "check KIND",
		Short: "Refuse jobs of a kind whose args do not fit its schema",
		Long: "From now on, refuse jobs of a kind whose args do not fit its schema, whoever enqueues them by SQL or by this\n" +
			"command. Jobs that are there are left alone. With --off, take all again.",
		Example: "  towpath kinds check mail.send\n  towpath kinds check mail.send --off",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pool, err := p.Database(c.Context())
			if err != nil {
				return err
			}
			changed, err := store.CheckKind(c.Context(), pool, args[0], !off)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(kindChecked{Kind: args[0], Checked: !off, Changed: changed})
			}
			state := "checked"
			if off {
				state = "not checked"
			}
			if !changed {
				state = "was " + state + " already"
			}
			fmt.Fprintf(p.stdout, "%s %s\n", args[0], state)
			return nil
		},
	}
	c.Flags().BoolVar(&off, "off", false, "take jobs whatever their args look like")
	p.returns(c, kindChecked{})
	return p.needs(c, roleOperator)
}
