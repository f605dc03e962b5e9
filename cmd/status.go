package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/alert"
	"github.com/towpath/towpath/internal/store"
)

// overview is what status and top read.
type overview struct {
	queues    []queueView
	kinds     []kindView
	processes []processView
	leader    *store.Leader // nil when nobody leads
	firing    []alertView
	drift     []driftView
}

// firingShown is how many alerts are shown at most.
const firingShown = 200

// readOverview reads the queues, the kinds of the last hour, the processes, what fires and what has drifted.
func readOverview(ctx context.Context, db store.DB) (*overview, error) {
	var seen overview
	var err error
	if seen.queues, err = queues(ctx, db); err != nil {
		return nil, err
	}
	if seen.kinds, err = kinds(ctx, db, time.Hour); err != nil {
		return nil, err
	}
	if seen.processes, err = processes(ctx, db); err != nil {
		return nil, err
	}
	leader, led, err := store.FindLeader(ctx, db)
	if err != nil {
		return nil, err
	}
	if led {
		seen.leader = &leader
	}
	firing, err := store.ListAlerts(ctx, db, 0, "", []string{string(alert.Firing)}, firingShown)
	if err != nil {
		return nil, err
	}
	for _, one := range firing {
		seen.firing = append(seen.firing, viewAlert(one))
	}
	seen.drift, err = drift(ctx, db)
	return &seen, err
}

// statusView is the result of `status --json`.
type statusView struct {
	Status            string    `json:"status" about:"fine, or problem"`
	Processes         int       `json:"processes" about:"live processes"`
	Leader            *string   `json:"leader" about:"host and pid of the leader, or the id of one of plain River; null without one"`
	Queues            int       `json:"queues" about:"how many queues there are"`
	Available         int64     `json:"available" about:"jobs that may start now, over all queues"`
	Running           int64     `json:"running" about:"jobs that run"`
	Scheduled         int64     `json:"scheduled" about:"jobs for later"`
	Retryable         int64     `json:"retryable" about:"jobs that failed and wait for their next attempt"`
	Slots             int64     `json:"slots" about:"how many jobs can run at once"`
	StartedPerMinute  float64   `json:"started_per_minute" about:"attempts that started, a minute, over the last five"`
	FinishedPerMinute float64   `json:"finished_per_minute" about:"jobs that finished, a minute, over the last five"`
	FailedLastHour    int64     `json:"failed_last_hour" about:"attempts that failed in the last hour"`
	Unfinished        int64     `json:"unfinished" about:"started - finished: attempts that are under way, or stuck"`
	Unsucceeded       int64     `json:"unsucceeded" about:"started - succeeded, since the beginning: what is under way, and what failed or was put off"`
	Firing            int       `json:"firing" about:"alerts that fire, 200 at most"`
	Findings          []finding `json:"findings" about:"what is wrong or worth knowing; what fires about the same is in the text"`
}

func (p *Program) statusCommand() *cobra.Command {
	oldest := spanValue{value: 10 * time.Minute}
	failing := 0.5
	c := &cobra.Command{
		Use:   "status",
		Short: "Say in one look whether all is well",
		Long: "Give an overview and say what is wrong: no process or no leader, a process that is silent or dead, a queue or a kind\n" +
			"that nobody works, a job that waits for too long, a kind that fails, and every alert that fires. An alert about one of\n" +
			"these is named with it. The exit code is 1 when there is a problem, so that scripts and probes can ask. Silenced alerts\n" +
			"and those for information are none.",
		Example: "  towpath status\n  towpath status --oldest 1h --failing 0.9 --json\n  towpath status --quiet || echo something is wrong",
		RunE: func(c *cobra.Command, _ []string) error {
			if failing <= 0 || failing > 1 {
				return usagef("--failing %g: give a share above 0, at most 1", failing)
			}
			return p.status(c.Context(), limits{oldest: oldest.value, failing: failing})
		},
	}
	c.Flags().Var(&oldest, "oldest", "a problem when an available job has been due for longer")
	c.Flags().Float64Var(&failing, "failing", failing, "a problem when this share of a kind's attempts failed in the last hour")
	p.quietFlag(c, "print nothing: the exit code says it")
	p.returns(c, statusView{})
	return p.needs(c, roleReader)
}

func (p *Program) status(ctx context.Context, limits limits) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	seen, err := readOverview(ctx, pool)
	if err != nil {
		return err
	}
	found, err := findings(ctx, pool, seen, limits)
	if err != nil {
		return err
	}
	view := seen.sum(found)
	switch {
	case p.json:
		err = p.printJSON(view)
	case !p.quiet:
		err = p.printStatus(view)
	}
	if err == nil && view.Status != "fine" {
		return &silentError{errors.New("something is wrong")}
	}
	return err
}

// sum adds up what was seen.
func (o *overview) sum(found []finding) statusView {
	view := statusView{Status: "fine", Queues: len(o.queues), Findings: found}
	for _, one := range found {
		if one.Level == levelProblem {
			view.Status = levelProblem
		}
	}
	for _, queue := range o.queues {
		view.Available += queue.Available
		view.Running += queue.Running
		view.Scheduled += queue.Scheduled
		view.Retryable += queue.Retryable
		view.Slots += queue.Slots
		view.StartedPerMinute += queue.StartedPerMinute
		view.FinishedPerMinute += queue.FinishedPerMinute
	}
	for _, kind := range o.kinds {
		view.FailedLastHour += kind.Failed
	}
	for _, process := range o.processes {
		if process.Status == "live" {
			view.Processes++
		}
	}
	if l := o.leader; l != nil {
		name := fmt.Sprintf("client %s of plain River", l.ID)
		if l.Host != "" {
			name = processName(l.Host, l.PID)
		}
		view.Leader = &name
	}
	for _, d := range o.drift {
		view.Unfinished += d.Unfinished
		view.Unsucceeded += d.Unsucceeded
	}
	view.Firing = len(o.firing)
	return view
}

func (p *Program) printStatus(view statusView) error {
	leader := "nobody"
	if view.Leader != nil {
		leader = *view.Leader
	}
	rows := [][]string{
		{"Processes", fmt.Sprintf("%d live, %d slots", view.Processes, view.Slots)},
		{"Leader", leader},
		{"Jobs", fmt.Sprintf("%d available, %d running, %d scheduled, %d retryable in %d queues", view.Available, view.Running, view.Scheduled, view.Retryable, view.Queues)},
		{"Rates", fmt.Sprintf("%.1f started and %.1f finished a minute", view.StartedPerMinute, view.FinishedPerMinute)},
		{"Drift", fmt.Sprintf("%d started - finished, %d started - succeeded", view.Unfinished, view.Unsucceeded)},
		{"Firing", strconv.Itoa(view.Firing) + " alerts"},
		{"Failed", strconv.FormatInt(view.FailedLastHour, 10) + " attempts in the last hour"},
	}
	if err := p.record([]string{"Status", view.Status}, rows); err != nil {
		return err
	}
	if len(view.Findings) == 0 {
		return nil
	}
	fmt.Fprintln(p.stdout)
	for _, one := range view.Findings {
		label := one.Level
		if screenOf(p.stdout).color {
			label = paint("LEVEL", label, false)
		}
		fmt.Fprintf(p.stdout, "%s: %s\n%s", label, one.Text, wrap(one.Mend, "    ", 100))
	}
	return nil
}
