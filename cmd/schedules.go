package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

func (p *Program) schedulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "schedules",
		Short: "Schedules: list, show, define, pause, run now, backfill, import",
		Long: "Look at schedules, which enqueue a job at every tick of an expression, and change them. What is put here\n" +
			"holds over the definition in code until `schedules revert`.",
	}
	c.AddCommand(p.schedulesList(), p.schedulesShow(), p.schedulesNext(), p.schedulesPut(), p.schedulesRevert(), p.schedulesDelete(),
		p.schedulesPause(), p.schedulesResume(), p.schedulesRun(), p.schedulesSkip(), p.schedulesBackfill(), p.schedulesBackfills(),
		p.schedulesCancelBackfill(), p.schedulesImport())
	return c
}

// schedulesPool returns the database once it has the tables.
func (p *Program) schedulesPool(ctx context.Context) (*pgxpool.Pool, error) {
	pool, err := p.Database(ctx)
	if err != nil {
		return nil, err
	}
	return pool, p.requireSchema(ctx)
}

// scheduleError tells what the database refused, with its remedy; what was wrongly asked for is wrong usage.
func scheduleError(err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || !slices.Contains([]string{"22023", "55000", "P0002"}, pgErr.Code) {
		return err
	}
	told := errors.New(pgErr.Message)
	if pgErr.Hint != "" {
		told = fmt.Errorf("%s; %s", pgErr.Message, strings.TrimSuffix(lowerFirst(pgErr.Hint), "."))
	}
	if pgErr.Code == "22023" {
		return UsageError(told)
	}
	return told
}

func lowerFirst(text string) string {
	// A word in capitals stays as it is.
	if len(text) > 1 && (text[1] >= 'a' && text[1] <= 'z' || text[1] == ' ') {
		return strings.ToLower(text[:1]) + text[1:]
	}
	return text
}

func (p *Program) schedulesList() *cobra.Command {
	var statuses []string
	var after string
	var limit int
	c := &cobra.Command{
		Use:   "list",
		Short: "List schedules: when they run next, and whether they are in order",
		Long: "List schedules by name: the next run in its own zone, when it runs in words, how it is and since when, how late\n" +
			"it is, how its last run ended. When there are more, the last line says how to see the next page.",
		Example: "  towpath schedules list\n  towpath schedules list --status missed,failed --json",
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 1 || limit > 10_000 {
				return usagef("--limit %d: give a number from 1 to 10000", limit)
			}
			for _, status := range statuses {
				if !slices.Contains(schedule.Statuses(), schedule.Status(status)) {
					return usagef("--status %q: there is no such status; choose from ok, late, missed, failed, too_long, paused", status)
				}
			}
			return p.listSchedules(c.Context(), statuses, after, limit)
		},
	}
	c.Flags().StringSliceVar(&statuses, "status", nil, "only these: ok, late, missed, failed, too_long, paused")
	c.Flags().IntVar(&limit, "limit", 100, "how many, at most 10000")
	c.Flags().StringVar(&after, "after", "", "only names behind this one: the next page")
	p.quietFlag(c, "print the names alone")
	p.returns(c, view.SchedulePage{})
	return p.needs(c, roleReader)
}

func (p *Program) listSchedules(ctx context.Context, statuses []string, after string, limit int) error {
	pool, err := p.schedulesPool(ctx)
	if err != nil {
		return err
	}
	found, err := store.ListSchedules(ctx, pool, statuses, after, limit+1)
	if err != nil {
		return err
	}
	key := func(s store.ScheduleView) string { return s.Name }
	found, next := pageOf(found, limit, key)
	page := view.SchedulePage{Schedules: make([]view.Schedule, len(found)), Next: next}
	for i := range found {
		page.Schedules[i] = view.OfSchedule(&found[i])
	}
	return printList(p, page, found, next, key, scheduleTable)
}

// scheduleTable returns the table of schedules.
func scheduleTable(found []store.ScheduleView) (header []string, rows [][]string) {
	rows = make([][]string, len(found))
	for i := range found {
		s := &found[i]
		rows[i] = []string{
			cell(s.Name, 40), nextRun(s), cell(s.InWords, 60), s.Status, ago(s.StatusSince), lateness(s.LateBy), ago(orZero(s.LastStart)), textOf(s.LastOutcome),
		}
	}
	return []string{"NAME", "NEXT RUN", "WHEN", "STATUS", "SINCE", "LATE", "LAST RUN", "OUTCOME"}, rows
}

// nextRun is the next tick in the schedule's zone, or why there is none.
func nextRun(s *store.ScheduleView) string {
	switch {
	case s.Problem != nil:
		return "problem"
	case s.PausedAt != nil:
		return "paused"
	case s.NextRun == nil && s.EndsAt != nil && s.EndsAt.Before(time.Now()):
		return "ended"
	case s.NextRun == nil:
		return "-"
	default:
		return inZone(*s.NextRun, s.Zone)
	}
}

func inZone(at time.Time, zone string) string {
	location, err := schedule.LoadZone(zone)
	if err != nil {
		location = time.UTC
	}
	return at.In(location).Format("Mon 2006-01-02 15:04:05 MST")
}

func ago(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return rounded(time.Since(at)) + " ago"
}

func lateness(late *time.Duration) string {
	if late == nil || *late < time.Second {
		return "-"
	}
	return rounded(*late)
}

// rounded is a length of time with two units at most.
func rounded(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	case d >= time.Second:
		return d.Round(time.Second).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

func orZero(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}

// textOf is a text that may be missing, for people.
func textOf(text *string) string {
	if text == nil {
		return "-"
	}
	return orDash(*text)
}

func (p *Program) schedulesNext() *cobra.Command {
	n := 5
	c := &cobra.Command{
		Use:     "next NAME",
		Short:   "Say when a schedule runs next",
		Long:    "Say when a schedule runs next, in its own zone, as its definition has it.",
		Example: "  towpath schedules next digest\n  towpath schedules next digest -n 20 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if n < 1 || n > view.MostListed {
				return usagef("-n %d: give a number from 1 to 1000", n)
			}
			return p.nextRuns(c.Context(), args[0], n)
		},
	}
	c.Flags().IntVarP(&n, "count", "n", n, "how many, at most 1000")
	p.returns(c, view.NextRuns{})
	return p.needs(c, roleReader)
}

// findSchedule returns a schedule.
func (p *Program) findSchedule(ctx context.Context, name string) (*store.ScheduleView, error) {
	pool, err := p.schedulesPool(ctx)
	if err != nil {
		return nil, err
	}
	s, err := store.FindSchedule(ctx, pool, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("schedule %q does not exist; `%s schedules list` lists them", name, p.name)
	}
	return s, err
}

func (p *Program) nextRuns(ctx context.Context, name string, n int) error {
	s, err := p.findSchedule(ctx, name)
	if err != nil {
		return err
	}
	next, err := view.NextRunsOf(s, n)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(next)
	}
	if len(next.Runs) == 0 {
		p.note("There is none: %s is %s.", name, map[bool]string{true: "paused", false: "over"}[next.Paused])
	}
	for _, run := range next.Runs {
		fmt.Fprintln(p.stdout, run.Format("Mon 2006-01-02 15:04:05 MST"))
	}
	return nil
}
