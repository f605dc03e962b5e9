package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/probe"
	"github.com/towpath/towpath/internal/store"
)

func (p *Program) probesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "probes",
		Short: "Probes of data: put, list, show, values, run, pause, resume, delete",
		Long: "A probe is a query that the leader runs every so often: its numbers are kept as series for a year. Or it is two\n" +
			"queries whose rows are compared. It is beyond a limit, empty, failed or stale when something is wrong.",
	}
	c.AddCommand(p.probesPut(), p.probesList(), p.probesShow(), p.probesValues(), p.probesRun(), p.probesPause(), p.probesResume(), p.probesRevert(), p.probesDelete())
	return c
}

// probeFlags are what `probes put` is given.
type probeFlags struct {
	every, timeout                 spanValue
	compareWith, role, description string
	keys                           []string
	emptyIsFine                    bool
	above, below                   float64
	examples                       int
}

func (p *Program) probesPut() *cobra.Command {
	f := probeFlags{examples: 10}
	c := &cobra.Command{
		Use:   "put NAME QUERY --every INTERVAL",
		Short: "Define a probe, or change one",
		Long: "Define a probe, or change the one of that name. The query is one SELECT, with schemas written out; - reads it from\n" +
			"standard input, @FILE from a file, and so for --compare-with. Its columns of numbers are values, the others name the\n" +
			"series. It runs under the role towpath_probe unless said otherwise, which has to be granted what the query reads.\n\n" +
			"With --compare-with the rows of two queries are compared: missing are those that only the first has, extra those that\n" +
			"only the second has, and with --key differing those with other values.",
		Example: "  towpath probes put queues 'SELECT queue, available FROM towpath.queues' --every 1m --alert-above 10000\n" +
			"  towpath probes put kinds 'SELECT kind FROM towpath.kinds' --compare-with 'SELECT kind FROM towpath.jobs' --every 1h",
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error { return p.putProbe(c, args[0], args[1], &f) },
	}
	flags := c.Flags()
	flags.Var(&f.every, "every", "the interval, as in 30s, 5m or 1d")
	flags.Var(&f.timeout, "timeout", "how long a run may take (default 10s)")
	flags.StringVar(&f.compareWith, "compare-with", "", "a second query, whose rows are compared with the first one's")
	flags.StringSliceVar(&f.keys, "key", nil, "columns that name a series, or identify a row that is compared")
	flags.StringVar(&f.role, "role", "", "database role to run under, one that the leader allows (default the first of them)")
	flags.StringVar(&f.description, "description", "", "what the probe is about")
	flags.BoolVar(&f.emptyIsFine, "empty-is-fine", false, "a query may return nothing")
	flags.Float64Var(&f.above, "alert-above", 0, "a value above it is beyond (default none, of a comparison 0)")
	flags.Float64Var(&f.below, "alert-below", 0, "a value below it is beyond (default none)")
	flags.IntVar(&f.examples, "examples", f.examples, "how many of each kind of difference are kept, up to 100")
	p.quietFlag(c, "print nothing")
	p.returns(c, putProbeResult{})
	return p.needs(c, roleOperator)
}

// putProbeResult is the result of `probes put --json`; an interface.
type putProbeResult struct {
	Name    string `json:"name" about:"the probe"`
	Changed bool   `json:"changed" about:"false if it was so already"`
}

func (p *Program) putProbe(c *cobra.Command, name, query string, f *probeFlags) error {
	if !f.every.set {
		return usagef("probe %q needs --every, such as --every 5m", name)
	}
	d := store.ProbeDefinition{
		Every: f.every.value, Timeout: f.timeout.pointer(), KeyColumns: f.keys, Role: f.role, Description: f.description, EmptyIsFine: f.emptyIsFine, Examples: f.examples,
	}
	if c.Flags().Changed("alert-above") {
		d.AlertAbove = &f.above
	}
	if c.Flags().Changed("alert-below") {
		d.AlertBelow = &f.below
	}
	for _, text := range []struct {
		given string
		to    *string
	}{{query, &d.Query}, {f.compareWith, &d.CompareWith}} {
		read, err := p.readQuery(text.given)
		if err != nil {
			return err
		}
		*text.to = read
	}
	pool, err := p.schedulesPool(c.Context())
	if err != nil {
		return err
	}
	changed, err := store.PutProbe(c.Context(), pool, name, d)
	if err != nil {
		return putProbeError(d, err)
	}
	if p.json {
		return p.printJSON(putProbeResult{name, changed})
	}
	told := "runs"
	if !changed {
		told = "was so already: it runs"
	}
	p.tell("%s %s every %s", name, told, config.Duration(d.Every))
	return nil
}

