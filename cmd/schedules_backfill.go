package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

// backfillOptions are those of `schedules backfill`.
type backfillOptions struct {
	from, to string
	atOnce   int
	dry      bool
}

func (p *Program) schedulesBackfill() *cobra.Command {
	o := backfillOptions{atOnce: 1}
	c := &cobra.Command{
		Use:   "backfill NAME --from MOMENT --to MOMENT",
		Short: "Run a schedule for a span of the past",
		Long: "Run a schedule for each of its ticks from one moment to another, both included, in order, whether they ran in\n" +
			"their time or not. At most --at-once of the runs are unfinished at the same time. The leader does it; the runs\n" +
			"show in `schedules show`. --dry-run only lists the ticks.",
		Example: "  towpath schedules backfill digest --from 2025-11-01 --to 2025-11-25 --dry-run\n" +
			"  towpath schedules backfill digest --from 2025-11-01 --to 2025-11-25T12:00:00Z --at-once 3",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.backfill(c.Context(), args[0], o) },
	}
	c.Flags().StringVar(&o.from, "from", "", "the first moment that counts")
	c.Flags().StringVar(&o.to, "to", "", "the last moment that counts")
	c.Flags().IntVar(&o.atOnce, "at-once", o.atOnce, "how many runs may be unfinished at the same time")
	c.Flags().BoolVar(&o.dry, "dry-run", false, "list the ticks, run nothing")
	p.quietFlag(c, "print the number of the backfill alone, or nothing but the ticks of a dry run")
	p.returns(c, view.Backfilled{})
	return p.needs(c, roleOperator)
}

func (p *Program) backfill(ctx context.Context, name string, o backfillOptions) error {
	from, to, err := o.read()
	if err != nil {
		return err
	}
	s, err := p.findSchedule(ctx, name)
	if err != nil {
		return err
	}
	found, err := view.TicksOf(s, from, to)
	if err != nil {
		return err
	}
	found.DryRun = o.dry
	if found.Ticks == 0 {
		return fmt.Errorf("schedule %q has no tick from %s to %s; `%s schedules next %s` shows when it runs", name, o.from, o.to, p.name, name)
	}
	if o.dry {
		if p.json {
			return p.printJSON(found)
		}
		for _, tick := range found.Runs {
			fmt.Fprintln(p.stdout, tick.Format("Mon 2006-01-02 15:04:05 MST"))
		}
		if !p.quiet {
			count := ticksIn(&found)
			if found.Ticks > len(found.Runs) {
				count += fmt.Sprintf(", of which the first %d are listed", len(found.Runs))
			}
			p.note("%s; nothing was enqueued.", count)
		}
		return nil
	}
	id, err := store.BackfillSchedule(ctx, p.pool, name, from, to, o.atOnce)
	if err != nil {
		return scheduleError(flagsNamed(err))
	}
	found.Backfill = &id
	if p.json {
		return p.printJSON(found)
	}
	if p.quiet {
		fmt.Fprintln(p.stdout, id)
	}
	ends := ""
	if found.More { // perhaps more than was meant
		ends = fmt.Sprintf("; `%s schedules cancel-backfill %d` ends it", p.name, id)
	}
	p.tell("backfill %d of %s: %s, %d at once%s", id, name, ticksIn(&found), o.atOnce, ends)
	return nil
}

// read checks the options and returns the span.
func (o *backfillOptions) read() (from, to time.Time, err error) {
	if from, err = parseMoment("--from", o.from); err != nil {
		return from, to, err
	}
	if to, err = parseMoment("--to", o.to); err != nil {
		return from, to, err
	}
	switch {
	case o.atOnce < 1 || o.atOnce > 1000:
		err = usagef("--at-once %d: give a number from 1 to 1000", o.atOnce)
	case to.Before(from):
		err = usagef("--to %s is before --from %s; give the earlier moment first", o.to, o.from)
	case o.dry && to.After(time.Now()): // else the database's clock decides
		err = usagef("--to %s is in the future; a backfill is for ticks that have passed", to.UTC().Format(time.RFC3339))
	}
	return from, to, err
}

