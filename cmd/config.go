package cmd

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
)

func (p *Program) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in effect",
		Long: "Print every variable with the value in effect and where it comes from. Passwords are redacted.\n" +
			"A value that cannot be used makes the command fail with exit code 2.",
		Example: "  towpath config\n  TOWPATH_GRACE=1m towpath config --json",
		RunE:    func(*cobra.Command, []string) error { return p.printConfig() },
	}
	p.returns(c, []config.Variable{})
	return reads(c, config.Groups()...)
}

func (p *Program) printConfig() error {
	cfg, err := p.config()
	if err != nil {
		return err
	}
	unknown := config.Unknown()
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		hint := ""
		if unknown[name] != "" {
			hint = fmt.Sprintf("; did you mean %s?", unknown[name])
		}
		p.note("%s: %s means nothing to this program%s", p.name, name, hint)
	}
	if p.json {
		return p.printJSON(cfg.Variables())
	}
	var rows [][]string
	for _, variable := range cfg.Variables() {
		source := "default"
		if variable.Set {
			source = "environment"
		}
		value := variable.Value
		if value == "" {
			value = "-"
		}
		rows = append(rows, []string{variable.Name, value, source})
	}
	return table(p.stdout, []string{"VARIABLE", "VALUE", "SOURCE"}, rows)
}
