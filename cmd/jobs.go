package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
)

func (p *Program) jobsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "jobs",
		Short: "Look at jobs: list, show",
		Long:  "Look at jobs, waiting, running and finished ones alike.",
	}
	c.AddCommand(p.jobsList(), p.jobsShow())
	for _, sub := range c.Commands() {
		reads(sub, config.GroupDatabase)
	}
	return c
}

// listFilter is what `jobs list` is asked for.
type listFilter struct {
	states, kinds, queues []string
	limit                 int
	after                 int64
}

func (p *Program) jobsList() *cobra.Command {
	var filter listFilter
	c := &cobra.Command{
		Use:   "list",
		Short: "List jobs, the newest first",
		Long: "List jobs, the newest first. When there are more, the last line says how to see the next page; with --json it\n" +
			"is the number in \"next\".",
		Example: "  towpath jobs list --state discarded --kind resize_image\n  towpath jobs list --limit 100 --after 4711 --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.listJobs(c.Context(), filter)
		},
	}
	c.Flags().StringSliceVar(&filter.states, "state", nil, "only these states: "+stateNames())
	c.Flags().StringSliceVar(&filter.kinds, "kind", nil, "only these kinds")
	c.Flags().StringSliceVar(&filter.queues, "queue", nil, "only these queues")
	c.Flags().IntVar(&filter.limit, "limit", 25, "how many, at most 10000")
	c.Flags().Int64Var(&filter.after, "after", 0, "only jobs with a lower id: the next page after this job")
	return c
}

func stateNames() string {
	names := make([]string, 0, len(rivertype.JobStates()))
	for _, state := range rivertype.JobStates() {
		names = append(names, string(state))
	}
	return strings.Join(names, ", ")
}

// params checks a filter and turns it into River's.
func (f listFilter) params() (*river.JobListParams, error) {
	const most = 10_000
	if f.limit < 1 || f.limit > most {
		return nil, usagef("--limit %d: give a number from 1 to %d", f.limit, most)
	}
	params := river.NewJobListParams().OrderBy(river.JobListOrderByID, river.SortOrderDesc).
		// One more than is shown tells whether there is a next page.
		First(min(f.limit+1, most))
	if len(f.states) > 0 {
		states := make([]rivertype.JobState, len(f.states))
		for i, name := range f.states {
			states[i] = rivertype.JobState(name)
			if !slices.Contains(rivertype.JobStates(), states[i]) {
				return nil, usagef("--state %q: there is no such state; choose from %s", name, stateNames())
			}
		}
		params = params.States(states...)
	}
	if len(f.kinds) > 0 {
		params = params.Kinds(f.kinds...)
	}
	if len(f.queues) > 0 {
		params = params.Queues(f.queues...)
	}
	if f.after < 0 {
		return nil, usagef("--after %d: give the id of the last job of the page before", f.after)
	}
	if f.after > 0 {
		params = params.After(river.JobListCursorFromJob(&rivertype.JobRow{ID: f.after}))
	}
	return params, nil
}

func (p *Program) listJobs(ctx context.Context, filter listFilter) error {
	params, err := filter.params()
	if err != nil {
		return err
	}
	client, err := p.Client(ctx)
	if err != nil {
		return err
	}
	result, err := client.JobList(ctx, params)
	if err != nil {
		return fmt.Errorf("list jobs: %w", err)
	}
	found := result.Jobs
	var next *int64
	if len(found) > filter.limit {
		found = found[:filter.limit]
		next = &found[len(found)-1].ID
	}
	if p.json {
		page := jobPage{Jobs: make([]jobView, len(found)), Next: next}
		for i, job := range found {
			page.Jobs[i] = viewJob(job)
		}
		return p.printJSON(page)
	}
	rows := make([][]string, len(found))
	for i, job := range found {
		rows[i] = []string{
			strconv.FormatInt(job.ID, 10), string(job.State), cell(job.Kind, 40), cell(job.Queue, 24),
			fmt.Sprintf("%d/%d", job.Attempt, job.MaxAttempts), moment(&job.ScheduledAt), moment(job.FinalizedAt),
			cell(string(job.EncodedArgs), 48),
		}
	}
	if err := table(p.stdout, []string{"ID", "STATE", "KIND", "QUEUE", "ATTEMPT", "SCHEDULED", "FINISHED", "ARGS"}, rows); err != nil {
		return err
	}
	if next != nil {
		p.note("There are more: --after %d", *next)
	}
	return nil
}

