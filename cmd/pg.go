package cmd

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/pgdev"
)

func (p *Program) pgCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use:   "pg",
		Short: "Reach the database: psql, url",
		Long: "Reach the database of TOWPATH_DATABASE_URL, or the private Postgres that `" + p.name + " dev` runs when that is\n" +
			"not set.",
	}
	c.PersistentFlags().StringVar(&data, "data", "", "directory of the private Postgres (default TOWPATH_DATA_DIR)")
	address := reads(&cobra.Command{
		Use:     "url",
		Short:   "Print the connection string, with its password",
		Long:    "Print the connection string of the database, with its password, for another program.",
		Example: "  pg_dump \"$(towpath pg url)\"",
		RunE: func(*cobra.Command, []string) error {
			address, _, err := p.reach(data)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(connection{URL: address})
			}
			fmt.Fprintln(p.stdout, address)
			return nil
		},
	}, config.GroupDatabase, config.GroupDevelopment)
	p.returns(address, connection{})
	psql := reads(&cobra.Command{
		Use:     "psql [-- ARGUMENT...]",
		Short:   "Open psql on the database",
		Long:    "Run psql on the database. What follows -- is given to psql.",
		Example: "  towpath pg psql\n  towpath pg psql -- -c 'SELECT count(*) FROM towpath.river_job'",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			address, binDir, err := p.reach(data)
			if err != nil {
				return err
			}
			return execPsql(address, binDir, args)
		},
	}, config.GroupDatabase, config.GroupDevelopment)
	c.AddCommand(address, psql)
	return c
}

// connection is the result of pg url --json.
type connection struct {
	URL string `json:"url" about:"the connection string, with its password"`
}

// reach returns the database's connection string, and for a private Postgres the directory of its binaries.
func (p *Program) reach(dir string) (address, binDir string, err error) {
	cfg, err := p.config()
	if err != nil {
		return "", "", err
	}
	if cfg.Database.URL != "" {
		return cfg.Database.URL, "", nil
	}
	if dir == "" {
		dir = cfg.DataDir
	}
	info, err := pgdev.Find(dir)
	if errors.Is(err, pgdev.ErrNotRunning) {
		return "", "", fmt.Errorf("TOWPATH_DATABASE_URL is not set, and %w", err)
	}
	if err != nil {
		return "", "", err
	}
	return info.URL(), info.BinDir, nil
}

// execPsql becomes psql, so that the terminal and its signals are psql's alone. The password travels in the
// environment: arguments can be read by every user of the machine.
func execPsql(address, binDir string, args []string) error {
	path, err := pgdev.Psql(binDir)
	if err != nil {
		return err
	}
	env := os.Environ() //nolint:forbidigo // psql reads its own configuration from it
	if parsed, err := url.Parse(address); err == nil && strings.Contains(address, "://") {
		if password, has := parsed.User.Password(); has {
			parsed.User = url.User(parsed.User.Username())
			env = append(env, "PGPASSWORD="+password)
			address = parsed.String()
		}
	}
	if err := syscall.Exec(path, append([]string{"psql", address}, args...), env); err != nil {
		return fmt.Errorf("run %s: %w", path, err)
	}
	return nil
}
