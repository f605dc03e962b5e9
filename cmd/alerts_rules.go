package cmd

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/view"
)

// ruleView is a rule of alerts as --json prints it; an interface. Lengths of time are seconds.
type ruleView struct {
	Name        string     `json:"name" about:"the rule"`
	Subject     string     `json:"subject" about:"* for the rule itself; else the subjects that an exception is for, in which * stands for any characters"`
	Enabled     bool       `json:"enabled" about:"whether it is evaluated"`
	Severity    string     `json:"severity" about:"critical, warning or info"`
	Threshold   *float64   `json:"threshold" about:"from where on something is wrong; null where the rule needs none"`
	Unit        *string    `json:"unit" about:"what the threshold counts: seconds, share, ratio or rows"`
	For         float64    `json:"for_seconds" about:"how long that must have been so before it fires"`
	Reminder    *float64   `json:"reminder_seconds" about:"how often it is told again while it fires; null for never"`
	Notifiers   []string   `json:"notifiers" about:"who tells it; null for all that are configured"`
	Changed     bool       `json:"changed" about:"whether somebody has changed it"`
	Family      string     `json:"family" about:"rules of one family are about the same things"`
	Title       string     `json:"title" about:"of its messages; those of one title share a message"`
	Description string     `json:"description" about:"when it fires"`
	UpdatedAt   *time.Time `json:"updated_at" about:"when it was changed; null if never"`
	UpdatedBy   *string    `json:"updated_by" about:"who did that"`
}

func viewRule(r store.AlertRule) ruleView {
	shown := ruleView{
		Name: r.Name, Subject: r.Subject, Enabled: r.Enabled, Severity: r.Severity, Threshold: r.Threshold, Unit: r.Unit, For: r.After.Seconds(), Reminder: view.Seconds(r.Reminder),
		Changed: r.Changed, Family: r.Family, Title: r.Title, Description: r.Description, UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy,
	}
	if !r.EveryNotifier {
		shown.Notifiers = orEmpty(r.Notifiers)
	}
	return shown
}

// rulePage is the result of `alerts rules --json`; an interface.
type rulePage struct {
	Rules []ruleView `json:"rules" about:"by name, each before its exceptions"`
	Next  *string    `json:"next" about:"what --after needs for the next page; null on the last one"`
}

func (p *Program) alertsRules() *cobra.Command {
	var page pageFlags
	c := &cobra.Command{
		Use:     "rules",
		Short:   "List the rules by which alerts fire",
		Long:    "List the rules by which alerts fire, as they are now, each before its exceptions. An asterisk marks what somebody\nhas changed.",
		Example: "  towpath alerts rules\n  towpath alerts rules --json",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return p.listRules(c.Context(), page) },
	}
	page.addTo(c, 100, "the last rule")
	p.quietFlag(c, "print the names alone, that of an exception with its subject")
	p.returns(c, rulePage{})
	return p.needs(c, roleReader)
}

func (p *Program) listRules(ctx context.Context, flags pageFlags) error {
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	rules, err := store.ListAlertRules(ctx, pool)
	if err != nil {
		return err
	}
	rules, next, err := paginate(flags, rules, ruleKey)
	if err != nil {
		return err
	}
	page := rulePage{Rules: []ruleView{}, Next: next}
	for _, rule := range rules {
		page.Rules = append(page.Rules, viewRule(rule))
	}
	return printList(p, page, rules, next, ruleKey, ruleTable)
}

var errNoSubject = usagef(`--subject "": give a name, or a pattern such as 'reports-*'`)

// ruleKey names a rule by its name, and an exception by its rule and its subject.
func ruleKey(r store.AlertRule) string {
	if r.Subject == store.EverySubject {
		return r.Name
	}
	return r.Name + " " + r.Subject
}

// exceptionOf is what an exception is for.
func exceptionOf(r store.AlertRule) string {
	if r.Subject == store.EverySubject {
		return "-"
	}
	return cell(r.Subject, 40)
}

func ruleTable(rules []store.AlertRule) (header []string, rows [][]string) {
	for _, rule := range rules {
		rows = append(rows, ruleRow(rule))
	}
	return []string{"RULE", "SUBJECT", "SEVERITY", "THRESHOLD", "FOR", "REMINDER", "NOTIFIERS", "FIRES WHEN"}, rows
}

