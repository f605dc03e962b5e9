package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/checkin"
	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

func (p *Program) checksCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "checks",
		Short: "Checks that other systems ping: put, list, show, pause, resume, delete, pings",
		Long: "A check says whether something that Towpath does not run goes on: it is pinged when a run starts, ends or fails,\n" +
			"and is late, missed, failed or too long when that does not happen as it should.",
	}
	c.AddCommand(p.checksPut(), p.checksList(), p.checksShow(), p.checksPings(), p.checksChange("pause", "Expect nothing of a check",
		"Pause a check: its pings are kept, nothing is expected of it and nobody is told."),
		p.checksChange("resume", "Expect the runs of a paused check again", "Resume a paused check. Its next run is expected as if one had begun now."),
		p.checksChange("delete", "Delete a check", "Delete a check with its pings and events. Its address is no more."))
	return c
}

func (p *Program) checksChange(action, short, long string) *cobra.Command {
	c := &cobra.Command{
		Use: action + " NAME", Short: short, Long: long, Args: cobra.ExactArgs(1),
		Example: "  towpath checks " + action + " backup",
		RunE:    func(c *cobra.Command, args []string) error { return p.changeCheck(c.Context(), action, args[0]) },
	}
	p.quietFlag(c, "print nothing")
	p.returns(c, changedCheck{})
	return p.needs(c, roleOperator)
}

// checkFlags are what `checks put` is given.
type checkFlags struct {
	every, grace, longest   spanValue
	cron, zone, description string
	newKey                  bool
}

func (p *Program) checksPut() *cobra.Command {
	var flags checkFlags
	c := &cobra.Command{
		Use:   "put NAME",
		Short: "Make a check, or change one",
		Long: "Make a check and print its address, or change the check of that name, whose address stays.\n\n" +
			"A run is expected every so often, or when a cron expression says so. It is late then, and missed when the grace\n" +
			"time has passed too. With --longest, a run that told its start and not its end within that time is too long.",
		Example: "  towpath checks put backup --cron '30 2 * * *' --zone Europe/Paris --grace 20m --longest 2h\n" +
			"  towpath checks put heartbeat-db1 --every 5m --grace 1m",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.putCheck(c.Context(), args[0], &flags) },
	}
	flags.grace.value = defaultGrace
	c.Flags().Var(&flags.every, "every", "how long may pass from run to run, as in 5m, 12h or 7d")
	c.Flags().StringVar(&flags.cron, "cron", "", "when a run is expected: five fields, six with seconds first, or @daily and its like")
	c.Flags().StringVar(&flags.zone, "zone", "UTC", "time zone of the cron expression")
	c.Flags().Var(&flags.grace, "grace", "how late a run may be before it counts as missed")
	c.Flags().Var(&flags.longest, "longest", "how long a run may take (default no limit)")
	c.Flags().StringVar(&flags.description, "description", "", "what the check is about")
	c.Flags().BoolVar(&flags.newKey, "new-key", false, "give the check another address; the old one is no more")
	p.quietFlag(c, "print nothing")
	p.returns(c, putCheckResult{})
	return reads(p.needs(c, roleOperator), config.GroupDatabase, config.GroupChecks)
}

// defaultGrace is that of put_check in SQL.
const defaultGrace = 5 * time.Minute

// definition checks the flags.
func (f *checkFlags) definition(name string) (store.CheckDefinition, error) {
	d := store.CheckDefinition{
		Name: name, Zone: f.zone, Description: f.description, Period: f.every.pointer(), Grace: f.grace.value, Longest: f.longest.pointer(),
	}
	if f.every.set == (f.cron != "") {
		return d, usagef("give either --every or --cron, such as --every 1h or --cron '30 2 * * *'")
	}
	if !f.every.set {
		d.Cron = &f.cron
		expression, err := schedule.Parse(f.cron, f.zone)
		if err != nil {
			return d, usagef("--cron %q, --zone %q: %w", f.cron, f.zone, err)
		}
		if expression.Period() > 0 {
			return d, usagef("--cron %q is a length of time; give it as --every, such as --every 90s", f.cron)
		}
	}
	return d, nil
}

// putCheckResult is what `checks put --json` prints; an interface.
type putCheckResult struct {
	Name    string `json:"name" about:"the check"`
	URL     string `json:"url" about:"the address to ping, a secret"`
	Created bool   `json:"created" about:"false if there was a check of the name"`
}

