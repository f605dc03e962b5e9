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

	"github.com/towpath/towpath/internal/alert"
	"github.com/towpath/towpath/internal/store"
)

func (p *Program) alertsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "alerts",
		Short: "What is wrong, and who is told: list, show, history, rules, rule, silence, silences, unsilence, test",
		Long: "Look at alerts, change the rules by which they fire, and silence them. The leader looks every few seconds whether\n" +
			"something is wrong, or a process with the role api when nobody leads.",
	}
	c.AddCommand(p.alertsList(), p.alertsShow(), p.alertsHistory(), p.alertsRules(), p.alertsRule(), p.alertsSilence(), p.alertsSilences(), p.alertsUnsilence(),
		p.alertsTest())
	return c
}

// alertView is an alert as --json prints it; an interface.
type alertView struct {
	ID            int64       `json:"id" about:"its number"`
	Rule          string      `json:"rule" about:"the rule"`
	Subject       string      `json:"subject" about:"what it is about: a queue, a kind, a schedule, a check, a process, a table"`
	State         string      `json:"state" about:"pending, firing or resolved"`
	Since         time.Time   `json:"since" about:"since when it is in that state"`
	Severity      string      `json:"severity" about:"critical, warning or info"`
	Value         string      `json:"value" about:"the figure that was seen last; of schedules and checks -1, 0 or 1"`
	Summary       string      `json:"summary" about:"what is wrong, in one line"`
	Detail        string      `json:"detail" about:"more of it, and what to do"`
	BadSince      *time.Time  `json:"bad_since" about:"since when something is wrong; null while it is only about to be"`
	Told          bool        `json:"told" about:"whether somebody was told that it fires, and not yet that it is over"`
	ToldAt        *time.Time  `json:"told_at" about:"when a message about it was enqueued last"`
	ToldTo        []string    `json:"told_to" about:"the notifiers that were given it"`
	SilencedUntil *time.Time  `json:"silenced_until" about:"until when nobody is told; null without a silence"`
	Events        []alertTurn `json:"events,omitempty" about:"the latest changes of its state, the newest first; of alerts show alone"`
}

func viewAlert(a store.Alert) alertView {
	return alertView{
		ID: a.ID, Rule: a.Rule, Subject: a.Subject, State: a.State, Since: a.Since, Severity: a.Severity, Value: a.Value, Summary: a.Summary,
		Detail: a.Detail, BadSince: a.BadSince, Told: a.Told, ToldAt: a.ToldAt, ToldTo: orEmpty(a.ToldTo), SilencedUntil: a.SilencedUntil,
	}
}

