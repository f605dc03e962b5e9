package cmd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/workers"
)

// quickEnd has a command that was built with the race detector end at once instead of a second later. The tests run hundreds.
const quickEnd = "atexit_sleep_ms=0"

// TestMain makes this binary stand in for the programs that tests and scripts run: Towpath's own, and one of a user's.
func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", quickEnd) // for those that inherit it; its name and value are valid
	testscript.Main(m, map[string]func(){
		"towpath": func() { os.Exit(cmd.Main(workers.NewBundle())) },
		"shop":    func() { os.Exit(shop()) },
	})
}

// napArgs is a job that takes its time, or fails.
type napArgs struct {
	Millis int    `json:"millis"`
	Deaf   bool   `json:"deaf"` // does not listen to its context
	Fail   string `json:"fail"`
}

func (napArgs) Kind() string { return "nap" }

type napWorker struct {
	river.WorkerDefaults[napArgs]

	pool *pgxpool.Pool
}

func (w *napWorker) Work(ctx context.Context, job *river.Job[napArgs]) error {
	workers.Logger(ctx).InfoContext(ctx, "napping", slog.Int("millis", job.Args.Millis))
	if job.Args.Fail != "" {
		return workers.Permanent(errors.New(job.Args.Fail))
	}
	done := ctx.Done()
	if job.Args.Deaf {
		done = nil
	}
	select {
	case <-done:
		return ctx.Err()
	case <-time.After(time.Duration(job.Args.Millis) * time.Millisecond):
	}
	_, err := w.pool.Exec(ctx, `INSERT INTO shop.nap (job_id) VALUES ($1)`, job.ID)
	return err
}

// shop is an application on Towpath, with kinds, commands and tables of its own.
func shop() int {
	worker := &napWorker{}
	bundle := workers.NewBundle()
	workers.Add(bundle, worker)
	tables := fstest.MapFS{
		"001_nap.up.sql":   {Data: []byte(`CREATE SCHEMA shop; CREATE TABLE shop.nap (job_id bigint);`)},
		"001_nap.down.sql": {Data: []byte(`DROP SCHEMA shop CASCADE;`)},
	}
	return cmd.Main(bundle,
		cmd.WithName("shop"),
		cmd.WithMigrations(tables),
		cmd.WithCommands(napCommand),
		cmd.WithDefault(openCommand),
		cmd.WithEnvironment(map[string]string{"TOWPATH_QUEUES": "default=5,mail=2"}),
		cmd.WithSetup(func(_ context.Context, pool *pgxpool.Pool) error { worker.pool = pool; return nil }),
	)
}

// napCommand inserts jobs.
func napCommand(p *cmd.Program) *cobra.Command {
	var opts river.InsertOpts
	c := &cobra.Command{
		Use:     "nap MILLIS|FAILURE...",
		Short:   "Enqueue naps",
		Long:    "Enqueue naps.",
		Example: "  shop nap 100 200",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := p.Client(c.Context())
			if err != nil {
				return err
			}
			for _, arg := range args {
				nap := napArgs{}
				if nap.Millis, err = strconv.Atoi(arg); err != nil {
					nap.Fail = arg
				}
				inserted, err := client.Insert(c.Context(), nap, &opts)
				if err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), inserted.Job.ID)
			}
			return nil
		},
	}
	c.Flags().StringVar(&opts.Queue, "queue", "", "queue")
	return c
}

// openCommand is what the program does when no command is named.
func openCommand(p *cmd.Program) *cobra.Command {
	var sign string
	c := &cobra.Command{
		Use: "open", Short: "Open the shop", Long: "Open the shop.", Example: "  shop",
		RunE: func(c *cobra.Command, _ []string) error {
			if sign == "" {
				return cmd.UsageError(errors.New("--sign is empty; write something on it"))
			}
			fmt.Fprintln(c.OutOrStdout(), sign, p.JSON())
			return nil
		},
	}
	c.Flags().StringVar(&sign, "sign", "open", "what the sign says")
	return c
}

// TestScripts runs testdata/script. Each script has a migrated database of its own at $URL and in TOWPATH_DATABASE_URL,
// one without migrations at $EMPTY_URL, and the command `code N command…`, which expects an exit code.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	checkout, err := filepath.Abs("..")
	require.NoError(t, err)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			url, empty := testdb.URL(t), testdb.Empty(t).Config().ConnString()
			testscript.Run(t, testscript.Params{
				Files: []string{file}, RequireExplicitExec: true, RequireUniqueNames: true,
				Setup: func(env *testscript.Env) error {
					env.Setenv("GORACE", quickEnd)
					env.Setenv("URL", url)
					env.Setenv("EMPTY_URL", empty)
					env.Setenv("TOWPATH_DATABASE_URL", url)
					env.Setenv("TOWPATH_LISTEN", "127.0.0.1:0")
					env.Setenv("TZ", "UTC")
					env.Setenv("CHECKOUT", checkout)
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code, "sql": sql},
			})
		})
	}
}

// code N command…: the command ends with that exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// sql STATEMENT: runs it in the script's database.
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv("TOWPATH_DATABASE_URL"))
	ts.Check(err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, args[0])
	ts.Check(err)
}
