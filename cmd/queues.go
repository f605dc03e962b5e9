package cmd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// queueView is a queue as --json prints it.
type queueView struct {
	Queue             string     `json:"queue" about:"its name"`
	Status            string     `json:"status" about:"working; paused; missing: jobs wait, and no live process works it; idle: neither jobs nor processes"`
	Available         int64      `json:"available" about:"jobs that may start now"`
	Running           int64      `json:"running" about:"jobs that run"`
	Scheduled         int64      `json:"scheduled" about:"jobs for later"`
	Retryable         int64      `json:"retryable" about:"jobs that failed and wait for their next attempt"`
	Pending           int64      `json:"pending" about:"jobs that wait for something else to release them, when last counted"`
	OldestSeconds     *float64   `json:"oldest_seconds" about:"how long the first available job has been due; null without one"`
	StartedPerMinute  float64    `json:"started_per_minute" about:"attempts that started, a minute, over the last five"`
	FinishedPerMinute float64    `json:"finished_per_minute" about:"jobs that finished after an attempt, a minute, over the last five"`
	Processes         int64      `json:"processes" about:"live processes that work it"`
	Slots             int64      `json:"slots" about:"how many jobs they run at once; 0 when they did not say"`
	PausedAt          *time.Time `json:"paused_at" about:"when it was paused; null if it is not"`
	PausedBy          *string    `json:"paused_by" about:"who paused it, if that is known"`
	CountedAt         *time.Time `json:"counted_at" about:"when available, scheduled and retryable were counted"`
}

// queuePage is the result of `queues list --json`.
type queuePage struct {
	Queues []queueView `json:"queues" about:"by name"`
	Next   *string     `json:"next" about:"what --after needs for the next page; null on the last one"`
}

// pausedQueue is what became of a queue that was paused or resumed.
type pausedQueue struct {
	Queue    string     `json:"queue" about:"its name"`
	Changed  bool       `json:"changed" about:"false if it was so already"`
	PausedAt *time.Time `json:"paused_at" about:"since when it is paused; null if it is not"`
}

// pausedQueues is the result of `queues pause --json` and `queues resume --json`.
type pausedQueues struct {
	Queues []pausedQueue `json:"queues" about:"those that were meant, by name"`
}

func (p *Program) queuesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "queues",
		Short: "Look at queues and pause them: list, pause, resume",
		Long:  "Look at queues: how much waits and runs, how fast it goes and who works it; pause and resume them.",
	}
	c.AddCommand(p.queuesList(), p.queuesPause(), p.queuesResume())
	return c
}

func (p *Program) queuesList() *cobra.Command {
	var page pageFlags
	c := &cobra.Command{
		Use:     "list",
		Short:   "List queues with their jobs, rates and workers",
		Long:    "List queues. Up to a thousand waiting jobs of a queue are counted at once; more come from the leader's last count.",
		Example: "  towpath queues list\n  towpath queues list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.listQueues(c.Context(), page)
		},
	}
	page.addTo(c, 100, "the last queue")
	p.quietFlag(c, "print the names alone")
	p.returns(c, queuePage{})
	return p.needs(c, roleReader)
}

// queues reads the queues.
func queues(ctx context.Context, db store.DB) ([]queueView, error) {
	rows, err := store.ListQueues(ctx, db)
	if err != nil {
		return nil, err
	}
	views := make([]queueView, len(rows))
	for i, row := range rows {
		views[i] = queueView{
			Queue: row.Queue, Status: "working", Available: row.Available, Running: row.Running, Scheduled: row.Scheduled,
			Retryable: row.Retryable, Pending: row.Pending, OldestSeconds: seconds(row.Oldest),
			StartedPerMinute: row.StartedPerMinute, FinishedPerMinute: row.FinishedPerMinute, Processes: row.Processes,
			Slots: row.Slots, PausedAt: row.PausedAt, PausedBy: row.PausedBy, CountedAt: row.CountedAt,
		}
		switch {
		case row.PausedAt != nil:
			views[i].Status = "paused"
		case row.Processes == 0 && row.Available > 0:
			views[i].Status = "missing"
		case row.Processes == 0:
			views[i].Status = "idle"
		}
	}
	return views, nil
}

