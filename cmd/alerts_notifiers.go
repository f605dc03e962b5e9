package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/notify"
)

// notifierView is a sort of notifiers, as --json prints it.
type notifierView struct {
	Sort       string   `json:"sort" about:"what the names of its notifiers begin with"`
	Service    string   `json:"service" about:"where its messages go"`
	Configured []string `json:"configured" about:"the notifiers that are configured here"`
	Variables  []string `json:"variables" about:"the variables that configure it"`
	Example    string   `json:"example" about:"how to set them"`
}

// alertsTested is the result of `alerts test --json`.
type alertsTested struct {
	Sent      []string       `json:"sent" about:"the notifiers that took the test"`
	Notifiers []notifierView `json:"notifiers" about:"all sorts of notifiers"`
}

// testLimit bounds the test of a notifier.
const testLimit = 30 * time.Second

func (p *Program) alertsTest() *cobra.Command {
	c := &cobra.Command{
		Use:   "test [NOTIFIER]…",
		Short: "Send a test by notifiers, or list which are configured",
		Long: "Send an alert and its end by each of the notifiers named (slack, pagerduty:ops), at once and from here, to see\n" +
			"whether they arrive. " +
			"Without a name: list which the environment configures, and how to configure the others.\n\n" +
			"The processes that send alerts read the same variables from their own environments.",
		Example: "  towpath alerts test\n  towpath alerts test --json",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := p.config()
			if err != nil {
				return err
			}
			if len(args) == 0 {
				return p.listNotifiers(cfg)
			}
			return p.testNotifiers(c.Context(), cfg, args)
		},
	}
	p.quietFlag(c, "print nothing of what was sent")
	p.returns(c, alertsTested{})
	return reads(c, config.GroupNotifiers, config.GroupChecks)
}

func notifierViews(cfg *config.Config) []notifierView {
	configured := notify.Configured(cfg)
	var views []notifierView
	for _, sort := range notify.Sorts() {
		views = append(views, notifierView{
			Sort: sort.Name, Service: sort.Service, Configured: append([]string{}, sort.Of(configured)...), Variables: sort.Variables, Example: sort.Example,
		})
	}
	return views
}

func (p *Program) listNotifiers(cfg *config.Config) error {
	views := notifierViews(cfg)
	if p.json {
		return p.printJSON(alertsTested{Sent: []string{}, Notifiers: views})
	}
	var rows [][]string
	for _, view := range views {
		if len(view.Configured) == 0 {
			rows = append(rows, []string{view.Sort, "no", "set " + view.Example})
		}
		for _, name := range view.Configured {
			rows = append(rows, []string{name, "yes", view.Service})
		}
	}
	return table(p.stdout, []string{"NOTIFIER", "CONFIGURED", ""}, rows)
}

func (p *Program) testNotifiers(ctx context.Context, cfg *config.Config, names []string) error {
	all := notify.New(cfg)
	var chosen []notify.Notifier
	for _, name := range names {
		at := slices.IndexFunc(all, func(n notify.Notifier) bool { return n.Name() == name })
		if at < 0 {
			return unknownNotifier(cfg, name)
		}
		chosen = append(chosen, all[at])
	}
	result := alertsTested{Sent: []string{}, Notifiers: notifierViews(cfg)}
	for _, notifier := range chosen {
		if err := sendTest(ctx, cfg, notifier); err != nil {
			return fmt.Errorf("test notifier %q: %w", notifier.Name(), err)
		}
		result.Sent = append(result.Sent, notifier.Name())
		if !p.json {
			p.tell("%s took an alert and its end", notifier.Name())
		}
	}
	if p.json {
		return p.printJSON(result)
	}
	return nil
}

func sendTest(ctx context.Context, cfg *config.Config, notifier notify.Notifier) error {
	ctx, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	for _, message := range notify.Test(cfg, time.Now()) {
		if err := notifier.Send(ctx, message); err != nil {
			return err
		}
	}
	return nil
}

// unknownNotifier says how to configure what was named, or what there is.
func unknownNotifier(cfg *config.Config, name string) error {
	configured := notify.Configured(cfg)
	for _, sort := range notify.Sorts() {
		if len(sort.Of([]string{name})) > 0 {
			return usagef("notifier %q is not configured; set %s", name, sort.Example)
		}
	}
	if len(configured) == 0 {
		return usagef("there is no notifier %q, and none is configured; see `towpath alerts test`", name)
	}
	return usagef("there is no notifier %q; choose from %s", name, strings.Join(configured, ", "))
}