func ruleRow(r store.AlertRule) []string {
	name, severity, threshold, reminder, notifiers := r.Name, r.Severity, "-", "-", "all"
	if r.Changed {
		name += " *"
	}
	if !r.Enabled {
		severity = "disabled"
	}
	if r.Threshold != nil {
		threshold = strconv.FormatFloat(*r.Threshold, 'f', -1, 64)
		if *r.Unit == "seconds" {
			threshold = config.Duration(*r.Threshold * float64(time.Second)).String()
		}
	}
	if r.Reminder != nil {
		reminder = config.Duration(*r.Reminder).String()
	}
	if !r.EveryNotifier {
		notifiers = orDash(cell(strings.Join(r.Notifiers, ","), 30))
	}
	return []string{name, exceptionOf(r), severity, threshold, config.Duration(r.After).String(), reminder, notifiers, cell(r.Description, 100)}
}

func (p *Program) alertsRule() *cobra.Command {
	c := &cobra.Command{
		Use:   "rule",
		Short: "Change a rule of alerts: put, revert",
		Long:  "Change a rule by which alerts fire, or make exceptions, or give it its defaults again. The rules list shows them all.",
	}
	c.AddCommand(p.alertsRulePut(), p.alertsRuleRevert())
	return c
}

// ruleFlags are what `alerts rule put` is given.
type ruleFlags struct {
	subject                            string
	threshold, after, severity, remind string
	notifiers                          []string
	enable, disable                    bool
}

func (p *Program) alertsRulePut() *cobra.Command {
	var flags ruleFlags
	c := &cobra.Command{
		Use:   "put NAME",
		Short: "Change a rule, or make an exception: threshold, patience, severity, reminders, who is told",
		Long: "Change a rule. What you leave out stays as it is. A threshold in seconds may be written as 10m, a share as 0.25. A rule\n" +
			"that is disabled is not evaluated: what it had found is over, without a message.\n\n" +
			"With --subject, make or change an exception for one queue, kind, schedule or whatever the rule is about, or for\n" +
			"all whose names are as a pattern says. It is otherwise as its rule. If several match, the one that is exactly the\n" +
			"name holds, or else the pattern with the most characters other than *.",
		Example: "  towpath alerts rule put queue_old --threshold 15m --for 5m\n" +
			"  towpath alerts rule put queue_old --subject 'reports-*' --threshold 2h\n" +
			"  towpath alerts rule put schedule_failed --severity warning --remind 1d --notifiers slack,pagerduty:ops\n" +
			"  towpath alerts rule put schedule_late --notifiers all\n" +
			"  towpath alerts rule put dead_rows --disable",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return p.putRule(c, args[0], &flags) },
	}
	c.Flags().StringVar(&flags.subject, "subject", store.EverySubject, "what an exception is for; * stands for any characters")
	c.Flags().StringVar(&flags.threshold, "threshold", "", "from where on something is wrong: a number, or a length of time such as 10m")
	c.Flags().StringVar(&flags.after, "for", "", "how long that must have been so before it fires, as in 5m; 0 for at once")
	c.Flags().StringVar(&flags.severity, "severity", "", "critical, warning or info")
	c.Flags().StringVar(&flags.remind, "remind", "", "how often it is told again while it fires, as in 4h; 0 for never")
	c.Flags().StringSliceVar(&flags.notifiers, "notifiers", nil, "who tells it, by name; all: all that are configured; none: nobody")
	c.Flags().BoolVar(&flags.enable, "enable", false, "evaluate it")
	c.Flags().BoolVar(&flags.disable, "disable", false, "do not evaluate it")
	p.quietFlag(c, "print nothing")
	p.returns(c, ruleView{})
	return p.needs(c, roleOperator)
}

