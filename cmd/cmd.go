// Package cmd is the command line of Towpath, for its own binary and for yours:
//
//	func main() {
//		bundle := workers.NewBundle()
//		workers.Add(bundle, &ResizeWorker{})
//		os.Exit(cmd.Main(bundle, cmd.WithMigrations(migrations), cmd.WithCommands(importCommand)))
//	}
//
// Such a binary has every command: the roles (worker, scheduler, api, all), dev, migrate, jobs, config and the rest.
//
// # Contract of a command
//
//   - Exit codes: 0 done, 1 failed, 2 wrong usage (an unknown flag, command or argument, or configuration that cannot
//     be used). exec returns the exit code of the command that it runs.
//   - Results go to standard output, everything else to standard error. An error is one line, "towpath: …", that names
//     the value and the remedy.
//   - --json makes the result JSON, for programs.
//   - SIGINT, SIGTERM and SIGHUP end a role in good order; a second one at once.
//   - All configuration comes from environment variables; the help of a command lists those that it reads.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/vet"
	"github.com/towpath/towpath/workers"
)

// Exit codes of Main.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// An Option adds to what Main offers.
type Option func(*Program)

// WithCommands adds commands of yours. Each builder is called once, before arguments are parsed.
func WithCommands(builders ...func(*Program) *cobra.Command) Option {
	return func(p *Program) { p.builders = append(p.builders, builders...) }
}

// WithDefault adds a command of yours that also runs when no command is named: its flags are the program's as well.
func WithDefault(builder func(*Program) *cobra.Command) Option {
	return func(p *Program) { p.fallback = builder }
}

// WithMigrations adds migrations of yours, which are applied after Towpath's by `migrate up`, by dev and by
// TOWPATH_MIGRATE=on. The files lie at the root of fsys: 001_name.up.sql, 002_…, without gaps, and 001_name.down.sql
// where a way back exists. Each runs once, in a transaction; its SQL should name its schemas.
func WithMigrations(fsys fs.FS) Option {
	return func(p *Program) { p.migrations = fsys }
}

// WithSetup has setup called before the roles worker, scheduler, all and dev begin to work, when the database is reached
// and its schema is in order. Workers that need a database get it here.
func WithSetup(setup func(ctx context.Context, pool *pgxpool.Pool) error) Option {
	return func(p *Program) { p.prepare = setup }
}

// WithName sets the program's name in help and errors, which is "towpath" otherwise.
func WithName(name string) Option {
	return func(p *Program) { p.name = name }
}

// WithEnvironment sets variables that the environment leaves open, such as TOWPATH_LOG_LEVEL: defaults of your own.
func WithEnvironment(defaults map[string]string) Option {
	return func(p *Program) { p.environment = defaults }
}

// Main runs the command that the process's arguments name and returns the exit code. The bundle holds the workers of
// the roles worker, all and dev, beside the built-in kinds (package workers/builtin); nil is an empty one. Main handles signals; call it once, from main.
func Main(bundle *workers.Bundle, opts ...Option) int {
	if vet.IsTool(os.Args[1:]) {
		vet.Tool() // called by `go vet` on behalf of our command vet; does not return
	}
	ctx, done := handleSignals(context.Background())
	defer done()
	return newProgram(bundle, opts...).run(ctx, os.Args[1:])
}

func newProgram(bundle *workers.Bundle, opts ...Option) *Program {
	if bundle == nil {
		bundle = workers.NewBundle()
	}
	p := &Program{name: "towpath", bundle: bundle, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	for _, opt := range opts {
		opt(p)
	}
	return p
}

// run executes one command line.
func (p *Program) run(ctx context.Context, args []string) int {
	if err := config.SetDefaults(p.environment); err != nil {
		return p.exit(err)
	}
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if closeErr := p.close(); err == nil {
		err = closeErr
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	return p.exit(err)
}

// continuation is a line break within one error, as the driver writes between the addresses that it tried. Errors that
// were joined have a break between them and no white space behind it.
var continuation = regexp.MustCompile(`\n\s+`)

// exit tells the error and maps it to an exit code.
func (p *Program) exit(err error) int {
	if err == nil {
		return ExitOK
	}
	if passed, ok := errors.AsType[exitCodeError](err); ok {
		return passed.code
	}
	if _, silent := errors.AsType[*silentError](err); !silent {
		for line := range strings.SplitSeq(continuation.ReplaceAllString(err.Error(), " "), "\n") {
			fmt.Fprintf(p.stderr, "%s: %s\n", p.name, line)
		}
	}
	var usage *usageError
	var variable *config.Error
	if errors.As(err, &usage) || errors.As(err, &variable) {
		return ExitUsage
	}
	return ExitFailed
}

// usageError is a command line that cannot be obeyed.
type usageError struct{ error }

// Unwrap returns what is wrong.
func (e *usageError) Unwrap() error { return e.error }

// usagef makes an error of wrong usage; name the value and the remedy.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// UsageError marks an error of one of your commands as wrong usage, so that Main returns 2 for it.
func UsageError(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// silentError fails a command whose output has said why already.
type silentError struct{ error }

// root builds the tree of commands.
func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   p.name,
		Short: "Background jobs on Postgres",
		Long: "Towpath runs background jobs on Postgres: enqueued in the transaction of the data they belong to,\n" +
			"worked, retried and kept.",
		Args:          cobra.ArbitraryArgs, // so that an unknown command gets our error
		RunE:          p.unknown,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       readBuild().String(),
	}
	markGroup(root)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.PersistentFlags().BoolVar(&p.json, "json", false, "print the result as JSON")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w; see `%s --help`", err, c.CommandPath())
	})
	if len(p.builders) > 0 || p.fallback != nil {
		root.AddGroup(&cobra.Group{ID: groupApp, Title: "Commands of this application:"})
	}
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupUse, Title: "Look and operate:"},
		&cobra.Group{ID: groupSet, Title: "Set up:"},
	)
	for _, builder := range p.builders {
		p.add(root, groupApp, builder(p))
	}
	p.add(root, groupRun, p.workerCommand(), p.schedulerCommand(), p.apiCommand(), p.allCommand(), p.devCommand(), p.execCommand())
	p.add(root, groupUse, p.statusCommand(), p.topCommand(), p.jobsCommand(), p.enqueueCommand(), p.schedulesCommand(), p.checksCommand(), p.probesCommand(), p.alertsCommand(), p.whyCommand(),
		p.queuesCommand(), p.kindsCommand(), p.failuresCommand(), p.processesCommand(), p.doctorCommand(), p.monitorCommand(), p.benchCommand())
	p.add(root, groupSet, p.newCommand(), p.migrateCommand(), p.configCommand(), p.pgCommand(), p.manCommand(), p.vetCommand(), p.versionCommand())
	p.addDefault(root)
	root.SetCompletionCommandGroupID(groupSet)
	root.SetHelpFunc(p.help(root.HelpFunc()))
	return root
}

