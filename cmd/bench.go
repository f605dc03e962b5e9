package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/bench"
	"github.com/towpath/towpath/internal/config"
)

// benchOptions are the flags of the benchmarks.
type benchOptions struct {
	bench.Options
	svg, profile string
}

func (p *Program) benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure Towpath beside plain River",
		Long: "Measure Towpath beside plain River on the same server, in rounds that alternate, with the configuration of a\n" +
			"worker process. Every contender gets a database of its own, which is dropped at the end; the role needs\n" +
			"CREATEDB. Without TOWPATH_DATABASE_URL a private Postgres with durable settings runs meanwhile.",
	}
	for _, scenario := range bench.Scenarios() {
		c.AddCommand(p.benchOf(scenario))
	}
	return c
}

func (p *Program) benchOf(scenario bench.Scenario) *cobra.Command {
	opts := &benchOptions{}
	defaults := scenario.Defaults
	c := &cobra.Command{
		Use:     scenario.Name,
		Short:   "Measure: " + scenario.About,
		Long:    "Measure: " + scenario.About + ".",
		Example: fmt.Sprintf("  %s bench %s\n  %s bench %s --json --svg %s.svg", p.name, scenario.Name, p.name, scenario.Name, scenario.Name),
		RunE:    func(c *cobra.Command, _ []string) error { return p.bench(c.Context(), scenario.Name, opts) },
	}
	flags := c.Flags()
	flags.IntVar(&opts.Rounds, "rounds", defaults.Rounds, "how often each contender is measured")
	if len(scenario.Cases) > 0 {
		flags.StringSliceVar(&opts.Cases, "case", nil, "measure this table alone: "+strings.Join(scenario.Cases, ", ")+"; repeat it for several (default all)")
	}
	flags.IntVar(&opts.Workers, "workers", 0, "slots of every contender (default as configured; 2,000 for River)")
	flags.StringVar(&opts.svg, "svg", "", "write a chart to this file")
	flags.StringVar(&opts.profile, "cpuprofile", "", "write a CPU profile of Towpath's first round to this file")
	if defaults.Jobs > 0 {
		flags.IntVar(&opts.Jobs, "jobs", defaults.Jobs, "jobs that a round measures")
	}
	if defaults.Duration > 0 {
		flags.DurationVar(&opts.Duration, "duration", defaults.Duration, "length of a round")
	}
	if defaults.Rate > 0 {
		flags.IntVar(&opts.Rate, "rate", defaults.Rate, "jobs inserted a second")
	}
	if defaults.Finished > 0 {
		flags.IntVar(&opts.Finished, "finished", defaults.Finished, "finished jobs in the large table")
		flags.IntVar(&opts.Waiting, "waiting", defaults.Waiting, "waiting jobs in the large table")
		flags.BoolVar(&opts.SkipDiskCheck, "skip-disk-check", false, "run on a server whose free disk cannot be seen from here")
	}
	if scenario.Peers {
		flags.BoolVar(&opts.Peers, "peers", false, "measure graphile-worker and pg-boss as well; needs npm")
	}
	return reads(c, config.GroupDatabase, config.GroupWork, config.GroupJobs, config.GroupRetention)
}

// bench runs one benchmark with the configuration of this process.
func (p *Program) bench(ctx context.Context, name string, opts *benchOptions) (err error) {
	if opts.Config, err = p.config(); err != nil {
		return err
	}
	opts.Worker, opts.Memory, opts.Progress = app.WorkerConfig, app.MemorySettings(opts.Config), p.stderr
	if opts.profile != "" {
		file, err := os.Create(opts.profile)
		if err != nil {
			return fmt.Errorf("write the profile: %w", err)
		}
		defer file.Close()
		opts.Profile = file
	}
	report, err := bench.Run(ctx, name, opts.Options)
	if err != nil {
		return err
	}
	if opts.svg != "" {
		if err := writeFile(opts.svg, report.WriteSVG); err != nil {
			return err
		}
	}
	if p.json {
		return p.printJSON(report)
	}
	return report.WriteTable(p.stdout)
}

// writeFile writes a file as a whole.
func writeFile(path string, write func(io.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(write(file), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