func (p *Program) putCheck(ctx context.Context, name string, flags *checkFlags) error {
	d, err := flags.definition(name)
	if err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	key, created, err := store.PutCheck(ctx, pool, d)
	if err != nil {
		return err
	}
	if flags.newKey && !created {
		if key, err = store.CheckKey(ctx, pool, name, true); err != nil {
			return err
		}
	}
	result := putCheckResult{Name: name, URL: p.checkAddress(key), Created: created}
	if p.json {
		return p.printJSON(result)
	}
	p.tell("%s", result.URL)
	return nil
}

// checkAddress is where a check is pinged. While nobody has said how others reach the api, that is the usual port on this
// host, and is told for what it is: other hosts would ping themselves.
func (p *Program) checkAddress(key string) string {
	base := p.cfg.URL
	if base == "" {
		base = "http://127.0.0.1:8080"
		if !p.quiet {
			p.note("TOWPATH_URL is not set, so this is the address on this host: set it to where others reach the api, such as https://towpath.example.com.")
		}
	}
	return checkin.KeyAddress(base, key)
}

func (p *Program) changeCheck(ctx context.Context, action, name string) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	changed, err := store.ChangeCheck(ctx, pool, action, name)
	if err != nil {
		return err
	}
	done := map[string]string{"pause": "paused", "resume": "resumed", "delete": "deleted"}[action]
	if p.json {
		return p.printJSON(changedCheck{Name: name, Changed: changed})
	}
	if !changed {
		done = "was not paused"
		if action == "pause" {
			done = "was paused already"
		}
	}
	p.tell("%s %s", name, done)
	return nil
}

func (p *Program) checksList() *cobra.Command {
	var statuses []string
	var page pageFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List checks by name",
		Long: "List checks by name. When there are more, the last line says how to see the next page; with --json it is the\n" +
			"name in \"next\".",
		Example: "  towpath checks list --status late,missed,failed,too_long\n  towpath checks list --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return p.listChecks(c.Context(), statuses, page)
		},
	}
	c.Flags().StringSliceVar(&statuses, "status", nil, "only these: "+strings.Join(checkStatuses(), ", "))
	page.addTo(c, 50, "the last check")
	p.quietFlag(c, "print the names alone")
	p.returns(c, checkPage{})
	return p.needs(c, roleReader)
}

func checkStatuses() []string {
	names := []string{string(checkin.New)}
	for _, status := range schedule.Statuses() {
		names = append(names, string(status))
	}
	return names
}

