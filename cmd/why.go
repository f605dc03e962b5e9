package cmd

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// whyView is the result of `why --json`.
type whyView struct {
	ID          int64    `json:"id" about:"the job"`
	State       *string  `json:"state" about:"its state; null if there is no such job"`
	Reason      string   `json:"reason" about:"a word for programs: pending, scheduled, retry, unique, no_leader, due, paused, no_process, unknown_kind, busy, in_line, running, owner_lost, finished, not_found"`
	Explanation string   `json:"explanation" about:"the same in a sentence"`
	Also        []string `json:"also" about:"what would stand in its way next, and what else is to be known"`
}

func (p *Program) whyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a job is not running",
		Long: "Say in words why a job is not running: the first obstacle, then the others. It answers for any number: a job that\n" +
			"runs, has finished or is not there; for the last the exit code is 1.",
		Example: "  towpath why 4711\n  towpath why 4712 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := p.parseID(args[0])
			if err != nil {
				return err
			}
			pool, err := p.Database(c.Context())
			if err != nil {
				return err
			}
			row, err := store.WhyJob(c.Context(), pool, id)
			if err != nil {
				return err
			}
			return p.printWhy(row)
		},
	}
	p.returns(c, whyView{})
	return p.needs(c, roleReader)
}

func (p *Program) printWhy(row store.WhyRow) error {
	view := whyView{ID: row.ID, Reason: row.Reason, Explanation: row.Explanation, Also: orEmpty(row.Also)}
	if row.State != "" {
		view.State = &row.State
	}
	if p.json {
		if err := p.printJSON(view); err != nil {
			return err
		}
	} else {
		rows := [][]string{{"State", row.State}, {"Reason", row.Reason}, {"Because", row.Explanation}}
		for _, more := range view.Also {
			rows = append(rows, []string{"Also", more})
		}
		if err := p.record([]string{"Job", strconv.FormatInt(row.ID, 10)}, rows); err != nil {
			return err
		}
	}
	if view.State == nil {
		return &silentError{fmt.Errorf("job %d does not exist", row.ID)}
	}
	return nil
}
