package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/crontab"
	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/jobs"
)

// importFlags are what `schedules import` is given.
type importFlags struct {
	form, user, zone, prefix, queue string
	dryRun                          bool
}

// importedView is a line that became a schedule.
type importedView struct {
	Line   int      `json:"line" about:"of the file"`
	Text   string   `json:"text" about:"the line"`
	Name   string   `json:"name" about:"the schedule"`
	Kind   string   `json:"kind" about:"shell, or http for a plain request"`
	Runs   string   `json:"runs" about:"when it runs, in words"`
	Result string   `json:"result" about:"new, changed or unchanged"`
	Notes  []string `json:"notes" about:"what is not as it was with cron"`
}

// faultView is a line that was not taken.
type faultView struct {
	Line   int    `json:"line" about:"of the file"`
	Text   string `json:"text" about:"the line"`
	Reason string `json:"reason" about:"why it was not taken, and what to do"`
}

// importResult is the result of `schedules import --json`.
type importResult struct {
	DryRun    bool           `json:"dry_run" about:"whether nothing was changed"`
	Zone      string         `json:"zone" about:"of lines without a CRON_TZ"`
	Schedules []importedView `json:"schedules" about:"in the order of the file"`
	NotTaken  []faultView    `json:"not_taken" about:"lines that could not be taken, or not in full"`
}

func (p *Program) schedulesImport() *cobra.Command {
	var flags importFlags
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Make schedules of a crontab",
		Long: "Make schedules of the lines of a crontab: of the kind http for plain requests of curl and wget, of the kind shell\n" +
			"for all others. What cannot be taken is listed with the reason. With - the crontab is read from the input.\n\n" +
			"Names are made of the commands, so that the same file can be imported again: a line whose time was changed\n" +
			"changes its schedule, a line that is as it was changes nothing. Commands need workers with TOWPATH_SHELL=on.",
		Example: "  echo '30 2 * * * /srv/backup.sh --all' | towpath schedules import - --zone Europe/Paris --dry-run\n" +
			"  echo '*/5 * * * * curl -fsS https://example.com/cron.php' | towpath schedules import -",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.importCrontab(c.Context(), args[0], flags) },
	}
	c.Flags().StringVar(&flags.form, "form", "", "user, or system with a user in front of each command (default system for files below /etc)")
	c.Flags().StringVar(&flags.user, "user", "", "of a system crontab, whose lines to take (default you)")
	c.Flags().StringVar(&flags.zone, "zone", "", "time zone of lines without CRON_TZ (default this machine's)")
	c.Flags().StringVar(&flags.prefix, "prefix", "cron/", "what the names begin with")
	c.Flags().StringVar(&flags.queue, "queue", "", "queue of the jobs (default default)")
	c.Flags().BoolVar(&flags.dryRun, "dry-run", false, "say what would be done and change nothing")
	p.quietFlag(c, "print the names of the schedules alone")
	p.returns(c, importResult{})
	return p.needs(c, roleOperator)
}

// crontabMax bounds a file: none that people keep is near it.
const crontabMax = 1 << 20

func (p *Program) readCrontab(file string) (string, error) {
	source := p.stdin
	if file != "-" {
		opened, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return "", usagef("file %q does not exist; `crontab -l > %s` writes your own", file, file)
		}
		if err != nil {
			return "", fmt.Errorf("read a crontab: %w", err)
		}
		defer opened.Close()
		source = opened
	}
	text, err := io.ReadAll(io.LimitReader(source, crontabMax+1))
	if err != nil {
		return "", fmt.Errorf("read crontab %q: %w", file, err)
	}
	if len(text) > crontabMax {
		return "", fmt.Errorf("crontab %q is longer than %d bytes; take it apart", file, crontabMax)
	}
	return string(text), nil
}