// readQuery returns a query that was given as a text, by standard input or in a file.
func (p *Program) readQuery(given string) (string, error) {
	file, isFile := strings.CutPrefix(given, "@")
	switch {
	case given == "-":
		text, err := io.ReadAll(p.stdin)
		if err != nil {
			return "", fmt.Errorf("read the query from standard input: %w", err)
		}
		return string(text), nil
	case isFile:
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read the query: %w", err)
		}
		return string(text), nil
	}
	return given, nil
}

// putProbeError says what is wrong with a query, and where: what Postgres has against it, it has against a statement of
// ours around it.
func putProbeError(d store.ProbeDefinition, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pgErr.InternalQuery == "" || pgErr.InternalPosition == 0 {
		return scheduleError(err)
	}
	for _, query := range []struct{ name, text string }{{"the query", d.Query}, {"the query compared with", d.CompareWith}} {
		text := strings.TrimRight(query.text, "; \t\r\n")
		before, _, found := strings.Cut(pgErr.InternalQuery, text)
		if text == "" || !found {
			continue
		}
		at := int(pgErr.InternalPosition) - len([]rune(before))
		line, char := probe.Place(text, at)
		told := fmt.Errorf("%s is refused at line %d, character %d: %s", query.name, line, char, pgErr.Message)
		if pgErr.Hint != "" {
			told = fmt.Errorf("%w; %s", told, strings.TrimSuffix(lowerFirst(pgErr.Hint), "."))
		}
		return UsageError(told)
	}
	return UsageError(fmt.Errorf("the query is refused: %s", pgErr.Message))
}

func (p *Program) probesList() *cobra.Command {
	var statuses []string
	var page pageFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List probes by name",
		Long: "List probes by name: how they are and since when, the last value, what there is to say about it. When there are\n" +
			"more, the last line says how to see the next page.",
		Example: "  towpath probes list\n  towpath probes list --status beyond,empty,failed,stale --json",
		RunE:    func(c *cobra.Command, _ []string) error { return p.listProbes(c.Context(), statuses, page) },
	}
	c.Flags().StringSliceVar(&statuses, "status", nil, "only these: "+strings.Join(probe.Statuses(), ", "))
	page.addTo(c, 50, "the last probe")
	p.quietFlag(c, "print the names alone")
	p.returns(c, probePage{})
	return p.needs(c, roleReader)
}