// alertPage is the result of `alerts list --json`; an interface.
type alertPage struct {
	Alerts []alertView `json:"alerts" about:"the newest first"`
	Next   *string     `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func alertStates() []string {
	return []string{string(alert.Pending), string(alert.Firing), string(alert.Resolved)}
}

func (p *Program) alertsList() *cobra.Command {
	states := []string{string(alert.Pending), string(alert.Firing)}
	var rule string
	var page pageFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List what fires and what is about to",
		Long: "List alerts, the newest first: what fires and what is pending, unless --state says otherwise. Those that are resolved\n" +
			"stay for a day; history has all changes of a year.",
		Example: "  towpath alerts list\n  towpath alerts list --state firing --rule queue_old\n  towpath alerts list --state resolved --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.listAlerts(c.Context(), rule, states, page) },
	}
	c.Flags().StringSliceVar(&states, "state", states, "only these: "+strings.Join(alertStates(), ", "))
	c.Flags().StringVar(&rule, "rule", "", "only those of a rule")
	page.addTo(c, 50, "the last alert's id")
	p.quietFlag(c, "print the ids alone")
	p.returns(c, alertPage{})
	return p.needs(c, roleReader)
}

func (p *Program) listAlerts(ctx context.Context, rule string, states []string, flags pageFlags) error {
	for _, state := range states {
		if !slices.Contains(alertStates(), state) {
			return usagef("--state %q: there is no such state; choose from %s", state, strings.Join(alertStates(), ", "))
		}
	}
	from, err := flags.number()
	if err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	if err := checkRule(ctx, pool, rule); err != nil {
		return err
	}
	found, err := store.ListAlerts(ctx, pool, from, rule, states, flags.limit+1)
	if err != nil {
		return err
	}
	page := alertPage{Alerts: []alertView{}}
	found, page.Next = pageOf(found, flags.limit, func(a store.Alert) string { return digits(a.ID) })
	for _, a := range found {
		page.Alerts = append(page.Alerts, viewAlert(a))
	}
	if err := printList(p, page, page.Alerts, page.Next, func(a alertView) string { return digits(a.ID) }, alertTable); err != nil {
		return err
	}
	return p.noteEvaluator(ctx, pool)
}

func alertTable(alerts []alertView) (header []string, rows [][]string) {
	for _, a := range alerts {
		told := "-"
		switch {
		case a.SilencedUntil != nil:
			told = "silenced"
		case a.Told:
			told = cell(strings.Join(a.ToldTo, ","), 30)
		}
		rows = append(rows, []string{
			digits(a.ID), a.State, a.Severity, a.Rule, cell(a.Subject, 40), a.Value, moment(&a.Since), told, cell(a.Summary, 80),
		})
	}
	return []string{"ID", "STATE", "SEVERITY", "RULE", "SUBJECT", "VALUE", "SINCE", "TOLD", "SUMMARY"}, rows
}

// noteEvaluator says when nobody looks whether anything is wrong.
func (p *Program) noteEvaluator(ctx context.Context, db store.DB) error {
	evaluator, there, err := store.FindEvaluator(ctx, db)
	switch {
	case err != nil:
		return err
	case !there:
		p.note("Nobody evaluates alerts: start a scheduler, a worker that may lead, or an api.")
	case !evaluator.Active:
		p.note("Nobody evaluates alerts since %s: start a scheduler, a worker that may lead, or an api.", moment(&evaluator.ExpiresAt))
	}
	return nil
}

func checkRule(ctx context.Context, db store.DB, name string) error {
	if name == "" {
		return nil
	}
	rules, err := store.ListAlertRules(ctx, db)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(rules, func(r store.AlertRule) bool { return r.Name == name }) {
		return fmt.Errorf("alert rule %q does not exist; `towpath alerts rules` shows those that do", name)
	}
	return nil
}

func (p *Program) alertsShow() *cobra.Command {
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show an alert, what to do about it, and its latest changes",
		Long:    "Show an alert, what to do about it, who was told, and the latest changes of its state.",
		Example: "  towpath alerts show 1",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.showAlert(c.Context(), args[0]) },
	}
	p.returns(c, alertView{})
	return p.needs(c, roleReader)
}

func (p *Program) showAlert(ctx context.Context, text string) error {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return usagef("%q is no alert's id: give a number, as `towpath alerts list` shows it", text)
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	found, err := store.ShowAlert(ctx, pool, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("alert %d does not exist, or was resolved more than a day ago; `towpath alerts list` shows those that do", id)
	}
	if err != nil {
		return err
	}
	events, err := store.ListAlertEvents(ctx, pool, 0, found.Rule, found.Subject, 10)
	if err != nil {
		return err
	}
	view := viewAlert(*found)
	for _, event := range events {
		view.Events = append(view.Events, viewTurn(event))
	}
	if p.json {
		return p.printJSON(view)
	}
	told := "nobody yet"
	if view.ToldAt != nil {
		told = fmt.Sprintf("%s, last at %s", strings.Join(view.ToldTo, ", "), moment(view.ToldAt))
	}
	rows := [][]string{
		{"State", fmt.Sprintf("%s since %s", view.State, moment(&view.Since))},
		{"Rule", view.Rule + ", " + view.Severity},
		{"Subject", view.Subject},
		{"Summary", view.Summary},
		{"Detail", view.Detail},
		{"Value", view.Value},
		{"Wrong since", moment(view.BadSince)},
		{"Told", told},
		{"Silenced until", moment(view.SilencedUntil)},
	}
	if err := p.record([]string{"Alert", digits(view.ID)}, rows); err != nil {
		return err
	}
	for i, event := range view.Events {
		if i == 0 {
			fmt.Fprintln(p.stdout)
		}
		fmt.Fprintf(p.stdout, "%s  %s  %s\n", moment(&event.At), event.State, cell(event.Summary, 120))
	}
	return nil
}

// alertTurn is a change of an alert's state as --json prints it; an interface.
type alertTurn struct {
	ID       int64     `json:"id" about:"its number, growing"`
	Rule     string    `json:"rule" about:"the rule"`
	Subject  string    `json:"subject" about:"what it is about"`
	At       time.Time `json:"at" about:"when the state changed"`
	State    string    `json:"state" about:"the state from then on"`
	Was      *string   `json:"was" about:"the one before; null when there was none"`
	Severity string    `json:"severity" about:"the rule's at that time"`
	Value    string    `json:"value" about:"the figure that was seen"`
	Summary  string    `json:"summary" about:"what was wrong, in one line"`
}

func viewTurn(e store.AlertEvent) alertTurn { return alertTurn(e) }

// alertTurns is the result of `alerts history --json`; an interface.
type alertTurns struct {
	Events []alertTurn `json:"events" about:"the newest first"`
	Next   *string     `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) alertsHistory() *cobra.Command {
	var rule, subject string
	var page pageFlags
	c := &cobra.Command{
		Use:     "history",
		Short:   "List the changes of alerts, the newest first",
		Long:    "List when alerts became pending, fired and were resolved, the newest first. Changes are kept for a year.",
		Example: "  towpath alerts history\n  towpath alerts history --rule schedule_missed --subject nightly --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.alertHistory(c.Context(), rule, subject, page)
		},
	}
	c.Flags().StringVar(&rule, "rule", "", "only those of a rule")
	c.Flags().StringVar(&subject, "subject", "", "only those about one subject")
	page.addTo(c, 50, "the last change's id")
	p.returns(c, alertTurns{})
	return p.needs(c, roleReader)
}

func (p *Program) alertHistory(ctx context.Context, rule, subject string, flags pageFlags) error {
	from, err := flags.number()
	if err != nil {
		return err
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	if err := checkRule(ctx, pool, rule); err != nil {
		return err
	}
	found, err := store.ListAlertEvents(ctx, pool, from, rule, subject, flags.limit+1)
	if err != nil {
		return err
	}
	page := alertTurns{Events: []alertTurn{}}
	key := func(e store.AlertEvent) string { return digits(e.ID) }
	found, page.Next = pageOf(found, flags.limit, key)
	for _, e := range found {
		page.Events = append(page.Events, viewTurn(e))
	}
	return printList(p, page, found, page.Next, key, turnTable)
}

func turnTable(events []store.AlertEvent) (header []string, rows [][]string) {
	for _, e := range events {
		rows = append(rows, []string{digits(e.ID), moment(&e.At), e.State, e.Severity, e.Rule, cell(e.Subject, 40), e.Value, cell(e.Summary, 80)})
	}
	return []string{"ID", "AT", "STATE", "SEVERITY", "RULE", "SUBJECT", "VALUE", "SUMMARY"}, rows
}