// options completes the flags.
func (f importFlags) options(file string) (crontab.Options, error) {
	o := crontab.Options{System: f.form == "system", User: f.user, Zone: f.zone, Prefix: f.prefix, Queue: f.queue}
	switch f.form {
	case "user", "system":
	case "":
		path, err := filepath.Abs(file)
		o.System = err == nil && file != "-" && strings.HasPrefix(path, "/etc/")
	default:
		return o, usagef("--form %q: choose user or system", f.form)
	}
	if o.User == "" {
		if current, err := user.Current(); err == nil {
			o.User = current.Username
		}
	}
	if o.Zone == "" {
		o.Zone = localZone()
	}
	if _, err := schedule.LoadZone(o.Zone); err != nil {
		return o, usagef("--zone: %w", err)
	}
	return o, nil
}

// localZone is this machine's zone by its name, as far as that can be found; cron runs in it.
func localZone() string {
	if target, err := filepath.EvalSymlinks("/etc/localtime"); err == nil {
		if _, name, ok := strings.Cut(target, "/zoneinfo/"); ok {
			return strings.TrimPrefix(strings.TrimPrefix(name, "posix/"), "right/")
		}
	}
	if text, err := os.ReadFile("/etc/timezone"); err == nil {
		return strings.TrimSpace(string(text))
	}
	return "UTC"
}

func (p *Program) importCrontab(ctx context.Context, file string, flags importFlags) error {
	options, err := flags.options(file)
	if err != nil {
		return err
	}
	text, err := p.readCrontab(file)
	if err != nil {
		return err
	}
	entries, faults := crontab.Parse(text, options)
	result := importResult{DryRun: flags.dryRun, Zone: options.Zone, Schedules: []importedView{}, NotTaken: []faultView{}}
	for _, fault := range faults {
		result.NotTaken = append(result.NotTaken, faultView(fault))
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	// A dry run does all of it and keeps nothing.
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, entry := range entries {
			outcome, err := putEntry(ctx, tx, entry)
			if err != nil {
				return fmt.Errorf("line %d: %w", entry.Line, err)
			}
			result.Schedules = append(result.Schedules, importedView{
				Line: entry.Line, Text: entry.Text, Name: entry.Name, Kind: entry.Definition.Kind, Runs: entry.Words, Result: outcome, Notes: orEmpty(entry.Notes),
			})
		}
		if flags.dryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return err
	}
	if p.json {
		return p.printJSON(result)
	}
	if p.quiet {
		for _, imported := range result.Schedules {
			fmt.Fprintln(p.stdout, imported.Name)
		}
		return nil
	}
	return p.printImport(result)
}

// putEntry puts the schedule of a line and says what that was.
func putEntry(ctx context.Context, tx pgx.Tx, entry crontab.Entry) (string, error) {
	document, err := json.Marshal(entry.Definition)
	if err != nil {
		return "", fmt.Errorf("write the definition of schedule %q: %w", entry.Name, err)
	}
	existed, changed, err := store.ImportSchedule(ctx, tx, entry.Name, document)
	switch {
	case err != nil:
		return "", err
	case !existed:
		return "new", nil
	case changed:
		return "changed", nil
	}
	return "unchanged", nil
}

// errDryRun rolls back.
var errDryRun = errors.New("dry run")

func (p *Program) printImport(result importResult) error {
	rows := make([][]string, len(result.Schedules))
	commands := false
	for i, s := range result.Schedules {
		rows[i] = []string{strconv.Itoa(s.Line), cell(s.Name, 60), s.Result, s.Kind, cell(s.Runs, 60)}
		commands = commands || s.Kind == jobs.ShellArgs{}.Kind()
	}
	if err := table(p.stdout, []string{"LINE", "NAME", "RESULT", "KIND", "RUNS"}, rows); err != nil {
		return err
	}
	for _, s := range result.Schedules {
		for _, note := range s.Notes {
			p.note("line %d %s", s.Line, note)
		}
	}
	for _, fault := range result.NotTaken {
		p.note("line %d is not taken: %s: %s", fault.Line, cell(fault.Text, 80), fault.Reason)
	}
	if commands {
		p.note("Commands run on workers with TOWPATH_SHELL=on alone, as their user.")
	}
	if result.DryRun {
		p.note("Nothing was changed: this was a dry run.")
	} else if len(rows) > 0 {
		p.note("Take the lines out of the crontab now, or they run twice.")
	}
	return nil
}