// The groups of the root command's help.
const (
	groupApp = "app"
	groupRun = "run"
	groupUse = "use"
	groupSet = "set"
)

// add adds commands to a group, unless a command of the application's has taken the name.
func (p *Program) add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		taken := false
		for _, there := range root.Commands() {
			taken = taken || there.Name() == command.Name()
		}
		if taken {
			continue
		}
		command.GroupID = group
		strict(command)
		root.AddCommand(command)
	}
}

// addDefault adds the application's default command under its own name and to the root.
func (p *Program) addDefault(root *cobra.Command) {
	if p.fallback == nil {
		return
	}
	named, unnamed := p.fallback(p), p.fallback(p)
	p.add(root, groupApp, named)
	root.Flags().AddFlagSet(unnamed.Flags())
	root.Long = unnamed.Long
	root.Example = unnamed.Example
	root.Annotations = unnamed.Annotations
	root.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return p.unknown(c, args)
		}
		return unnamed.RunE(c, args)
	}
}

// strict makes wrong arguments errors of usage throughout a tree: cobra's own answer for a command without one of its
// subcommands is help and success.
func strict(command *cobra.Command) {
	check := command.Args
	if check == nil {
		check = cobra.NoArgs
	}
	command.Args = func(c *cobra.Command, args []string) error {
		if isGroup(c) {
			return nil // RunE below answers
		}
		if err := check(c, args); err != nil {
			if c.HasSubCommands() && len(args) > 0 {
				return subcommandNeeded(c, args)
			}
			return usagef("%w; see `%s --help`", err, c.CommandPath())
		}
		return nil
	}
	if command.HasSubCommands() && !command.Runnable() {
		command.RunE = subcommandNeeded
		markGroup(command)
	}
	for _, sub := range command.Commands() {
		strict(sub)
	}
}

// groupKey is the annotation of a group.
const groupKey = "towpath_group"

// markGroup notes that a command's own run does nothing but say what is missing.
func markGroup(c *cobra.Command) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations[groupKey] = "yes"
}

// isGroup reports whether a command does nothing but hold others. One that has subcommands and does something itself,
// as kinds does, is none.
func isGroup(c *cobra.Command) bool { return c.Annotations[groupKey] != "" }

// unknown answers a command line whose first word is no command.
func (p *Program) unknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	return subcommandNeeded(c, args)
}

func subcommandNeeded(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		var names []string
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return usagef("%s needs one of: %s", c.CommandPath(), strings.Join(names, ", "))
	}
	for letters := 1; letters <= 2; letters++ { // the nearest first
		c.SuggestionsMinimumDistance = letters
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			return usagef("unknown command %q; did you mean `%s %s`?", args[0], c.CommandPath(), near[0])
		}
	}
	return usagef("unknown command %q; see `%s --help`", args[0], c.CommandPath())
}

// help prints cobra's help and then the variables that the command reads.
func (p *Program) help(inherited func(*cobra.Command, []string)) func(*cobra.Command, []string) {
	return func(c *cobra.Command, args []string) {
		inherited(c, args)
		writeVariables(c.OutOrStdout(), c)
	}
}

// writeVariables lists a command's variables.
func writeVariables(out io.Writer, c *cobra.Command) {
	groups := readsOf(c)
	if len(groups) == 0 {
		return
	}
	fmt.Fprint(out, "\nEnvironment:\n")
	for _, variable := range config.InGroups(groups...) {
		value := ""
		if variable.Default != "" {
			value = " (default " + variable.Default + ")"
		}
		fmt.Fprintf(out, "  %s%s\n%s", variable.Name, value, wrap(variable.Description, "      ", 100))
	}
}