func (p *Program) jobsShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one job with its args, errors and output",
		Long:    "Show everything about one job, whether it waits, runs or has finished.",
		Example: "  towpath jobs show 4711\n  towpath jobs show 4711 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return usagef("job id %q: give a whole number, as `%s jobs list` prints it", args[0], p.name)
			}
			return p.showJob(c.Context(), id)
		},
	}
}

func (p *Program) showJob(ctx context.Context, id int64) error {
	client, err := p.Client(ctx)
	if err != nil {
		return err
	}
	job, err := client.JobGet(ctx, id)
	if errors.Is(err, river.ErrNotFound) {
		return fmt.Errorf("job %d does not exist; it may never have been committed, or its history may be over", id)
	}
	if err != nil {
		return fmt.Errorf("show job %d: %w", id, err)
	}
	view := viewJob(job)
	if p.json {
		return p.printJSON(view)
	}
	return p.printJob(view)
}

func (p *Program) printJob(job jobView) error {
	rows := [][]string{
		{"State", string(job.State)},
		{"Kind", job.Kind},
		{"Queue", job.Queue},
		{"Priority", strconv.Itoa(job.Priority)},
		{"Attempt", fmt.Sprintf("%d of %d", job.Attempt, job.MaxAttempts)},
		{"Created", moment(&job.CreatedAt)},
		{"Scheduled", moment(&job.ScheduledAt)},
		{"Attempted", moment(job.AttemptedAt)},
		{"Finished", moment(job.FinalizedAt)},
		{"Attempted by", cell(strings.Join(job.AttemptedBy, ", "), 200)},
		{"Tags", cell(strings.Join(job.Tags, ", "), 200)},
		{"Args", string(job.Args)},
		{"Metadata", string(job.Metadata)},
	}
	for i, row := range rows {
		if row[1] == "" {
			rows[i][1] = "-"
		}
	}
	if err := table(p.stdout, []string{"ID", strconv.FormatInt(job.ID, 10)}, rows); err != nil {
		return err
	}
	for _, failure := range job.Errors {
		fmt.Fprintf(p.stdout, "\nAttempt %d failed at %s: %s\n", failure.Attempt, moment(&failure.At), failure.Error)
		if failure.Trace != "" {
			fmt.Fprintf(p.stdout, "%s\n", strings.TrimRight(failure.Trace, "\n"))
		}
	}
	return nil
}

// moment prints a time for people, in their own zone.
func moment(at *time.Time) string {
	if at == nil || at.IsZero() {
		return "-"
	}
	return at.Local().Format(time.DateTime)
}

// jobPage is the result of `jobs list --json`.
type jobPage struct {
	Jobs []jobView `json:"jobs"`
	Next *int64    `json:"next"` // what --after needs for the next page; null on the last one
}

// jobView is a job as --json prints it; an interface.
type jobView struct {
	ID          int64              `json:"id"`
	State       rivertype.JobState `json:"state"`
	Kind        string             `json:"kind"`
	Queue       string             `json:"queue"`
	Priority    int                `json:"priority"`
	Attempt     int                `json:"attempt"`
	MaxAttempts int                `json:"max_attempts"`
	CreatedAt   time.Time          `json:"created_at"`
	ScheduledAt time.Time          `json:"scheduled_at"`
	AttemptedAt *time.Time         `json:"attempted_at"`
	FinalizedAt *time.Time         `json:"finalized_at"`
	AttemptedBy []string           `json:"attempted_by"`
	Tags        []string           `json:"tags"`
	Args        json.RawMessage    `json:"args"`
	Metadata    json.RawMessage    `json:"metadata"`
	Errors      []jobFailure       `json:"errors"`
}

// jobFailure is a failed attempt.
type jobFailure struct {
	At      time.Time `json:"at"`
	Attempt int       `json:"attempt"`
	Error   string    `json:"error"`
	Trace   string    `json:"trace"`
}

func viewJob(job *rivertype.JobRow) jobView {
	view := jobView{
		ID: job.ID, State: job.State, Kind: job.Kind, Queue: job.Queue, Priority: job.Priority,
		Attempt: job.Attempt, MaxAttempts: job.MaxAttempts,
		CreatedAt: job.CreatedAt, ScheduledAt: job.ScheduledAt, AttemptedAt: job.AttemptedAt, FinalizedAt: job.FinalizedAt,
		AttemptedBy: orEmpty(job.AttemptedBy), Tags: orEmpty(job.Tags),
		Args: job.EncodedArgs, Metadata: job.Metadata, Errors: make([]jobFailure, len(job.Errors)),
	}
	for i, failure := range job.Errors {
		view.Errors[i] = jobFailure{At: failure.At, Attempt: failure.Attempt, Error: failure.Error, Trace: failure.Trace}
	}
	return view
}
