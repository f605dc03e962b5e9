package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

func (p *Program) schedulesShow() *cobra.Command {
	runs := 10
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show a schedule: what it runs, where and when it ran, how long that took",
		Long: "Show everything about a schedule: when it runs, which definition holds, what it depends on, how it is, and its\n" +
			"last runs: when each started, on which server, how long it took and how it ended.",
		Example: "  towpath schedules show digest\n  towpath schedules show digest --runs 50 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if runs < 1 || runs > 1000 {
				return usagef("--runs %d: give a number from 1 to 1000", runs)
			}
			return p.showSchedule(c.Context(), args[0], runs)
		},
	}
	c.Flags().IntVar(&runs, "runs", runs, "how many of its runs, at most 1000")
	p.returns(c, scheduleDetails{})
	return p.needs(c, roleReader)
}

func (p *Program) showSchedule(ctx context.Context, name string, most int) error {
	s, err := p.findSchedule(ctx, name)
	if err != nil {
		return err
	}
	runs, err := store.ListScheduleRuns(ctx, p.pool, name, most)
	if err != nil {
		return err
	}
	events, err := store.ListScheduleEvents(ctx, p.pool, name, 10)
	if err != nil {
		return err
	}
	needs, err := store.ScheduleNeeds(ctx, p.pool, s.Kind, s.Queue)
	if err != nil {
		return err
	}
	if p.json {
		shown := scheduleDetails{Schedule: view.OfSchedule(s), Processes: needs.Processes, QueuePaused: needs.Paused}
		shown.Runs, shown.Events = make([]view.ScheduleRun, len(runs)), make([]scheduleEventView, len(events))
		for i := range runs {
			shown.Runs[i] = view.OfScheduleRun(&runs[i])
		}
		for i, e := range events {
			shown.Events[i] = scheduleEventView{e.At, e.Status, e.Before, e.Since, e.Due, e.JobID}
		}
		return p.printJSON(shown)
	}
	if err := p.record([]string{"Schedule", s.Name}, scheduleRows(s, needs)); err != nil {
		return err
	}
	return p.printRuns(s, runs)
}

// scheduleRows is what there is to say about a schedule.
func scheduleRows(s *store.ScheduleView, needs store.ScheduleNeedsRow) [][]string {
	status := fmt.Sprintf("%s since %s", s.Status, inZone(s.StatusSince, s.Zone))
	if s.PausedBy != nil {
		status += " by " + *s.PausedBy
	}
	if s.PauseReason != nil {
		status += ": " + *s.PauseReason
	}
	if late := lateness(s.LateBy); late != "-" {
		status += ", the next run is due since " + late
	}
	workers := fmt.Sprintf("%d live processes work that kind in queue %s", needs.Processes, s.Queue)
	if needs.Processes == 0 {
		workers = fmt.Sprintf("no live process works that kind in queue %s", s.Queue)
	}
	if needs.Paused {
		workers += ", which is paused"
	}
	took := "-"
	if s.LastDuration != nil {
		took = rounded(*s.LastDuration)
	}
	if s.UsualDuration != nil && s.OffUsual != nil {
		sign := "+"
		if *s.OffUsual < 0 {
			sign = "-"
		}
		took += fmt.Sprintf("; usually %s (%s%s)", rounded(*s.UsualDuration), sign, rounded(s.OffUsual.Abs()))
	}
	rows := [][]string{
		{"When", fmt.Sprintf("%s  (%s)", s.InWords, s.Expression)},
		{"Next run", nextRun(s)},
		{"Status", status},
		{"Runs", fmt.Sprintf("%s %s, priority %d", s.Kind, string(s.Args), s.Priority)},
		{"Depends on", workers},
		{"Last took", took},
		{"Missed runs", policy(s)},
		{"Overlap", s.Overlap},
		{"Defined in", definedIn(s)},
		{"Changed", fmt.Sprintf("%s by %s", inZone(s.ChangedAt, s.Zone), textOf(s.ChangedBy))},
	}
	if s.RunningSince != nil {
		rows = append(rows, []string{"Running", "for " + rounded(time.Since(*s.RunningSince))})
	}
	if s.Problem != nil {
		rows = append(rows, []string{"Problem", *s.Problem})
	}
	return rows
}

func policy(s *store.ScheduleView) string {
	text := s.Missed
	if s.SkipAfter != nil {
		text += " what is later than " + rounded(*s.SkipAfter)
	}
	return text + ", grace " + rounded(s.Grace)
}

func definedIn(s *store.ScheduleView) string {
	if s.DefinedIn != "both" {
		return s.DefinedIn
	}
	code := struct {
		Expression string `json:"expression"`
	}{}
	_ = json.Unmarshal(s.Code, &code) // the database made it
	return fmt.Sprintf("code (%s) and edited at run time, which holds; `schedules revert` goes back", code.Expression)
}

func (p *Program) printRuns(s *store.ScheduleView, runs []store.ScheduleRunView) error {
	rows := make([][]string, len(runs))
	for i := range runs {
		r := &runs[i]
		start, took, job := "-", "-", "-"
		if r.StartedAt != nil {
			start = inZone(*r.StartedAt, s.Zone)
		}
		if r.Duration != nil {
			took = rounded(*r.Duration)
		}
		if r.JobID != nil {
			job = strconv.FormatInt(*r.JobID, 10)
		}
		server := textOf(r.Host)
		if server == "-" {
			server = textOf(r.Process)
		}
		rows[i] = []string{inZone(r.Tick, s.Zone), r.Cause, start, cell(server, 40), took, r.Outcome, job, cell(noteOf(r), 60)}
	}
	fmt.Fprintln(p.stdout)
	return table(p.stdout, []string{"TICK", "CAUSE", "STARTED", "SERVER", "TOOK", "OUTCOME", "JOB", "NOTE"}, rows)
}

// noteOf says what there is to say about a run besides its outcome.
func noteOf(r *store.ScheduleRunView) string {
	note := textOf(r.Note)
	if r.Ticks == 1 {
		return note
	}
	stands := fmt.Sprintf("stands for %d ticks", r.Ticks)
	if note == "-" {
		return stands
	}
	return note + "; " + stands
}

// scheduleDetails is the result of `schedules show --json`.
type scheduleDetails struct {
	view.Schedule

	Processes   int64               `json:"processes" about:"how many live processes could run it"`
	QueuePaused bool                `json:"queue_paused" about:"whether its queue is paused"`
	Runs        []view.ScheduleRun  `json:"runs" about:"its last runs, the newest first"`
	Events      []scheduleEventView `json:"events" about:"the last changes of its status, the newest first"`
}

// scheduleEventView is a change of status.
type scheduleEventView struct {
	At     time.Time  `json:"at" about:"when the leader saw it"`
	Status string     `json:"status" about:"the new status"`
	Before string     `json:"before" about:"the one before"`
	Since  time.Time  `json:"since" about:"since when the new one is true"`
	Due    *time.Time `json:"due" about:"when the last tick was due"`
	JobID  *int64     `json:"job_id" about:"the job of the last run"`
}
