package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// How much top shows of what may be long.
const (
	topRunning  = 20
	topFailures = 10
	topSample   = 200
)

// runningView is a running job as top shows it.
type runningView struct {
	ID          int64      `json:"id" about:"the job"`
	Kind        string     `json:"kind" about:"its kind"`
	Queue       string     `json:"queue" about:"its queue"`
	Attempt     int16      `json:"attempt" about:"which attempt"`
	MaxAttempts int16      `json:"max_attempts" about:"of how many"`
	AttemptedAt *time.Time `json:"attempted_at" about:"since when it runs"`
	ClientID    string     `json:"client_id" about:"the client that runs it"`
}

// topView is what top shows, and the result of `top --json`.
type topView struct {
	At        time.Time     `json:"at" about:"when it was read"`
	Status    statusView    `json:"status" about:"as status gives it"`
	Queues    []queueView   `json:"queues" about:"as queues list gives them"`
	Kinds     []kindView    `json:"kinds" about:"as kinds gives them, of the last hour"`
	Firing    []alertView   `json:"firing" about:"alerts that fire, 200 at most"`
	Drift     []driftView   `json:"drift" about:"by queue and kind what has started and not finished, or not succeeded; those with neither are left out"`
	Running   []runningView `json:"running" about:"twenty running jobs, those that run longest first"`
	Failures  []failureView `json:"failures" about:"the latest ten failures of the last day"`
	Processes []processView `json:"processes" about:"as processes gives them"`
}

func (p *Program) topCommand() *cobra.Command {
	interval := spanValue{value: 2 * time.Second}
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch what fires, drift, queues, rates, running jobs, failures and processes",
		Long: "Watch what fires, drift, queues, rates, running jobs, failures and processes. Drift is started - finished (what is under\n" +
			"way, or stuck) and started - succeeded. On a terminal it redraws itself: q ends it, arrows or j and k scroll, p\n" +
			"holds the picture and goes on, r reads at once. Elsewhere it prints everything once.",
		Example: "  towpath top\n  towpath top --interval 5s\n  towpath top --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.top(c.Context(), interval.value)
		},
	}
	c.Flags().Var(&interval, "interval", "how often it is read")
	p.returns(c, topView{})
	return p.needs(c, roleReader)
}

func (p *Program) top(ctx context.Context, interval time.Duration) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	view, err := readTop(ctx, pool)
	switch {
	case err != nil:
		return err
	case p.json:
		return p.printJSON(view)
	case !isTerminal(p.stdout) || !isTerminal(p.stdin) || lipgloss.Writer.Profile == colorprofile.NoTTY:
		fmt.Fprintln(p.stdout, strings.Join(view.lines(screenOf(p.stdout)), "\n"))
		return nil
	}
	model := &topModel{
		interval: interval, view: view, color: screenOf(p.stdout).color,
		read: func() (*topView, error) { return readTop(ctx, pool) },
	}
	_, err = tea.NewProgram(model, tea.WithContext(ctx), tea.WithInput(p.stdin), tea.WithOutput(p.stdout)).Run()
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return context.Canceled
	}
	if err != nil {
		return fmt.Errorf("draw top: %w", err)
	}
	return nil
}

func readTop(ctx context.Context, db store.DB) (*topView, error) {
	seen, err := readOverview(ctx, db)
	if err != nil {
		return nil, err
	}
	found, err := findings(ctx, db, seen, limits{oldest: 10 * time.Minute, failing: 0.5})
	if err != nil {
		return nil, err
	}
	running, err := store.ListRunning(ctx, db, topRunning)
	if err != nil {
		return nil, err
	}
	failed, err := failures(ctx, db, errorWindow, topSample, "")
	if err != nil {
		return nil, err
	}
	view := &topView{
		At: time.Now(), Status: seen.sum(found), Queues: seen.queues, Kinds: seen.kinds, Processes: seen.processes,
		Firing: orEmpty(seen.firing), Drift: orEmpty(seen.drift),
		Running: make([]runningView, len(running)), Failures: orEmpty(failed[:min(len(failed), topFailures)]),
	}
	for i, job := range running {
		view.Running[i] = runningView(job)
	}
	return view, nil
}

// lines draws everything, one section below the other.
func (v *topView) lines(s screen) []string {
	status := v.Status.Status
	if s.color {
		status = paint("STATUS", status, false)
	}
	lines := []string{fmt.Sprintf("%s  %s  %d available, %d running, %d scheduled, %d retryable  %.1f started/min, %.1f finished/min",
		v.At.Local().Format(time.TimeOnly), status, v.Status.Available, v.Status.Running, v.Status.Scheduled, v.Status.Retryable,
		v.Status.StartedPerMinute, v.Status.FinishedPerMinute)}
	lines = append(lines, fmt.Sprintf("drift: %d started - finished, %d started - succeeded  %d firing", v.Status.Unfinished, v.Status.Unsucceeded, v.Status.Firing))
	for _, one := range v.Status.Findings {
		if one.Code == "alert" {
			continue // they have a section of their own
		}
		label := one.Level
		if s.color {
			label = paint("LEVEL", label, false)
		}
		lines = append(lines, label+": "+one.Text)
	}
	section := func(title string, header []string, rows [][]string) {
		if len(rows) > 0 {
			lines = append(lines, "", title)
			lines = append(lines, layOut(s, header, rows)...)
		}
	}
	header, rows := alertTable(v.Firing)
	section("Firing", header, rows)
	header, rows = driftTable(v.Drift)
	section("Drift", header, rows)
	header, rows = queueTable(v.Queues)
	section("Queues", header, rows)
	header, rows = kindTable(v.Kinds)
	section("Kinds, last hour", header, rows)
	header, rows = runningTable(v.Running, v.At)
	section("Running longest", header, rows)
	header, rows = failureTable(v.Failures)
	section("Failures, last day", header, rows)
	header, rows = processTable(v.Processes)
	section("Processes", header, rows)
	return lines
}

func runningTable(running []runningView, now time.Time) (header []string, rows [][]string) {
	for _, job := range running {
		since := "-"
		if job.AttemptedAt != nil {
			age := max(0, now.Sub(*job.AttemptedAt).Seconds())
			since = span(&age)
		}
		rows = append(rows, []string{
			strconv.FormatInt(job.ID, 10), cell(job.Kind, 40), cell(job.Queue, 24), fmt.Sprintf("%d/%d", job.Attempt, job.MaxAttempts),
			since, cell(job.ClientID, 40),
		})
	}
	return []string{"ID", "KIND", "QUEUE", "ATTEMPT", "FOR", "CLIENT"}, rows
}
