package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/store"
)

// followPause is how often a job that is followed is looked at.
const followPause = 500 * time.Millisecond

// levels are those of log lines, the least first.
var levels = []string{"debug", "info", "warn", "error"}

// logLine is a line of a job as --json prints it.
type logLine struct {
	ID       int64           `json:"id" about:"grows with time"`
	At       time.Time       `json:"at" about:"when, by the clock of the database"`
	Attempt  int16           `json:"attempt" about:"the attempt that wrote it"`
	Event    string          `json:"event" about:"log, progress, soft_limit, stuck or note"`
	Level    *string         `json:"level" about:"DEBUG, INFO, WARN or ERROR of a log line, else null"`
	Message  *string         `json:"message" about:"the text of the line, or what the progress is about"`
	Fraction *float64        `json:"fraction" about:"progress from 0 to 1, else null"`
	Attrs    json.RawMessage `json:"attrs" about:"attributes of a log line as an object, else null"`
}

// logPage is the result of `jobs logs --json`. With --follow each line is an object of its own instead.
type logPage struct {
	Lines []logLine `json:"lines" about:"the oldest first; with --follow these objects are printed one a line, without the rest"`
	Next  *string   `json:"next" about:"what --after needs for the next page; null on the last one"`
}

// logFlags are the flags of `jobs logs`.
type logFlags struct {
	follow  bool
	attempt int16
	level   string
	limit   int
	after   int64
}

func (p *Program) jobsLogs() *cobra.Command {
	var flags logFlags
	c := &cobra.Command{
		Use:   "logs ID",
		Short: "Show what a job logs, also while it runs elsewhere",
		Long: "Show the lines, progress and time limits of a job, the oldest first. With --follow it goes on while the job waits\n" +
			"and runs, on whatever host, and ends when the job has ended, or the attempt of --attempt has.",
		Example: "  towpath jobs logs 4711\n  towpath jobs logs 4711 --level warn --attempt 1\n  towpath jobs logs -f 4711",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := p.parseID(args[0])
			if err != nil {
				return err
			}
			return p.jobLogs(c.Context(), id, flags)
		},
	}
	c.Flags().BoolVarP(&flags.follow, "follow", "f", false, "go on until the job ends")
	c.Flags().Int16Var(&flags.attempt, "attempt", 0, "only this attempt")
	c.Flags().StringVar(&flags.level, "level", "debug", "only lines of at least this level: "+strings.Join(levels, ", "))
	c.Flags().IntVar(&flags.limit, "limit", 1000, "how many lines, from 1; all of them with --follow")
	c.Flags().Int64Var(&flags.after, "after", 0, "only lines after this one: the next page")
	fixed(c, "level", levels)
	p.returns(c, logPage{})
	return p.needs(c, roleReader)
}

func (p *Program) jobLogs(ctx context.Context, id int64, flags logFlags) error {
	level := slices.Index(levels, strings.ToLower(flags.level))
	switch {
	case level < 0:
		return usagef("--level %q: there is no such level; choose from %s", flags.level, strings.Join(levels, ", "))
	case flags.attempt < 0:
		return usagef("--attempt %d: give a number from 1", flags.attempt)
	case flags.limit < 1:
		return usagef("--limit %d: give a number from 1", flags.limit)
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	params := store.LogsParams{JobID: id, After: flags.after, MinLevel: int32(level) + 1} //nolint:gosec // one of four
	if flags.attempt > 0 {
		params.Attempt = &flags.attempt
	}
	if flags.follow {
		return p.followLogs(ctx, pool, params, flags)
	}
	params.MaxLines = int64(flags.limit) + 1
	lines, err := store.JobLogs(ctx, pool, params)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		if states, err := store.JobStates(ctx, pool, []int64{id}); err != nil {
			return err
		} else if len(states) == 0 {
			return noSuchJob(id)
		}
	}
	page := logPage{Lines: []logLine{}}
	lines, page.Next = pageOf(lines, flags.limit, func(line store.LogsRow) string { return digits(line.ID) })
	if p.json {
		for _, line := range lines {
			page.Lines = append(page.Lines, logLine(line))
		}
		return p.printJSON(page)
	}
	p.printLines(lines)
	p.noteNext(page.Next)
	return nil
}

// followLogs prints lines as they come. A job writes its last line before it ends, so what is read after the end has
// been seen is all.
func (p *Program) followLogs(ctx context.Context, db store.DB, params store.LogsParams, flags logFlags) error {
	params.MaxLines = 1000
	told := ""
	for {
		states, err := store.JobStates(ctx, db, []int64{params.JobID})
		if err != nil {
			return err
		}
		for {
			lines, err := store.JobLogs(ctx, db, params)
			if err != nil {
				return err
			}
			if err := p.printFollowed(lines); err != nil {
				return err
			}
			if len(lines) > 0 {
				params.After = lines[len(lines)-1].ID
			}
			if len(lines) < int(params.MaxLines) {
				break
			}
		}
		if len(states) == 0 {
			return noSuchJob(params.JobID)
		}
		job := states[0]
		if final(job.State) {
			p.note("Job %d is %s after attempt %d.", job.ID, job.State, job.Attempt)
			return nil
		}
		if flags.attempt > 0 && (job.Attempt > flags.attempt || job.Attempt == flags.attempt && job.State != "running") {
			p.note("Attempt %d of job %d has ended; the job is %s.", flags.attempt, job.ID, job.State)
			return nil
		}
		if now := waitingNote(job); now != told {
			told = now
			if now != "" {
				p.note("%s", now)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followPause):
		}
	}
}

// waitingNote says what a job that is followed waits for.
func waitingNote(job store.JobStatesRow) string {
	if job.State == "running" {
		return ""
	}
	text := fmt.Sprintf("Job %d is %s", job.ID, job.State)
	if job.State == "retryable" || job.State == "scheduled" {
		text += " until " + moment(&job.ScheduledAt)
	}
	return text + "."
}

func (p *Program) printFollowed(lines []store.LogsRow) error {
	if !p.json {
		p.printLines(lines)
		return nil
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetEscapeHTML(false)
	for _, line := range lines {
		if err := encoder.Encode(logLine(line)); err != nil {
			return fmt.Errorf("print a line as JSON: %w", err)
		}
	}
	return nil
}

// printLines prints lines for people: the time, the attempt, the level and the text, then the attributes.
func (p *Program) printLines(lines []store.LogsRow) {
	color := screenOf(p.stdout).color
	for _, line := range lines {
		word, style := strings.ToUpper(line.Event), dimStyle
		if line.Level != nil {
			word = *line.Level
		}
		switch word {
		case "WARN", "SOFT_LIMIT":
			style = warnStyle
		case "ERROR", "STUCK":
			style = badStyle
		}
		label := fmt.Sprintf("%-5s", word)
		if color {
			label = style.Render(label)
		}
		parts := []string{line.At.Local().Format("2006-01-02 15:04:05.000"), "#" + strconv.Itoa(int(line.Attempt)), label}
		if line.Fraction != nil {
			parts = append(parts, fmt.Sprintf("%.0f%%", *line.Fraction*100))
		}
		if line.Message != nil {
			parts = append(parts, *line.Message)
		}
		if len(line.Attrs) > 0 && string(line.Attrs) != "{}" {
			parts = append(parts, string(line.Attrs))
		}
		fmt.Fprintln(p.stdout, strings.Join(parts, " "))
	}
}
