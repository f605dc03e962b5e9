package cmd

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/migrate"
)

func (p *Program) migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database's schema up to date: up, down, status, sql, adopt",
		Long: "Apply and inspect migrations. They come in lines: River's own (main), Towpath's (towpath), and those of this\n" +
			"application (app), if it has any. Everything is in the schema \"towpath\" and works as a plain database owner.",
	}
	c.AddCommand(p.migrateUp(), p.migrateDown(), p.migrateStatus(), p.migrateSQL(), p.migrateAdopt())
	for _, sub := range c.Commands() {
		reads(sub, config.GroupDatabase)
		switch sub.Name() {
		case "status":
			p.quietFlag(sub, "print nothing: the exit code says it")
			p.returns(sub, migrationList{})
		case "sql":
			p.returns(sub, migrationSQL{})
		default:
			p.quietFlag(sub, "print nothing")
			p.returns(sub, schemaView{})
		}
	}
	return c
}

// schemaView is how the schema stands, as --json prints it.
type schemaView struct {
	State   migrate.State `json:"state" about:"older: migrations are missing; current; newer than this program"`
	Missing []string      `json:"missing" about:"migrations that are not applied"`
	Unknown []string      `json:"unknown" about:"migrations that are applied and that this program does not know"`
}

// migrationList is the result of migrate status --json, and migrationSQL that of migrate sql --json.
type (
	migrationList struct {
		Migrations []migrate.Migration `json:"migrations" about:"by line and number"`
	}
	migrationSQL struct {
		SQL string `json:"sql" about:"a script for psql"`
	}
)

// report tells the steps of a migration.
func (p *Program) report(line string) {
	if !p.quiet {
		p.note("%s", line)
	}
}

func (p *Program) migrateUp() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Apply the migrations that are missing",
		Long: "Apply the migrations that are missing. Any number of processes may do so at the same time, and workers may\n" +
			"go on: no statement waits for a lock longer than a second, and indexes are built concurrently.",
		Example: "  towpath migrate up",
		RunE: func(c *cobra.Command, _ []string) error {
			migrator, err := p.migrator(c.Context(), p.report)
			if err != nil {
				return err
			}
			if err := migrator.Up(c.Context()); err != nil {
				return err
			}
			return p.printCheck(c, migrator)
		},
	}
}

// printCheck prints how the schema stands.
func (p *Program) printCheck(c *cobra.Command, migrator *migrate.Migrator) error {
	check, err := migrator.Check(c.Context())
	if err != nil {
		return err
	}
	if p.json {
		return p.printJSON(schemaView{State: check.State, Missing: orEmpty(check.Missing), Unknown: orEmpty(check.Unknown)})
	}
	p.tell("schema towpath: %s", check.State)
	return nil
}

// orEmpty keeps null out of JSON lists.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (p *Program) migrateDown() *cobra.Command {
	opts := migrate.DownOptions{To: -1}
	c := &cobra.Command{
		Use:   "down --to VERSION",
		Short: "Undo migrations of a line",
		Long: "Undo the migrations of a line above a version, newest first; --to 0 undoes the line. This is for leaving, with\n" +
			"the workers stopped. Finished jobs return to River's table, while counters, events and processes go. A line\n" +
			"goes only after those that stand on it.",
		Example: "  towpath migrate down --line towpath --to 0   # leave River's own tables",
		RunE: func(c *cobra.Command, _ []string) error {
			if opts.To < 0 {
				return usagef("migrate down needs --to VERSION: the version that is to remain, 0 for none")
			}
			migrator, err := p.migrator(c.Context(), p.report)
			if err != nil {
				return err
			}
			if err := migrator.Down(c.Context(), opts); err != nil {
				return err
			}
			return p.printCheck(c, migrator)
		},
	}
	c.Flags().StringVar(&opts.Line, "line", "towpath", "line to undo: main, towpath or app")
	c.Flags().IntVar(&opts.To, "to", -1, "version that remains")
	c.Flags().BoolVar(&opts.Force, "force", false, "even while processes give signs of life")
	return c
}

func (p *Program) migrateStatus() *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "List migrations and whether they are applied",
		Long:    "List the migrations of all lines. The exit code is 1 when one is missing.",
		Example: "  towpath migrate status && towpath worker",
		RunE: func(c *cobra.Command, _ []string) error {
			migrator, err := p.migrator(c.Context(), nil)
			if err != nil {
				return err
			}
			all, err := migrator.Status(c.Context())
			if err != nil {
				return err
			}
			if err := p.printMigrations(all); err != nil {
				return err
			}
			for _, migration := range all {
				if migration.AppliedAt == nil {
					return &silentError{errors.New("migrations are missing")}
				}
			}
			return nil
		},
	}
}

func (p *Program) printMigrations(all []migrate.Migration) error {
	if p.json {
		return p.printJSON(migrationList{Migrations: orEmpty(all)})
	}
	if p.quiet {
		return nil
	}
	rows := make([][]string, 0, len(all))
	for _, migration := range all {
		name, applied := migration.Name, "missing"
		if name == "" {
			name = "(unknown to this program)"
		}
		if migration.AppliedAt != nil {
			applied = migration.AppliedAt.Local().Format(time.DateTime)
		}
		rows = append(rows, []string{migration.Line, fmt.Sprintf("%03d", migration.Version), name, applied})
	}
	return table(p.stdout, []string{"LINE", "VERSION", "NAME", "APPLIED"}, rows)
}

func (p *Program) migrateSQL() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "sql",
		Short: "Print the SQL of the migrations that are missing",
		Long: "Print the SQL of the missing migrations as a script for psql that also records them, for those whose database\n" +
			"is changed by an administrator. Nothing is changed.",
		Example: "  towpath migrate sql > upgrade.sql\n  towpath migrate sql --all   # as for an empty database",
		RunE: func(c *cobra.Command, _ []string) error {
			migrator, err := p.migrator(c.Context(), nil)
			if err != nil {
				return err
			}
			sql, err := migrator.SQL(c.Context(), all)
			if err != nil {
				return err
			}
			if p.json {
				return p.printJSON(migrationSQL{SQL: sql})
			}
			fmt.Fprint(p.stdout, sql)
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "print every migration, as for an empty database")
	return c
}

func (p *Program) migrateAdopt() *cobra.Command {
	var opts migrate.AdoptOptions
	c := &cobra.Command{
		Use:   "adopt",
		Short: "Take over an existing River's tables",
		Long: "Move the tables, type and function of an existing River from their schema to \"towpath\" in one short\n" +
			"transaction, and migrate up. Stop River's clients before, those that only insert too; afterwards they need\n" +
			"Schema: \"towpath\" and Towpath's driver.",
		Example: "  towpath migrate adopt --from public",
		RunE: func(c *cobra.Command, _ []string) error {
			migrator, err := p.migrator(c.Context(), p.report)
			if err != nil {
				return err
			}
			if err := migrator.Adopt(c.Context(), opts); err != nil {
				return err
			}
			return p.printCheck(c, migrator)
		},
	}
	c.Flags().StringVar(&opts.From, "from", "public", "schema that holds River's tables")
	c.Flags().BoolVar(&opts.Force, "force", false, "even though clients seem to be at work, or tables stay behind")
	return c
}