func (p *Program) listQueues(ctx context.Context, flags pageFlags) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	all, err := queues(ctx, pool)
	if err != nil {
		return err
	}
	var page queuePage
	key := func(q queueView) string { return q.Queue }
	if page.Queues, page.Next, err = paginate(flags, all, key); err != nil {
		return err
	}
	return printList(p, page, page.Queues, page.Next, key, queueTable)
}

// queueTable returns the table of queues, as `queues list` and `top` show it.
func queueTable(queues []queueView) (header []string, rows [][]string) {
	rows = make([][]string, len(queues))
	for i, q := range queues {
		slots := strconv.FormatInt(q.Slots, 10)
		if q.Slots == 0 {
			slots = "-"
		}
		rows[i] = []string{
			cell(q.Queue, 40), q.Status, strconv.FormatInt(q.Available, 10), strconv.FormatInt(q.Running, 10), slots,
			strconv.FormatInt(q.Scheduled, 10), strconv.FormatInt(q.Retryable, 10), span(q.OldestSeconds),
			strconv.FormatFloat(q.StartedPerMinute, 'f', 1, 64), strconv.FormatFloat(q.FinishedPerMinute, 'f', 1, 64),
			strconv.FormatInt(q.Processes, 10),
		}
	}
	return []string{"QUEUE", "STATUS", "AVAILABLE", "RUNNING", "SLOTS", "SCHEDULED", "RETRYABLE", "OLDEST", "START/MIN", "END/MIN", "PROCS"}, rows
}

func (p *Program) queuesPause() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "pause QUEUE",
		Short: "Stop the workers from fetching jobs of a queue",
		Long: "Stop the workers from fetching jobs of a queue, or of all queues that exist ('*'). What runs goes on, and jobs may\n" +
			"still be enqueued. A queue may be paused before its first worker comes. Who paused it and why is shown to everybody\n" +
			"who asks why its jobs do not run.",
		Example: "  towpath queues pause mail --reason 'provider is down until noon'\n  towpath queues pause '*'",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			conn, notices, err := p.noticing(c.Context())
			if err != nil {
				return err
			}
			defer conn.Close(context.WithoutCancel(c.Context()))
			var why *string
			if reason != "" {
				why = &reason
			}
			outcomes, err := store.PauseQueue(c.Context(), conn, args[0], why)
			if err != nil {
				return err
			}
			if !p.quiet {
				for _, notice := range notices() {
					p.note("%s", notice)
				}
			}
			return p.printPaused("paused", outcomes)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for others to read")
	return p.pausing(c)
}

func (p *Program) queuesResume() *cobra.Command {
	return p.pausing(&cobra.Command{
		Use:     "resume QUEUE",
		Short:   "Let the workers fetch jobs of a queue again",
		Long:    "Let the workers fetch jobs of a queue again, or of all queues ('*').",
		Example: "  towpath queues resume mail",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pool, err := p.Database(c.Context())
			if err != nil {
				return err
			}
			outcomes, err := store.ResumeQueue(c.Context(), pool, args[0])
			if err != nil {
				return err
			}
			return p.printPaused("resumed", outcomes)
		},
	})
}

// pausing is what pause and resume have in common.
func (p *Program) pausing(c *cobra.Command) *cobra.Command {
	p.quietFlag(c, "print nothing")
	p.completeArg(c, queueNames)
	p.returns(c, pausedQueues{})
	return p.needs(c, roleOperator)
}

func (p *Program) printPaused(done string, outcomes []store.QueueOutcome) error {
	result := pausedQueues{Queues: make([]pausedQueue, len(outcomes))}
	for i, outcome := range outcomes {
		result.Queues[i] = pausedQueue{Queue: outcome.Queue, Changed: outcome.Changed, PausedAt: outcome.PausedAt}
	}
	switch {
	case p.json:
		return p.printJSON(result)
	case p.quiet:
		return nil
	case len(outcomes) == 0:
		p.note("There are no queues yet: a queue exists once a worker has worked it, or somebody has paused it.")
	}
	for _, outcome := range outcomes {
		already := ""
		if !outcome.Changed {
			already = " already"
		}
		fmt.Fprintf(p.stdout, "%s is %s%s\n", outcome.Queue, done, already)
	}
	return nil
}
