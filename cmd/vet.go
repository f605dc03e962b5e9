package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/vet"
)

// vetResult is the result of vet for programs.
type vetResult struct {
	Findings []vet.Finding `json:"findings" about:"in the order of their positions"`
}

func (p *Program) vetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "vet [PACKAGE]...",
		Short: "Check Go code for job args and handlers that will not do",
		Long: "Check Go packages, named as for `go vet` and ./... unless given, for what makes jobs fail later: args that hold\n" +
			"clients, files, channels, pointers or fields that JSON leaves out, and handlers that wait for other jobs.\n\n" +
			"A comment \"//towpath:allow REASON\", at the end of the line or alone before it, keeps a finding quiet. The exit\n" +
			"code is 1 when there are findings.",
		Example: "  towpath vet ./...",
		Args:    cobra.ArbitraryArgs,
		RunE:    p.vet,
	}
	p.quietFlag(c, "print nothing: the exit code says it")
	p.returns(c, vetResult{})
	return c
}

func (p *Program) vet(c *cobra.Command, packages []string) error {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, which `go vet` is to call: %w", err)
	}
	findings, err := vet.Run(c.Context(), self, ".", packages)
	if err != nil {
		return err
	}
	if p.json {
		err = p.printJSON(vetResult{orEmpty(findings)})
	} else {
		for _, finding := range findings {
			p.tell("%s: %s", fromHere(finding.Position), finding.Message)
		}
	}
	if err == nil && len(findings) > 0 {
		err = &silentError{errors.New("there are findings")}
	}
	return err
}

// fromHere shortens a position's path where the file lies below the working directory.
func fromHere(position string) string {
	here, err := os.Getwd()
	if err != nil {
		return position
	}
	if short, err := filepath.Rel(here, position); err == nil && filepath.IsLocal(short) {
		return short
	}
	return position
}
