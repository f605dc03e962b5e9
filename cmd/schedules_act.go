package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

// action is a command that does one thing to one schedule, or whatever has a name. do returns what it tells people and
// programs.
func action[T any](p *Program, use, short, long, example string, do func(ctx context.Context, pool *pgxpool.Pool, name string) (string, T, error)) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pool, err := p.schedulesPool(c.Context())
			if err != nil {
				return err
			}
			told, result, err := do(c.Context(), pool, args[0])
			if err != nil {
				return scheduleError(err)
			}
			if p.json {
				return p.printJSON(result)
			}
			p.tell("%s", told)
			return nil
		},
	}
	p.quietFlag(c, "print nothing")
	p.returns(c, *new(T))
	return p.needs(c, roleOperator)
}

// scheduleChange is what came of an action, for programs.
type scheduleChange struct {
	Name    string     `json:"name" about:"the schedule"`
	Changed bool       `json:"changed" about:"false if it was so already"`
	Run     *int64     `json:"run" about:"the number of the run that was asked for"`
	JobID   *int64     `json:"job_id" about:"the job of that run"`
	Skipped *time.Time `json:"skipped" about:"the first run that is skipped"`
	Until   *time.Time `json:"until" about:"those before this moment are skipped, too"`
}

// putResult is the result of `schedules put --json`.
type putResult struct {
	Name    string `json:"name" about:"the schedule"`
	Changed bool   `json:"changed" about:"false if it was so already"`
	InWords string `json:"in_words" about:"when it runs, in plain words"`
}

// changed tells an action that may have been done before.
func changedOr(changed bool, name, done, already string) (string, scheduleChange, error) {
	if !changed {
		return name + " " + already, scheduleChange{Name: name}, nil
	}
	return name + " " + done, scheduleChange{Name: name, Changed: true}, nil
}

func (p *Program) schedulesPause() *cobra.Command {
	var reason string
	c := action(p, "pause NAME", "Stop a schedule from firing",
		"Stop a schedule from firing until it is resumed. Runs that have begun go on.",
		"  towpath schedules pause digest --reason \"the mail server moves\"",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, scheduleChange, error) {
			changed, err := store.PauseSchedule(ctx, pool, name, reason)
			if err != nil {
				return "", scheduleChange{}, err
			}
			return changedOr(changed, name, "is paused", "was paused already")
		})
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	return c
}

func (p *Program) schedulesResume() *cobra.Command {
	return action(p, "resume NAME", "Let a paused schedule fire again",
		"Let a paused schedule fire again, from its next tick on. Those that came during the pause are not made up for;\n`schedules backfill` does that.",
		"  towpath schedules resume digest",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, scheduleChange, error) {
			changed, err := store.ResumeSchedule(ctx, pool, name)
			if err != nil {
				return "", scheduleChange{}, err
			}
			return changedOr(changed, name, "is resumed", "was not paused")
		})
}

func (p *Program) schedulesRun() *cobra.Command {
	return action(p, "run NAME", "Run a schedule now",
		"Enqueue a schedule's job now, besides its ticks, even if the schedule is paused or another run is unfinished.",
		"  towpath schedules run digest",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, scheduleChange, error) {
			n, job, err := store.RunSchedule(ctx, pool, name)
			return fmt.Sprintf("%s runs as job %d", name, job), scheduleChange{Name: name, Changed: true, Run: &n, JobID: &job}, err
		})
}