// checkPage is the result of `checks list --json`; an interface.
type checkPage struct {
	Checks []checkView `json:"checks" about:"by name"`
	Next   *string     `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) listChecks(ctx context.Context, statuses []string, flags pageFlags) error {
	for _, status := range statuses {
		if !slices.Contains(checkStatuses(), status) {
			return usagef("--status %q: there is no such status; choose from %s", status, strings.Join(checkStatuses(), ", "))
		}
	}
	if err := flags.check(); err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	found, err := store.ListChecks(ctx, pool, flags.after, statuses, flags.limit+1)
	if err != nil {
		return err
	}
	page := checkPage{Checks: []checkView{}}
	key := func(check store.Check) string { return check.Name }
	found, page.Next = pageOf(found, flags.limit, key)
	for _, check := range found {
		page.Checks = append(page.Checks, viewCheck(check))
	}
	return printList(p, page, found, page.Next, key, checkTable)
}

// checkTable returns the table of checks.
func checkTable(found []store.Check) (header []string, rows [][]string) {
	rows = make([][]string, len(found))
	for i, check := range found {
		rows[i] = []string{
			cell(check.Name, 60), check.Status, moment(&check.StatusSince), moment(check.LastPing), lasting(check.LastDuration),
			moment(check.ExpectedBy), cell(rhythm(check), 40),
		}
	}
	return []string{"NAME", "STATUS", "SINCE", "LAST PING", "TOOK", "EXPECTED BY", "RUNS"}, rows
}

// rhythm says in words when a check is expected to be pinged.
func rhythm(check store.Check) string {
	if check.Cron == nil {
		return "every " + config.Duration(*check.Period).String()
	}
	expression, err := schedule.Parse(*check.Cron, check.Zone)
	if err != nil {
		return *check.Cron + " " + check.Zone
	}
	return expression.Words()
}

// lasting prints a length of time for people.
func lasting(d *time.Duration) string { return span(view.Seconds(d)) }

func (p *Program) checksShow() *cobra.Command {
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a check, its address and the latest changes of its status",
		Long:    "Show a check, its address, which is a secret, and the latest changes of its status.",
		Example: "  towpath checks show backup",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.showCheck(c.Context(), args[0]) },
	}
	p.returns(c, checkView{})
	return reads(p.needs(c, roleOperator), config.GroupDatabase, config.GroupChecks)
}

func (p *Program) showCheck(ctx context.Context, name string) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	check, err := store.ShowCheck(ctx, pool, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return noCheck(name)
	}
	if err != nil {
		return err
	}
	events, err := store.ListCheckEvents(ctx, pool, name, 10)
	if err != nil {
		return err
	}
	key, err := store.CheckKey(ctx, pool, name, false)
	if err != nil {
		return err
	}
	shown := viewCheck(*check)
	shown.URL = p.checkAddress(key)
	for _, event := range events {
		shown.Events = append(shown.Events, checkEvent{At: event.At, Status: event.Status, Was: event.Was})
	}
	if p.json {
		return p.printJSON(shown)
	}
	return p.printOneCheck(*check, shown)
}

func noCheck(name string) error {
	return fmt.Errorf("check %q does not exist; `towpath checks list` shows those that do", name)
}

func (p *Program) printOneCheck(check store.Check, shown checkView) error {
	rows := [][]string{
		{"Status", fmt.Sprintf("%s since %s", check.Status, moment(&check.StatusSince))},
		{"Description", cell(check.Description, 200)},
		{"Address", shown.URL},
		{"Runs", rhythm(check)},
		{"Grace", lasting(&check.Grace)},
		{"Longest", lasting(check.Longest)},
		{"Expected by", moment(check.ExpectedBy)},
		{"Last ping", moment(check.LastPing)},
		{"Last start", moment(check.LastStart)},
		{"Last success", moment(check.LastSuccess)},
		{"Last failure", moment(check.LastFailure)},
		{"Took", lasting(check.LastDuration)},
		{"Running", strconv.Itoa(int(check.Running))},
		{"Pings", strconv.FormatInt(check.Pings, 10)},
		{"Changed", moment(&check.UpdatedAt) + " by " + check.UpdatedBy},
	}
	if check.LastExitStatus != nil {
		rows = append(rows, []string{"Exit status", strconv.Itoa(int(*check.LastExitStatus))})
	}
	if check.Problem != nil {
		rows = append(rows, []string{"Problem", cell(*check.Problem, 200)})
	}
	if err := p.record([]string{"Name", check.Name}, rows); err != nil {
		return err
	}
	for i, event := range shown.Events {
		if i == 0 {
			fmt.Fprintln(p.stdout)
		}
		fmt.Fprintf(p.stdout, "%s  %s, was %s\n", moment(&event.At), event.Status, event.Was)
	}
	return nil
}

func (p *Program) checksPings() *cobra.Command {
	var page pageFlags
	c := &cobra.Command{
		Use:     "pings NAME",
		Short:   "List the pings of a check, the newest first",
		Long:    "List the pings of a check, the newest first. With --json they come with what they brought.",
		Example: "  towpath checks pings backup\n  towpath checks pings backup --limit 1 --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.listPings(c.Context(), args[0], page)
		},
	}
	page.addTo(c, 25, "the last ping")
	p.quietFlag(c, "print the ids alone")
	p.returns(c, pingPage{})
	return p.needs(c, roleReader)
}

// pingPage is the result of `checks pings --json`; an interface.
type pingPage struct {
	Pings []pingView `json:"pings" about:"the newest first"`
	Next  *string    `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) listPings(ctx context.Context, name string, flags pageFlags) error {
	before, err := flags.number()
	if err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	if _, err := store.ShowCheck(ctx, pool, name); errors.Is(err, pgx.ErrNoRows) {
		return noCheck(name)
	}
	found, err := store.ListCheckPings(ctx, pool, name, before, flags.limit+1)
	if err != nil {
		return err
	}
	page := pingPage{Pings: []pingView{}}
	found, page.Next = pageOf(found, flags.limit, func(ping store.CheckPing) string { return digits(ping.ID) })
	for _, ping := range found {
		page.Pings = append(page.Pings, viewPing(ping))
	}
	return printList(p, page, page.Pings, page.Next, func(ping pingView) string { return digits(ping.ID) }, pingTable)
}

// pingTable returns the table of pings.
func pingTable(pings []pingView) (header []string, rows [][]string) {
	rows = make([][]string, len(pings))
	for i, ping := range pings {
		kind := ping.Kind
		if ping.ExitStatus != nil {
			kind += " " + strconv.Itoa(int(*ping.ExitStatus))
		}
		rows[i] = []string{
			digits(ping.ID), moment(&ping.At), kind, span(ping.Duration), cell(ping.RunID, 20), cell(ping.Source, 40),
			cell(lastLine(ping.Body), 48),
		}
	}
	return []string{"ID", "AT", "KIND", "TOOK", "RUN", "FROM", "BODY"}, rows
}

// lastLine is the last line of a text that is not empty.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}
