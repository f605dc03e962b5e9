// Command quakes is a sample application on Towpath: a week of real earthquakes, as the USGS reported them. Each report is
// written to quakes.event, and the same transaction enqueues what follows from it. The jobs write their effects in the
// transaction that completes them, so each has exactly one. Two schedules look back at the feed, and a probe compares it with
// what was made of it. It is built as yours would be: own kinds, workers, tables, and cmd.Main, which adds Towpath's commands.
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/workers"
)

//go:embed migrations/*.sql
var migrations embed.FS

func main() {
	tables, _ := fs.Sub(migrations, "migrations") // refuses bad names alone
	bundle := newBundle()
	replay := func(p *cmd.Program) *cobra.Command { return replayCommand(p, bundle) }
	os.Exit(cmd.Main(bundle, cmd.WithName("quakes"), cmd.WithDefault(replay), cmd.WithMigrations(tables),
		cmd.WithEnvironment(map[string]string{"TOWPATH_LOG_LEVEL": "error"}))) // failures are part of the show
}

func replayCommand(p *cmd.Program, bundle *workers.Bundle) *cobra.Command {
	once, data, i := false, "", importer{}
	c := &cobra.Command{
		Use:   "replay",
		Short: "Replay a week of earthquakes and work the jobs that follow",
		Long: "Replay a week of real earthquake reports into Postgres, enqueue what follows from each in the same\n" +
			"transaction, and work it. Without TOWPATH_DATABASE_URL a private Postgres is started.",
		Example: "  quakes                # an hour a second; stays up\n  quakes --once         # as fast as it goes; ends with a summary",
		RunE: func(c *cobra.Command, _ []string) error {
			if !(i.speed >= 0) { // nor is it a number, perhaps
				return cmd.UsageError(fmt.Errorf("--speed %g cannot be; say how many seconds of the feed pass in one, or 0 for no pause", i.speed))
			}
			if once && !c.Flags().Changed("speed") {
				i.speed = 0
			}
			addSchedules(bundle, i.speed)
			return replay(c.Context(), p, &i, data, once)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end when all work is done, with a summary; exit 1 when anything was lost or doubled")
	c.Flags().Float64Var(&i.speed, "speed", 3600, "seconds of the feed that pass in one; 0, the default with --once: no pause")
	c.Flags().StringVar(&data, "data", "", "directory of the private Postgres (default TOWPATH_DATA_DIR)")
	return c
}

// replay runs the application.
func replay(ctx context.Context, p *cmd.Program, i *importer, data string, once bool) (err error) {
	events, err := i.readFeed(feedCSV)
	if err != nil {
		return err
	}
	if err := p.Dev(ctx, data); err != nil {
		return err
	}
	if i.pool, err = p.Database(ctx); err != nil {
		return err
	}
	if i.client, err = p.Client(ctx); err != nil {
		return err
	}
	roles, err := p.StartAll(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, roles.Stop()) }()
	if !once {
		fmt.Fprintf(os.Stderr, "Look around in a second terminal:\n  go run ./cmd/quakes jobs list\n  go run ./cmd/quakes pg psql\n  curl http://%s/metrics\n", roles.Address())
	}
	if err := i.begin(ctx); err != nil {
		return err
	}
	if err := p.Progress(ctx, i.progress, i.run); ctx.Err() != nil {
		return nil // a signal ended it
	} else if err != nil {
		return err
	}
	result, err := i.summarize(ctx, os.Stdout)
	if err != nil {
		return err
	}
	if result.events != events || result.lost() != 0 || result.duplicated() != 0 {
		return fmt.Errorf("the replay is not whole: %d of %d events, %d jobs lost, %d effects duplicated", result.events, events, result.lost(), result.duplicated())
	}
	if !once {
		fmt.Fprintln(os.Stderr, "The week is over; Ctrl-C ends.")
		select {
		case <-ctx.Done():
		case err := <-roles.Failed():
			return err
		}
	}
	return nil
}