func (p *Program) schedulesSkip() *cobra.Command {
	var until string
	c := action(p, "skip NAME", "Skip the next run of a schedule",
		"Skip the next run of a schedule, or with --until all before a moment. It is recorded as skipped, and by whom.",
		"  towpath schedules skip nightly\n  towpath schedules skip digest --until 2099-12-27T00:00:00+01:00",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, scheduleChange, error) {
			var end *time.Time
			if until != "" {
				moment, err := parseMoment("--until", until)
				if err != nil {
					return "", scheduleChange{}, err
				}
				end = &moment
			}
			skipped, err := store.SkipSchedule(ctx, pool, name, end)
			told := fmt.Sprintf("%s skips its run of %s", name, skipped.UTC().Format(time.RFC3339))
			if end != nil {
				told = fmt.Sprintf("%s skips its runs from %s to before %s", name, skipped.UTC().Format(time.RFC3339), until)
			}
			return told, scheduleChange{Name: name, Changed: true, Skipped: &skipped, Until: end}, err
		})
	c.Flags().StringVar(&until, "until", "", "skip all runs before this moment")
	return c
}

// parseMoment reads a time that a person wrote.
func parseMoment(flag, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04Z07:00", time.DateOnly} {
		if moment, err := time.Parse(layout, text); err == nil {
			return moment, nil
		}
	}
	return time.Time{}, usagef("%s %q is no moment; write it as 2026-11-01T06:00:00+01:00, or 2026-11-01 for the beginning of that day in UTC", flag, text)
}

func (p *Program) schedulesRevert() *cobra.Command {
	return action(p, "revert NAME", "Go back to a schedule's definition in code",
		"Drop what was edited at run time, so that the definition in code holds again.",
		"  towpath schedules revert digest",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, scheduleChange, error) {
			changed, err := store.RevertSchedule(ctx, pool, name)
			if err != nil {
				return "", scheduleChange{}, err
			}
			return changedOr(changed, name, "is as its code defines it", "was as its code defines it already")
		})
}

func (p *Program) schedulesDelete() *cobra.Command {
	return action(p, "delete NAME", "Delete a schedule",
		"Delete a schedule that was defined at run time, with the record of its runs. Jobs that it enqueued stay.",
		"  towpath schedules delete nightly",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, scheduleChange, error) {
			return name + " is deleted", scheduleChange{Name: name, Changed: true}, store.DeleteSchedule(ctx, pool, name)
		})
}

// putFlags are the parts of a definition that flags set.
type putFlags struct {
	args, starts, ends                string
	jitter, skipAfter, grace, longest spanValue
	expression, zone, kind, queue     string
	priority, maxAttempts             int
	tags                              []string
	missed, overlap                   string
}

