package cmd

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/monitor/assets"
)

func (p *Program) monitorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "monitor",
		Short: "Rules and dashboards for Prometheus and Grafana",
		Long:  "Print what Prometheus and Grafana need to watch Towpath.",
	}
	c.AddCommand(p.monitorRulesCommand(), p.monitorDashboardsCommand())
	return c
}

func (p *Program) monitorRulesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "rules",
		Short:   "Print the recording and alert rules",
		Long:    "Print a rule file for Prometheus: name it under rule_files in prometheus.yml.",
		Example: "  towpath monitor rules > towpath.yaml",
		RunE: func(*cobra.Command, []string) error {
			if p.json {
				return p.printJSON(ruleFile{string(assets.Rules())})
			}
			_, err := p.stdout.Write(assets.Rules())
			return err
		},
	}
	p.returns(c, ruleFile{})
	return c
}

// ruleFile is the rules in JSON.
type ruleFile struct {
	Rules string `json:"rules" about:"the rule file, in YAML"`
}

func (p *Program) monitorDashboardsCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "dashboards [NAME]",
		Short: "List the dashboards, print one or write all",
		Long: "List the dashboards for Grafana, print one as JSON for its import, or write all of them into a directory\n" +
			"that Grafana is provisioned from.",
		Example: "  towpath monitor dashboards\n  towpath monitor dashboards overview > overview.json\n  towpath monitor dashboards --dir dashboards",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case dir != "" && len(args) > 0:
				return usagef("a name %q and --dir %q: --dir writes all dashboards; leave one of them out", args[0], dir)
			case dir != "":
				return p.writeDashboards(dir)
			case len(args) > 0:
				text, err := assets.Dashboard(args[0])
				if err != nil {
					return UsageError(err)
				}
				_, err = p.stdout.Write(text)
				return err
			default:
				return p.listDashboards()
			}
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "write all dashboards into this directory")
	p.quietFlag(c, "with --dir, print nothing")
	return c
}

func (p *Program) listDashboards() error {
	names := assets.Dashboards()
	if p.json {
		return p.printJSON(names)
	}
	for _, name := range names {
		fmt.Fprintln(p.stdout, name)
	}
	return nil
}

func (p *Program) writeDashboards(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the dashboards: %w", err)
	}
	for _, name := range assets.Dashboards() {
		text, err := assets.Dashboard(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "towpath-"+name+".json"), text, 0o644); err != nil { //nolint:gosec // to be read by Grafana
			return fmt.Errorf("write dashboard %q: %w", name, err)
		}
	}
	if p.quiet {
		return nil
	}
	p.note("wrote %d dashboards into %s", len(assets.Dashboards()), dir)
	return nil
}