// probePage is the result of `probes list --json`; an interface.
type probePage struct {
	Probes []probeView `json:"probes" about:"by name"`
	Next   *string     `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) listProbes(ctx context.Context, statuses []string, flags pageFlags) error {
	for _, status := range statuses {
		if !slices.Contains(probe.Statuses(), status) {
			return usagef("--status %q: there is no such status; choose from %s", status, strings.Join(probe.Statuses(), ", "))
		}
	}
	if err := flags.check(); err != nil {
		return err
	}
	pool, err := p.schedulesPool(ctx)
	if err != nil {
		return err
	}
	found, err := store.ListProbes(ctx, pool, statuses, flags.after, flags.limit+1)
	if err != nil {
		return err
	}
	page := probePage{Probes: []probeView{}}
	key := func(v store.ProbeView) string { return v.Name }
	found, page.Next = pageOf(found, flags.limit, key)
	for i := range found {
		page.Probes = append(page.Probes, viewProbe(&found[i]))
	}
	return printList(p, page, found, page.Next, key, probeTable)
}

func probeTable(found []store.ProbeView) (header []string, rows [][]string) {
	rows = make([][]string, len(found))
	for i := range found {
		v := &found[i]
		rows[i] = []string{
			cell(v.Name, 40), v.Status, ago(v.Since), figure(v.Value), ago(orZero(v.LastRunAt)), lasting(v.LastDuration), config.Duration(v.Every).String(), cell(textOf(v.Detail), 60),
		}
	}
	return []string{"NAME", "STATUS", "SINCE", "VALUE", "LAST RUN", "TOOK", "EVERY", "DETAIL"}, rows
}

// figure prints a number that may be missing.
func figure(value *float64) string {
	if value == nil {
		return "-"
	}
	return strconv.FormatFloat(*value, 'f', -1, 64)
}

// probeChange is what came of an action, for programs.
type probeChange struct {
	Name    string  `json:"name" about:"the probe"`
	Changed bool    `json:"changed" about:"false if it was so already"`
	Run     *int64  `json:"run" about:"the number of the run that was asked for"`
	Status  *string `json:"status" about:"how the probe is when that run has ended, if that was waited for"`
}

// probeChanged tells an action that may have been done before.
func probeChanged(changed bool, name, done, already string) (string, probeChange, error) {
	told, result, err := changedOr(changed, name, done, already)
	return told, probeChange{Name: name, Changed: result.Changed}, err
}

func (p *Program) probesPause() *cobra.Command {
	var reason string
	c := action(p, "pause NAME", "Stop a probe from running", "Stop a probe from running until it is resumed. Nobody is told of what it would find.",
		"  towpath probes pause orders --reason \"the shop moves\"",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, probeChange, error) {
			changed, err := store.PauseProbe(ctx, pool, name, reason)
			if err != nil {
				return "", probeChange{}, err
			}
			return probeChanged(changed, name, "is paused", "was paused already")
		})
	c.Flags().StringVar(&reason, "reason", "", "why, for those who look")
	return c
}

func (p *Program) probesResume() *cobra.Command {
	return action(p, "resume NAME", "Let a paused probe run again", "Let a paused probe run again, at once and then every so often.",
		"  towpath probes resume orders",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, probeChange, error) {
			changed, err := store.ResumeProbe(ctx, pool, name)
			if err != nil {
				return "", probeChange{}, err
			}
			return probeChanged(changed, name, "is resumed", "was not paused")
		})
}

func (p *Program) probesRevert() *cobra.Command {
	return action(p, "revert NAME", "Go back to a probe's definition in code", "Drop what was edited at run time, so that the definition in code holds again.",
		"  towpath probes revert stock",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, probeChange, error) {
			changed, err := store.RevertProbe(ctx, pool, name)
			if err != nil {
				return "", probeChange{}, err
			}
			return probeChanged(changed, name, "is as its code defines it", "was as its code defines it already")
		})
}

func (p *Program) probesDelete() *cobra.Command {
	return action(p, "delete NAME", "Delete a probe", "Delete a probe that was defined at run time, with its values and events.",
		"  towpath probes delete orders",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, probeChange, error) {
			return name + " is deleted", probeChange{Name: name, Changed: true}, store.DeleteProbe(ctx, pool, name)
		})
}

func (p *Program) probesRun() *cobra.Command {
	var wait spanValue
	c := action(p, "run NAME", "Run a probe now",
		"Have the leader run a probe now, besides its interval, even if it is paused. With --wait the command says how that\nended, and exits with 1 when nobody ran it in that time.",
		"  towpath probes run orders",
		func(ctx context.Context, pool *pgxpool.Pool, name string) (string, probeChange, error) {
			run, err := store.RunProbe(ctx, pool, name)
			if err != nil || !wait.set {
				return fmt.Sprintf("%s is asked for run %d", name, run), probeChange{Name: name, Changed: true, Run: &run}, err
			}
			return p.awaitProbe(ctx, pool, name, run, wait.value)
		})
	c.Flags().Var(&wait, "wait", "wait so long for the end of the run, as in 30s")
	return c
}

// awaitProbe waits for the end of a run.
func (p *Program) awaitProbe(ctx context.Context, pool *pgxpool.Pool, name string, run int64, limit time.Duration) (string, probeChange, error) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(limit)
	for {
		v, err := store.FindProbe(ctx, pool, name)
		if errors.Is(err, pgx.ErrNoRows) {
			err = noProbe(name)
		}
		if err != nil {
			return "", probeChange{}, err
		}
		if v.LastRun >= run {
			told := fmt.Sprintf("%s is %s", name, v.Status)
			if v.Detail != nil {
				told += ": " + *v.Detail
			}
			return told, probeChange{Name: name, Changed: true, Run: &run, Status: &v.Status}, nil
		}
		select {
		case <-ctx.Done():
			return "", probeChange{}, ctx.Err()
		case <-deadline:
			return "", probeChange{}, fmt.Errorf("run %d of probe %q has not ended after %s; does a leader run? `%s processes` shows", run, name, config.Duration(limit), p.name)
		case <-ticker.C:
		}
	}
}

func noProbe(name string) error {
	return fmt.Errorf("probe %q does not exist; `towpath probes list` shows those that do", name)
}