// change reads the flags.
func (f *ruleFlags) change(c *cobra.Command, name string) (change store.RuleChange, err error) {
	if f.subject == "" {
		return change, errNoSubject
	}
	change.Name, change.Subject = name, f.subject
	given := c.Flags().Changed
	if f.enable && f.disable {
		return change, usagef("give --enable or --disable, not both")
	}
	if !slices.ContainsFunc([]string{"threshold", "for", "severity", "remind", "notifiers", "enable", "disable"}, given) {
		return change, usagef("say what to change, such as --threshold 15m or --disable; `%s alerts rule put --help` lists it all", c.Root().Name())
	}
	if given("threshold") {
		value, err := number(f.threshold)
		if err != nil {
			return change, usagef("--threshold %q: give a number such as 0.25, or a length of time such as 10m", f.threshold)
		}
		change.Threshold = &value
	}
	for _, span := range []struct {
		flag, text string
		to         **time.Duration
	}{{"for", f.after, &change.After}, {"remind", f.remind, &change.Reminder}} {
		if !given(span.flag) {
			continue
		}
		var d config.Duration
		if err := d.Decode(span.text); err != nil {
			return change, usagef("--%s %q: %w", span.flag, span.text, err)
		}
		std := d.Std()
		*span.to = &std
	}
	if given("severity") {
		change.Severity = &f.severity
	}
	if given("notifiers") {
		if change.Notifiers = f.notifiers; len(f.notifiers) == 1 && f.notifiers[0] == "none" || len(f.notifiers) == 0 {
			change.Notifiers = []string{}
		}
	}
	if f.enable || f.disable {
		change.Enabled = &f.enable
	}
	return change, nil
}

// number reads a number, or a length of time as seconds.
func number(text string) (float64, error) {
	if value, err := strconv.ParseFloat(text, 64); err == nil {
		return value, nil
	}
	var d config.Duration
	err := d.Decode(text)
	return d.Std().Seconds(), err
}

func (p *Program) putRule(c *cobra.Command, name string, flags *ruleFlags) error {
	change, err := flags.change(c, name)
	if err != nil {
		return err
	}
	pool, err := p.Database(c.Context())
	if err != nil {
		return err
	}
	if err := store.PutAlertRule(c.Context(), pool, change); err != nil {
		return err
	}
	if p.quiet && !p.json {
		return nil
	}
	return p.printRule(c.Context(), pool, change.Name, change.Subject)
}

// printRule shows a rule as it is.
func (p *Program) printRule(ctx context.Context, db store.DB, name, subject string) error {
	rules, err := store.ListAlertRules(ctx, db)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		switch {
		case rule.Name != name || rule.Subject != subject:
		case p.json:
			return p.printJSON(viewRule(rule))
		default:
			row := ruleRow(rule)
			return p.record([]string{"Rule", row[0]}, [][]string{
				{"Subject", row[1]}, {"Severity", row[2]}, {"Threshold", row[3]}, {"For", row[4]}, {"Reminder", row[5]}, {"Notifiers", row[6]}, {"Fires when", rule.Description},
			})
		}
	}
	return nil
}

// revertedRule is the result of `alerts rule revert --json`; an interface.
type revertedRule struct {
	Name    string `json:"name" about:"the rule"`
	Subject string `json:"subject" about:"* for the rule itself; else the subject of the exception"`
	Changed bool   `json:"changed" about:"false if it had its defaults, or there was no such exception"`
}

func (p *Program) alertsRuleRevert() *cobra.Command {
	subject := store.EverySubject
	c := &cobra.Command{
		Use:   "revert NAME",
		Short: "Give a rule its defaults again, or take back an exception",
		Long: "Give a rule its defaults again, whatever was changed of it; its exceptions stay. With --subject, take back the exception\n" +
			"of that name or pattern.",
		Example: "  towpath alerts rule revert queue_old\n  towpath alerts rule revert queue_old --subject 'reports-*'",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.revertRule(c.Context(), args[0], subject) },
	}
	c.Flags().StringVar(&subject, "subject", subject, "the exception to take back, as it was put")
	p.quietFlag(c, "print nothing")
	p.returns(c, revertedRule{})
	return p.needs(c, roleOperator)
}

func (p *Program) revertRule(ctx context.Context, name, subject string) error {
	if subject == "" {
		return errNoSubject
	}
	pool, err := p.Database(ctx)
	if err != nil {
		return err
	}
	changed, err := store.RevertAlertRule(ctx, pool, name, subject)
	if err != nil {
		return err
	}
	switch exception := subject != store.EverySubject; {
	case p.json:
		return p.printJSON(revertedRule{Name: name, Subject: subject, Changed: changed})
	case exception && changed:
		p.tell("%s has no exception for %s any more", name, subject)
	case exception:
		p.tell("%s had no exception for %s", name, subject)
	case changed:
		p.tell("%s has its defaults again", name)
	default:
		p.tell("%s had its defaults", name)
	}
	return nil
}
