package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/doctor"
)

// doctorResult is the JSON form of a report.
type doctorResult struct {
	Healthy  bool             `json:"healthy" about:"whether there is nothing but notes"`
	Findings []doctor.Finding `json:"findings" about:"what is not as it should be, the worst first"`
	Skipped  []doctor.Skipped `json:"skipped" about:"what could not be looked at"`
	Checks   []string         `json:"checks" about:"what was looked at"`
}

func (p *Program) doctorCommand() *cobra.Command {
	var sql bool
	old := spanValue{value: 5 * time.Minute}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong with the database and the fleet, and what mends it",
		Long: "Compare the database with what this program expects, and look at the fleet that works on it: versions, schema,\n" +
			"rights, partitions, a leader, clocks, open transactions, connections, vacuum, notifications. Nothing is changed.\n\n" +
			"Each finding says what, where, and what mends it. The exit code is 0 when all is well (notes do not count) and\n" +
			"1 when there is a fault or a warning. That the database's user may not look at something, which the owner of the\n" +
			"schema may, is a warning too: what was not looked at may be broken. A check that saw only a part says so.",
		Example: "  towpath doctor\n  towpath doctor --json\n  towpath doctor --sql > mend.sql   # brings our own objects back",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case sql && p.json:
				return usagef("--sql and --json are two forms of the result; choose one")
			case sql && p.quiet:
				return usagef("--sql prints the mends and --quiet prints nothing; choose one")
			}
			report, err := p.examine(c.Context(), old.value)
			if err != nil {
				return err
			}
			switch {
			case p.json:
				err = p.printJSON(doctorResult{report.Healthy(), report.Findings, report.Skipped, report.Checks})
			case sql:
				p.printScript(report)
			case !p.quiet:
				p.printReport(report)
			}
			if err == nil && !report.Healthy() {
				return &silentError{errors.New("the doctor has findings")}
			}
			return err
		},
	}
	c.Flags().BoolVar(&sql, "sql", false, "print the SQL that brings our own objects back, as a script for psql")
	c.Flags().Var(&old, "old-transaction", "how long a transaction may be open")
	p.quietFlag(c, "print nothing: the exit code says it")
	p.returns(c, doctorResult{})
	return reads(c, config.GroupDatabase)
}

func (p *Program) examine(ctx context.Context, old time.Duration) (*doctor.Report, error) {
	migrator, err := p.migrator(ctx, nil)
	if err != nil {
		return nil, err
	}
	return doctor.Examine(ctx, p.pool, migrator, doctor.Options{
		Program: p.name, OldTransaction: old, NotifyOff: !bool(p.cfg.Database.Notify),
	})
}

// printReport prints findings for people. Of a mend of many lines the first is enough: --sql has them all.
func (p *Program) printReport(report *doctor.Report) {
	counts := map[doctor.Severity]int{}
	for _, f := range report.Findings {
		counts[f.Severity]++
		mend, more, long := strings.Cut(f.Mend, "\n")
		if long && strings.Count(more, "\n") > 1 {
			mend = fmt.Sprintf("%s doctor --sql | %s pg psql", p.name, p.name)
		} else if long {
			mend += " " + more
		}
		fmt.Fprintf(p.stdout, "%s  %s: %s\n  where  %s\n  mend   %s\n\n", strings.ToUpper(string(f.Severity)), f.Check, f.What, f.Where, mend)
	}
	for _, s := range together(report.Skipped) {
		fmt.Fprintf(p.stdout, "NOT SEEN  %s: %s\n", s.Check, s.Reason)
		if s.Mend != "" {
			fmt.Fprintf(p.stdout, "  mend   %s\n", s.Mend)
		}
		fmt.Fprintln(p.stdout)
	}
	number := fmt.Sprintf("%d checks", len(report.Checks))
	if len(report.Checks) < report.Of {
		number = fmt.Sprintf("%d of %d checks", len(report.Checks), report.Of)
	}
	summary := "all is well"
	switch {
	case len(report.Findings) > 0:
		summary = fmt.Sprintf("faults: %d, warnings: %d, notes: %d", counts[doctor.Fault], counts[doctor.Warning], counts[doctor.Note])
	case len(report.Skipped) > 0:
		summary = "nothing is wrong in what could be seen"
	}
	fmt.Fprintf(p.stdout, "%s; %s\n", number, summary)
}

// together joins those that could not look for the same reason.
func together(skipped []doctor.Skipped) []doctor.Skipped {
	var joined []doctor.Skipped
	for _, s := range skipped {
		like := slices.IndexFunc(joined, func(o doctor.Skipped) bool { return o.Reason == s.Reason && o.Mend == s.Mend })
		if like >= 0 {
			joined[like].Check += ", " + s.Check
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// printScript prints the SQL that brings our own objects back. A script that is short because the doctor was not let in
// must not look like one that has nothing to do.
func (p *Program) printScript(report *doctor.Report) {
	fmt.Fprint(p.stdout, report.Script())
	for _, f := range report.Findings {
		if f.Check == doctor.Rights {
			p.note("%s; %s", f.What, f.Mend)
		}
	}
}
