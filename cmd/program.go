package cmd

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// Program is what commands share: the configuration, the database, the output. A command of yours gets it from its
// builder. Nothing is read or opened before a method is called that needs it; what is open is closed when the command
// ends.
type Program struct {
	name       string
	bundle     *workers.Bundle
	builders   []func(*Program) *cobra.Command
	fallback   func(*Program) *cobra.Command
	migrations fs.FS
	prepare    func(context.Context, *pgxpool.Pool) error

	environment map[string]string // defaults of the application's own

	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	quiet          bool
	results        map[*cobra.Command]any // what --json prints, by command

	cfg    *config.Config
	logger *slog.Logger
	pool   *pgxpool.Pool
	server *pgdev.Server // the private Postgres, or nil
}

// JSON reports whether --json was given.
func (p *Program) JSON() bool { return p.json }

// returns notes what a command prints with --json, for the documentation and its test.
func (p *Program) returns(c *cobra.Command, result any) {
	if p.results == nil {
		p.results = map[*cobra.Command]any{}
	}
	p.results[c] = result
}

// config reads the configuration once.
func (p *Program) config() (*config.Config, error) {
	if p.cfg != nil {
		return p.cfg, nil
	}
	cfg, err := config.Load()
	if err != nil {
		return nil, err
	}
	p.cfg = cfg
	return cfg, nil
}

// Logger returns the program's logger: standard error, text on a terminal and JSON elsewhere unless configured.
func (p *Program) Logger() (*slog.Logger, error) {
	if p.logger != nil {
		return p.logger, nil
	}
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	p.logger = newLogger(cfg.Log, p.stderr)
	return p.logger, nil
}

// Database returns the pool on TOWPATH_DATABASE_URL, or else on the private Postgres: one that Dev has started, or that runs
// in TOWPATH_DATA_DIR since a sample or dev of another terminal has. Roles never look for one. The pool is shared and is
// closed when the command ends.
func (p *Program) Database(ctx context.Context) (*pgxpool.Pool, error) {
	if p.pool != nil {
		return p.pool, nil
	}
	cfg, err := p.config()
	if err != nil {
		return nil, err
	}
	if cfg.Database.URL == "" {
		if info, err := pgdev.Find(cfg.DataDir); err == nil {
			cfg.Database.URL = info.URL()
		}
	}
	pool, err := cfg.OpenPool(ctx, p.name)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach the database of TOWPATH_DATABASE_URL: %w", err)
	}
	p.pool = pool
	return pool, nil
}

// Client returns a client on Database that inserts jobs and asks about them.
func (p *Program) Client(ctx context.Context) (*jobs.Client, error) {
	pool, err := p.Database(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.requireSchema(ctx); err != nil {
		return nil, err
	}
	return jobs.NewClient(pool, &jobs.Config{
		ArgsWarnBytes: orNever(p.cfg.Args.WarnBytes), ArgsMaxBytes: orNever(p.cfg.Args.MaxBytes), SeparateInserts: !bool(p.cfg.Insert.Coalesce),
	})
}

// orNever turns "0: never" into the package's "negative: never".
func orNever(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// requireSchema fails when the database's schema is older than this program.
func (p *Program) requireSchema(ctx context.Context) error {
	migrator, err := p.migrator(ctx, nil)
	if err != nil {
		return err
	}
	check, err := migrator.Check(ctx)
	if err != nil {
		return err
	}
	return check.Err()
}

// migrator returns a migrator with the application's line. A nil report is silent.
func (p *Program) migrator(ctx context.Context, report func(string)) (*migrate.Migrator, error) {
	pool, err := p.Database(ctx)
	if err != nil {
		return nil, err
	}
	opts := []migrate.Option{migrate.WithApp(p.migrations)}
	if report != nil {
		opts = append(opts, migrate.WithReport(report))
	}
	return migrate.New(pool, opts...)
}

// close gives back what the command has opened: first those who use the database, then the private Postgres.
func (p *Program) close() error {
	if p.pool != nil {
		p.pool.Close()
		p.pool = nil
	}
	if p.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPostgresLimit)
	defer cancel()
	err := p.server.Stop(ctx)
	p.server = nil
	return err
}

// stopPostgresLimit bounds a stop that has nobody left to wait for it; the watchdog of the server does the rest.
const stopPostgresLimit = 30 * time.Second

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && terminal(file)
}
