package cmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/doctor"
	"github.com/towpath/towpath/internal/pgdev"
)

func (p *Program) devCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "dev",
		Short: "Everything on this machine: a private Postgres, migrations, all roles",
		Long: "Start a private Postgres, apply the migrations and run all roles, until Ctrl-C.\n\n" +
			"With TOWPATH_DATABASE_URL set, that database is used and none is started. The private one listens on\n" +
			"loopback alone, keeps its data, and needs no installation: where no Postgres is found, it is fetched.",
		Example: "  towpath dev\n  towpath dev --data /tmp/towpath   # another directory\n  towpath pg psql                   # in a second terminal",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := p.Dev(c.Context(), data); err != nil {
				return err
			}
			return p.serve(c.Context(), serveOptions{roles: allRoles(), dev: true})
		},
	}
	c.Flags().StringVar(&data, "data", "", "directory of the private Postgres (default TOWPATH_DATA_DIR)")
	return reads(c, append(workGroups, config.GroupDevelopment)...)
}

// Dev makes a database for development ready: that of TOWPATH_DATABASE_URL when it is set, else a private Postgres in
// a directory ("": TOWPATH_DATA_DIR), which ends with the command. Migrations are applied. Roles that are started
// afterwards serve HTTP on loopback, and on any free port when theirs is taken, unless TOWPATH_LISTEN is set.
func (p *Program) Dev(ctx context.Context, dir string) error {
	cfg, err := p.config()
	if err != nil {
		return err
	}
	if cfg.Database.URL == "" {
		if err := p.startPostgres(ctx, cfg, dir); err != nil {
			return err
		}
	}
	if !config.Given("TOWPATH_LISTEN") {
		cfg.Listen = "127.0.0.1:8080"
	}
	migrator, err := p.migrator(ctx, func(line string) { p.note("%s", line) })
	if err != nil {
		return err
	}
	if err := migrator.Up(ctx); err != nil || p.server == nil {
		return err
	}
	return p.checkBuild(ctx)
}

// checkBuild refuses a private database that another build of the program has made, before something odd does. Until a
// release, migrations change in place.
func (p *Program) checkBuild(ctx context.Context) error {
	missing, err := doctor.Missing(ctx, p.pool)
	if err != nil || len(missing) == 0 {
		return err
	}
	return fmt.Errorf("the private database was made by another build, with other migrations: %d objects are missing, among them the %s; "+
		"start with an empty directory by --data DIR, or remove %s", len(missing), missing[0], p.server.Dir)
}

func (p *Program) startPostgres(ctx context.Context, cfg *config.Config, dir string) error {
	if dir == "" {
		dir = cfg.DataDir
	}
	logger, err := p.Logger()
	if err != nil {
		return err
	}
	server, err := pgdev.Start(ctx, pgdev.Options{
		Dir: dir, ArchiveURL: cfg.Postgres.ArchiveURL, Progress: p.stderr, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("start a private Postgres: %w", err)
	}
	p.server = server
	cfg.Database.URL = server.URL()
	p.note("Private Postgres %s in %s", server.Version, server.Dir)
	return nil
}

// postgresEnded is closed when the private Postgres has ended on its own; nil without one.
func (p *Program) postgresEnded() <-chan struct{} {
	if p.server == nil {
		return nil
	}
	return p.server.Done()
}
