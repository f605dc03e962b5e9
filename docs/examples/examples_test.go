package examples_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/workers"
)

// An example places order 1, and enqueues its job, in one transaction; with order 2 it begins to do the same and rolls
// back.
var examples = []struct {
	name    string
	probe   []string // succeeds where the example can run
	command []string // is given the database's address
	install string
}{
	{"psql", nil, nil, "postgresql-client"},
	{"python", []string{"/usr/bin/python3", "-c", "import psycopg2"}, []string{"/usr/bin/python3", "order.py"}, "apt-get install python3-psycopg2"},
	{"node", []string{"node", "-e", "require('pg')"}, []string{"node", "order.js"}, "npm install pg in docs/examples, or NODE_PATH"},
	{"ruby", []string{"ruby", "-e", "require 'pg'"}, []string{"ruby", "order.rb"}, "apt-get install ruby-pg"},
	{"gorm", nil, []string{"go", "run", "-C", "orm", "./gorm"}, ""},
	{"sqlx", nil, []string{"go", "run", "-C", "orm", "./sqlx"}, ""},
}

type confirmArgs struct {
	Order int64 `json:"order"`
}

func (confirmArgs) Kind() string { return "order.confirm" }

func TestExamples(t *testing.T) {
	t.Parallel()
	for _, example := range examples {
		t.Run(example.name, func(t *testing.T) {
			t.Parallel()
			command := example.command
			if example.name == "psql" {
				psql, err := pgdev.Psql("")
				if err != nil {
					missing(t, example.install, err.Error())
				}
				command = []string{psql, "-v", "ON_ERROR_STOP=1", "-f", "order.sql"}
			}
			if example.probe != nil {
				if said, err := run(t, example.probe...); err != nil {
					missing(t, example.install, said+err.Error())
				}
			}
			pool := testdb.Pool(t)
			_, err := pool.Exec(t.Context(), `CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL)`)
			require.NoError(t, err)
			said, err := run(t, append(command, pool.Config().ConnString())...)
			require.NoError(t, err, said)

			var (
				customer string
				job      int64
				args     string
				queue    string
			)
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT string_agg(id || ' ' || customer, ', ') FROM orders`).Scan(&customer))
			require.Equal(t, "1 Zoë", customer, "the second order was rolled back")
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT (SELECT id FROM towpath.river_job), (SELECT args::text FROM towpath.river_job),
				(SELECT queue FROM towpath.river_job)`).Scan(&job, &args, &queue), "one job, that of the first order")
			require.JSONEq(t, `{"order": 1}`, args)
			require.Equal(t, "mail", queue)

			// A worker in Go works what came from anywhere.
			worked := make(chan int64, 2)
			bundle := workers.NewBundle()
			workers.Add(bundle, river.WorkFunc(func(_ context.Context, job *river.Job[confirmArgs]) error {
				worked <- job.Args.Order
				return nil
			}))
			err = workers.Run(t.Context(), workers.Config{
				Pool: pool, Queues: map[string]river.QueueConfig{"mail": {MaxWorkers: 1}}, Drain: true,
			}, bundle)
			require.NoError(t, err)
			require.Equal(t, int64(1), <-worked)
			require.Empty(t, worked)
			var state rivertype.JobState
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT state FROM towpath.jobs WHERE id = $1`, job).Scan(&state))
			require.Equal(t, rivertype.JobStateCompleted, state)
		})
	}
}

// missing skips the test on a developer's machine, and fails it in CI, which installs everything.
func missing(t *testing.T, install, said string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("missing (%s): %s", install, said)
	}
	t.Skipf("missing (%s): %s", install, said)
}

func run(t *testing.T, command ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		return "", err
	}
	c := exec.CommandContext(t.Context(), path, command[1:]...) //nolint:gosec // the table's own
	modules, err := filepath.Abs("node_modules")
	require.NoError(t, err)
	c.Env = append(os.Environ(), "NODE_PATH="+modules+string(os.PathListSeparator)+os.Getenv("NODE_PATH"))
	said, err := c.CombinedOutput()
	return string(said), err
}
