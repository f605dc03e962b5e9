package migrate_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

type countArgs struct {
	N int `json:"n"`
}

func (countArgs) Kind() string { return "count" }

// countWorker tells of each job it works.
type countWorker struct {
	river.WorkerDefaults[countArgs]

	worked chan int
}

func (w *countWorker) Work(ctx context.Context, job *river.Job[countArgs]) error {
	select {
	case w.worked <- job.Args.N:
	case <-ctx.Done():
	}
	return nil
}

// riverConfig is the configuration of a plain River client that works the default queue.
func riverConfig(t *testing.T, worker *countWorker) *river.Config {
	t.Helper()
	registry := river.NewWorkers()
	river.AddWorker(registry, worker)
	return &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}, Workers: registry, TestOnly: true,
	}
}

func stop(t *testing.T, client *river.Client[pgx.Tx]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	require.NoError(t, client.Stop(ctx))
}

// useRiver works one job with a plain River in a schema and leaves one waiting; it returns that one's id.
func useRiver(t *testing.T, pool *pgxpool.Pool, schema string) int64 {
	t.Helper()
	worker := &countWorker{worked: make(chan int, 100)}
	config := riverConfig(t, worker)
	config.Schema = schema
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	require.NoError(t, err)
	require.NoError(t, client.Start(t.Context()))
	_, err = client.Insert(t.Context(), countArgs{N: 1}, nil)
	require.NoError(t, err)
	require.Equal(t, 1, <-worker.worked)
	stop(t, client)
	inserted, err := client.Insert(t.Context(), countArgs{N: 2}, nil)
	require.NoError(t, err)
	return inserted.Job.ID
}

// TestAdopt takes over a River that has been used, and works on with what it left.
func TestAdopt(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	riverUp(t, pool, "public", 0)
	waiting := useRiver(t, pool, "public")
	exec(t, pool, `DELETE FROM public.river_leader`) // a client that stops while it is being elected may leave its term behind
	m, lines := newMigrator(t, pool)

	err := m.Adopt(t.Context(), migrate.AdoptOptions{From: "public"})
	require.ErrorContains(t, err, `a client reported queue "default"`)
	require.ErrorContains(t, err, "--force")
	require.False(t, scan[bool](t, pool, `SELECT to_regclass('towpath.river_job') IS NOT NULL`))

	exec(t, pool, `UPDATE public.river_queue SET updated_at = now() - interval '1 hour'`)
	require.NoError(t, m.Adopt(t.Context(), migrate.AdoptOptions{From: "public"}))
	requireCurrent(t, m)
	require.Equal(t, 1, reported(lines(), "moved river_job, river_leader, river_migration, river_notification, river_queue from schema public"))
	require.Zero(t, scan[int](t, pool, `SELECT count(*) FROM pg_class c WHERE relnamespace = 'public'::regnamespace`))
	require.Zero(t, scan[int](t, pool, `SELECT count(*) FROM pg_type WHERE typnamespace = 'public'::regnamespace`))
	require.Zero(t, scan[int](t, pool, `SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace`))

	worker := &countWorker{worked: make(chan int, 100)}
	client, err := jobs.NewClient(pool, &jobs.Config{Config: *riverConfig(t, worker)})
	require.NoError(t, err)
	require.NoError(t, client.Start(t.Context()))
	require.Equal(t, 2, <-worker.worked)
	result, err := client.Await(t.Context(), waiting)
	require.NoError(t, err)
	require.NoError(t, result.Err())
	inserted, err := client.Insert(t.Context(), countArgs{N: 3}, nil)
	require.NoError(t, err)
	require.Greater(t, inserted.Job.ID, waiting, "ids go on")
	require.Equal(t, 3, <-worker.worked)
	stop(t, client.Client)
	old, err := client.JobGet(t.Context(), waiting-1)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, old.State, "what River had finished is still there")

	require.ErrorContains(t, m.Adopt(t.Context(), migrate.AdoptOptions{From: "public"}), `schema "towpath" has River's tables already`)
}

func TestAdoptFromASchemaOfItsOwn(t *testing.T) {
	t.Parallel()
	pool := testdb.Empty(t)
	exec(t, pool, `CREATE SCHEMA "Odd Schema"`)
	riverUp(t, pool, "Odd Schema", 6) // the oldest version that is taken
	exec(t, pool, strings.ReplaceAll(insertJobs, "%s", `"Odd Schema"`))
	m, _ := newMigrator(t, pool)
	require.NoError(t, m.Adopt(t.Context(), migrate.AdoptOptions{From: "Odd Schema"}))
	requireCurrent(t, m)
	require.Equal(t, 1000, scan[int](t, pool, `SELECT count(*) FROM towpath.river_job`))
}

func TestAdoptRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version int
		before  string
		from    string
		want    string
		forced  bool // --force helps
	}{
		"nothing there":    {0, `DROP TABLE public.river_migration`, "public", "no river_job and river_migration there", false},
		"another schema":   {0, "", "elsewhere", "no river_job and river_migration there", false},
		"our own":          {0, "", "towpath", `name the schema that holds River's tables`, false},
		"an old River":     {5, "", "public", "its migration version is 5; first bring it to 6", false},
		"a newer River":    {0, `INSERT INTO public.river_migration (line, version) VALUES ('main', 900)`, "public", "its migration version is 900", false},
		"a leader":         {0, `INSERT INTO public.river_leader (leader_id, elected_at, expires_at) VALUES ('boss', now(), now() + interval '10 seconds')`, "public", `client "boss" leads; stop all River clients`, true},
		"a former leader":  {0, `INSERT INTO public.river_leader (leader_id, elected_at, expires_at) VALUES ('boss', now(), now() - interval '1 second')`, "public", "", true},
		"a running job":    {0, `INSERT INTO public.river_job (kind, args, max_attempts, state) VALUES ('k', '{}', 1, 'running')`, "public", "1 jobs are running", true},
		"tables of others": {0, `CREATE TABLE public.river_workflow (id int); INSERT INTO public.river_migration (line, version) VALUES ('pro', 1)`, "public", "more than River's own objects (migration line pro, table river_workflow)", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Empty(t)
			riverUp(t, pool, "public", test.version)
			if test.before != "" {
				runScript(t, pool, test.before)
			}
			m, _ := newMigrator(t, pool)
			err := m.Adopt(t.Context(), migrate.AdoptOptions{From: test.from})
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
			require.True(t, scan[bool](t, pool, `SELECT to_regclass('public.river_job') IS NOT NULL`), "nothing has moved")
			err = m.Adopt(t.Context(), migrate.AdoptOptions{From: test.from, Force: true})
			if !test.forced {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			requireCurrent(t, m)
		})
	}
}