func (p *Program) schedulesPut() *cobra.Command {
	none := spanValue{orNone: true} // so that 0 takes away what was set
	f := putFlags{jitter: none, skipAfter: none, grace: none, longest: none}
	c := &cobra.Command{
		Use:   "put NAME",
		Short: "Define a schedule, or change one",
		Long: "Define a schedule, or change one: what no flag names stays as it is. Of a schedule that is defined in code, the\n" +
			"result holds until `schedules revert`.",
		Example: "  towpath schedules put digest --expression \"0 6 * * MON\" --zone Europe/Paris --kind report.digest\n" +
			"  towpath schedules put digest --expression \"daily> 07:00:00\" --missed skip --skip-after 2h --overlap queue",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.putSchedule(c, args[0], &f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.expression, "expression", "", "when: cron with five or six fields, @every 90s, @daily, daily> 07:00:00 and the like")
	flags.StringVar(&f.zone, "zone", "", "time zone of the IANA database (default UTC)")
	flags.StringVar(&f.kind, "kind", "", "kind of the job")
	flags.StringVar(&f.args, "args", "", "args of the job, a JSON object")
	flags.StringVar(&f.queue, "queue", "", "queue of the job (default default)")
	flags.IntVar(&f.priority, "priority", 1, "priority of the job, from 1 to 4")
	flags.IntVar(&f.maxAttempts, "max-attempts", 25, "attempts of the job")
	flags.StringSliceVar(&f.tags, "tags", nil, "tags of the job")
	flags.StringVar(&f.starts, "starts", "", "no tick before this moment")
	flags.StringVar(&f.ends, "ends", "", "no tick after this moment")
	flags.Var(&f.jitter, "jitter", "fire each tick up to so much later")
	flags.StringVar(&f.missed, "missed", "", "ticks that nobody fired in time: coalesce, catch_up or skip")
	flags.Var(&f.skipAfter, "skip-after", "with --missed skip: ticks later than that do not run")
	flags.StringVar(&f.overlap, "overlap", "", "a tick while a run is unfinished: allow, skip or queue")
	flags.Var(&f.grace, "grace", "a start later than that counts as missed (default 5m)")
	flags.Var(&f.longest, "longest", "a run longer than that counts as too long")
	p.quietFlag(c, "print nothing")
	p.returns(c, putResult{})
	return p.needs(c, roleOperator)
}

func (p *Program) putSchedule(c *cobra.Command, name string, f *putFlags) error {
	pool, err := p.schedulesPool(c.Context())
	if err != nil {
		return err
	}
	d := &schedule.Definition{}
	existing, err := store.FindSchedule(c.Context(), pool, name)
	switch {
	case err == nil:
		if d, err = view.Definition(existing); err != nil {
			return err
		}
	case !errors.Is(err, pgx.ErrNoRows):
		return err
	}
	if err := f.apply(c, d); err != nil {
		return err
	}
	if d.Expression == "" || d.Kind == "" {
		return usagef("schedule %q is new and needs --expression and --kind, such as --expression \"0 6 * * MON\" --kind report.digest", name)
	}
	if err := d.Check(name); err != nil {
		return UsageError(err)
	}
	document, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("put schedule %q: %w", name, err)
	}
	changed, err := store.DefineSchedule(c.Context(), pool, name, document)
	if err != nil {
		return scheduleError(err)
	}
	plan, err := d.Plan(name)
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(putResult{name, changed, plan.Words()})
	}
	told := "runs"
	if !changed {
		told = "was so already: it runs"
	}
	p.tell("%s %s %s", name, told, plan.Words())
	return nil
}

// apply changes what flags name.
func (f *putFlags) apply(c *cobra.Command, d *schedule.Definition) error {
	set := func(flag string, change func()) {
		if c.Flags().Changed(flag) {
			change()
		}
	}
	set("expression", func() { d.Expression = f.expression })
	set("zone", func() { d.Zone = f.zone })
	set("kind", func() { d.Kind = f.kind })
	set("queue", func() { d.Queue = f.queue })
	set("priority", func() { d.Priority = f.priority })
	set("max-attempts", func() { d.MaxAttempts = f.maxAttempts })
	set("tags", func() { d.Tags = f.tags })
	set("jitter", func() { d.Jitter = schedule.Seconds(f.jitter.value) })
	set("missed", func() {
		if d.Missed = f.missed; d.Missed != schedule.Skip {
			d.SkipAfter = 0
		}
	})
	set("skip-after", func() { d.SkipAfter = schedule.Seconds(f.skipAfter.value) })
	set("overlap", func() { d.Overlap = f.overlap })
	set("grace", func() { d.Grace = schedule.Seconds(f.grace.value) })
	set("longest", func() { d.Longest = schedule.Seconds(f.longest.value) })
	if c.Flags().Changed("args") {
		if !json.Valid([]byte(f.args)) || !strings.HasPrefix(strings.TrimSpace(f.args), "{") {
			return usagef(`--args %q is no JSON object; write it as {"team": 7}`, f.args)
		}
		d.Args = json.RawMessage(f.args)
	}
	for _, bound := range []struct {
		flag, text string
		at         **time.Time
	}{{"starts", f.starts, &d.StartsAt}, {"ends", f.ends, &d.EndsAt}} {
		if !c.Flags().Changed(bound.flag) {
			continue
		}
		if *bound.at = nil; bound.text != "" {
			moment, err := parseMoment("--"+bound.flag, bound.text)
			if err != nil {
				return err
			}
			*bound.at = &moment
		}
	}
	return nil
}
