package cmd

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// silenceView is a silence as --json prints it; an interface.
type silenceView struct {
	ID        int64     `json:"id" about:"its number"`
	Rule      string    `json:"rule" about:"the rules that it covers; * stands for any characters"`
	Subject   string    `json:"subject" about:"the subjects that it covers, in the same way"`
	Reason    string    `json:"reason" about:"why"`
	Author    string    `json:"author" about:"who made it"`
	CreatedAt time.Time `json:"created_at" about:"since when it holds"`
	EndsAt    time.Time `json:"ends_at" about:"when it ends, or has ended"`
	Active    bool      `json:"active" about:"whether it holds"`
	EndedBy   *string   `json:"ended_by" about:"who ended it before its time"`
}

// madeSilence is the result of `alerts silence --json`; an interface.
type madeSilence struct {
	ID     int64     `json:"id" about:"its number, for unsilence"`
	EndsAt time.Time `json:"ends_at" about:"when it ends"`
}

func (p *Program) alertsSilence() *cobra.Command {
	var rule, subject, reason string
	lasts := spanValue{}
	c := &cobra.Command{
		Use:   "silence",
		Short: "Tell nobody of some alerts for a while",
		Long: "Tell nobody of some alerts for a while. They are evaluated all the same; what still fires at the end of the silence is\n" +
			"told then. In --rule and --subject, * stands for any characters. At least one of them has to be given.",
		Example: "  towpath alerts silence --subject 'import-*' --for 2h --reason 'the supplier is down'\n" +
			"  towpath alerts silence --rule queue_old --subject mail --for 1d",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("rule") && !c.Flags().Changed("subject") {
				return usagef("say which alerts: --rule queue_old, --subject 'import-*' or both; --rule '*' is all")
			}
			if !lasts.set {
				return usagef("say how long: --for 2h")
			}
			return p.silence(c.Context(), rule, subject, lasts.value, reason)
		},
	}
	c.Flags().StringVar(&rule, "rule", "*", "the rules that it covers")
	c.Flags().StringVar(&subject, "subject", "*", "the subjects that it covers: queues, kinds, schedules …")
	c.Flags().Var(&lasts, "for", "how long, as in 30m, 2h or 7d; a year at most")
	c.Flags().StringVar(&reason, "reason", "", "why, for those who wonder")
	p.quietFlag(c, "print nothing")
	p.returns(c, madeSilence{})
	return p.needs(c, roleOperator)
}

func (p *Program) silence(ctx context.Context, rule, subject string, lasts time.Duration, reason string) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	id, ends, err := store.MakeSilence(ctx, pool, rule, subject, lasts, reason)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(madeSilence{ID: id, EndsAt: ends})
	}
	p.tell("silence %d until %s", id, moment(&ends))
	return nil
}

// silencePage is the result of `alerts silences --json`; an interface.
type silencePage struct {
	Silences []silenceView `json:"silences" about:"the newest first"`
	Next     *string       `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) alertsSilences() *cobra.Command {
	var all bool
	var page pageFlags
	c := &cobra.Command{
		Use:     "silences",
		Short:   "List silences",
		Long:    "List the silences that hold, the newest first; with --all those of the last year that have ended, too.",
		Example: "  towpath alerts silences\n  towpath alerts silences --all --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.listSilences(c.Context(), all, page) },
	}
	c.Flags().BoolVar(&all, "all", false, "those that have ended, too")
	page.addTo(c, 50, "the last silence's id")
	p.quietFlag(c, "print the ids alone")
	p.returns(c, silencePage{})
	return p.needs(c, roleReader)
}

func (p *Program) listSilences(ctx context.Context, all bool, flags pageFlags) error {
	from, err := flags.number()
	if err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	found, err := store.ListSilences(ctx, pool, from, all, flags.limit+1)
	if err != nil {
		return err
	}
	page := silencePage{Silences: []silenceView{}}
	key := func(s store.Silence) string { return digits(s.ID) }
	found, page.Next = pageOf(found, flags.limit, key)
	for _, s := range found {
		page.Silences = append(page.Silences, silenceView(s))
	}
	return printList(p, page, found, page.Next, key, silenceTable)
}

func silenceTable(silences []store.Silence) (header []string, rows [][]string) {
	for _, s := range silences {
		ends := moment(&s.EndsAt)
		if s.EndedBy != nil {
			ends += " by " + *s.EndedBy
		}
		rows = append(rows, []string{digits(s.ID), cell(s.Rule, 40), cell(s.Subject, 40), moment(&s.CreatedAt), ends, cell(s.Author, 30), orDash(cell(s.Reason, 60))})
	}
	return []string{"ID", "RULE", "SUBJECT", "SINCE", "UNTIL", "AUTHOR", "REASON"}, rows
}

// endedSilence is the result of `alerts unsilence --json`; an interface.
type endedSilence struct {
	ID      int64 `json:"id" about:"the silence"`
	Changed bool  `json:"changed" about:"false if it had ended already"`
}

func (p *Program) alertsUnsilence() *cobra.Command {
	c := &cobra.Command{
		Use:     "unsilence ID",
		Short:   "End a silence",
		Long:    "End a silence before its time. What fires is told within seconds.",
		Example: "  towpath alerts unsilence 1",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return usagef("%q is no silence's id: give a number, as `towpath alerts silences` shows it", args[0])
			}
			pool, err := p.Database(c.Context())
			if err != nil {
				return err
			}
			changed, err := store.EndSilence(c.Context(), pool, id)
			switch {
			case err != nil:
				return err
			case p.json:
				return p.printJSON(endedSilence{ID: id, Changed: changed})
			case changed:
				p.tell("silence %d ended", id)
			default:
				p.tell("silence %d had ended", id)
			}
			return nil
		},
	}
	p.quietFlag(c, "print nothing")
	p.returns(c, endedSilence{})
	return p.needs(c, roleOperator)
}