// ticksIn says how many ticks there are, as far as is known.
func ticksIn(b *view.Backfilled) string {
	switch {
	case b.More:
		return fmt.Sprintf("more than %d ticks", b.Ticks)
	case b.Ticks == 1:
		return "1 tick"
	default:
		return fmt.Sprintf("%d ticks", b.Ticks)
	}
}

// flagsNamed has a refusal of the database's name what was typed.
func flagsNamed(err error) error {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Code == "22023" {
		pgErr.Message = strings.NewReplacer("from_at", "--from", "to_at", "--to", "at_once", "--at-once").Replace(pgErr.Message)
	}
	return err
}

func (p *Program) schedulesBackfills() *cobra.Command {
	var page pageFlags
	c := &cobra.Command{
		Use:     "backfills",
		Short:   "List backfills and how far they are",
		Long:    "List the backfills of the last half a year, the newest first: how many of their ticks are enqueued, and how many of\nthose runs have not ended.",
		Example: "  towpath schedules backfills\n  towpath schedules backfills --json",
		RunE:    func(c *cobra.Command, _ []string) error { return p.listBackfills(c.Context(), page) },
	}
	page.addTo(c, 50, "the last number")
	p.quietFlag(c, "print the numbers alone")
	p.returns(c, view.BackfillPage{})
	return p.needs(c, roleReader)
}

func (p *Program) listBackfills(ctx context.Context, flags pageFlags) error {
	from, err := flags.number()
	if err != nil {
		return err
	}
	var before *int64
	if from > 0 {
		before = &from
	}
	pool, err := p.schedulesPool(ctx)
	if err != nil {
		return err
	}
	found, err := store.ListBackfills(ctx, pool, before, flags.limit+1)
	if err != nil {
		return err
	}
	page := view.BackfillPage{Backfills: []view.Backfill{}}
	found, page.Next = pageOf(found, flags.limit, func(row store.ListBackfillsRow) string { return digits(row.ID) })
	for i := range found {
		page.Backfills = append(page.Backfills, view.OfBackfill(&found[i]))
	}
	return printList(p, page, page.Backfills, page.Next, func(b view.Backfill) string { return digits(b.ID) }, backfillTable)
}

func backfillTable(backfills []view.Backfill) (header []string, rows [][]string) {
	rows = make([][]string, len(backfills))
	for i, b := range backfills {
		status := "running"
		switch {
		case b.Cancelled:
			status = "cancelled"
		case b.EndedAt != nil && b.OpenRuns > 0:
			status = "enqueued"
		case b.EndedAt != nil:
			status = "done"
		}
		rows[i] = []string{
			strconv.FormatInt(b.ID, 10), cell(b.Schedule, 40), status, moment(&b.From), moment(&b.To), strconv.Itoa(int(b.Fired)),
			strconv.FormatInt(b.OpenRuns, 10), strconv.Itoa(int(b.AtOnce)), moment(&b.CreatedAt), cell(b.CreatedBy, 24),
		}
	}
	return []string{"ID", "SCHEDULE", "STATUS", "FROM", "TO", "ENQUEUED", "UNFINISHED", "AT ONCE", "CREATED", "BY"}, rows
}

func (p *Program) schedulesCancelBackfill() *cobra.Command {
	c := &cobra.Command{
		Use:     "cancel-backfill ID",
		Short:   "End a backfill",
		Long:    "End a backfill: no further tick of it is enqueued. Runs that are enqueued go on.",
		Example: "  towpath schedules cancel-backfill 1",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := parseBackfill("backfill", args[0])
			if err != nil {
				return err
			}
			pool, err := p.schedulesPool(c.Context())
			if err != nil {
				return err
			}
			name, changed, err := store.CancelBackfill(c.Context(), pool, id)
			if err != nil {
				return scheduleError(err)
			}
			if p.json {
				return p.printJSON(view.BackfillEnd{Backfill: id, Schedule: name, Changed: changed})
			}
			done := "is cancelled"
			if !changed {
				done = "had ended already"
			}
			p.tell("backfill %d of %s %s", id, name, done)
			return nil
		},
	}
	p.quietFlag(c, "print nothing")
	p.returns(c, view.BackfillEnd{})
	return p.needs(c, roleOperator)
}

// parseBackfill reads the number of a backfill.
func parseBackfill(what, text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("%s %q: give a whole number, as `schedules backfills` prints it", what, text)
	}
	return id, nil
}
