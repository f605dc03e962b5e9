package pilot_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
	"github.com/towpath/towpath/internal/testdb"
)

// TestStatementsInEveryMode sends all statements through a job's ways of life, in each of pgx's modes: poolers between
// the client and Postgres ask for one or the other.
func TestStatementsInEveryMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			everyStatement(t, newRig(t, func(c *pgxpool.Config) {
				c.ConnConfig.DefaultQueryExecMode = mode
				if mode == pgx.QueryExecModeSimpleProtocol {
					c.ConnConfig.RuntimeParams["standard_conforming_strings"] = "on"
				}
			}), schema)
		})
	}
}

// TestStatementsInOddSchemas: names that have to be quoted.
func TestStatementsInOddSchemas(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Odd", "select", `Odd "schema"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Empty(t)
			_, err := pool.Exec(t.Context(), "CREATE SCHEMA "+pgx.Identifier{name}.Sanitize())
			require.NoError(t, err)
			r := rigOn(pool)
			for _, line := range r.driver.GetMigrationLines() {
				migrator, err := rivermigrate.New(r.driver, &rivermigrate.Config{Line: line, Schema: name})
				require.NoError(t, err)
				_, err = migrator.Migrate(t.Context(), rivermigrate.DirectionUp, nil)
				require.NoError(t, err)
			}
			everyStatement(t, r, name)
		})
	}
}

// everyStatement does with jobs whatever can be done with jobs.
func everyStatement(t *testing.T, r *rig, in string) {
	t.Helper()
	ctx := t.Context()
	a := &actor{rig: r, name: `client "a", {b}`, queue: "default", schema: in, pilot: r.driver.PluginPilot(), exec: r.exec}
	a.init(t)
	due := time.Now().Add(-time.Second)

	id := a.insert(t, jobs(6)...)
	odd := a.insert(t, &riverdriver.JobInsertFastParams{
		EncodedArgs: []byte(`{"text": "it's \"quoted\", {braced} \\ and NULL"}`), Kind: `odd "kind", {x} \ 'y'`, MaxAttempts: 3, Metadata: []byte(`{"m": "o'clock"}`),
		Priority: 2, Queue: "default", State: rivertype.JobStateAvailable, Tags: []string{"a-b", "c"}, UniqueKey: []byte("\x00\xffkey'"), UniqueStates: evenFinished,
	}, job(unique("", 0), scheduled(due)))
	require.Equal(t, odd[0], a.insertOne(t, unique("\x00\xffkey'", evenFinished)), "a duplicate")
	n, err := r.exec.JobInsertFastManyNoReturning(ctx, &riverdriver.JobInsertFastManyParams{Jobs: jobs(2, inQueue("copied")), Schema: in})
	require.NoError(t, err)
	require.Equal(t, 2, n)

	scheduledJobs, err := r.exec.JobSchedule(ctx, &riverdriver.JobScheduleParams{Max: 10, Schema: in})
	require.NoError(t, err)
	require.Len(t, scheduledJobs, 1)
	rows := a.fetch(t, 100, "proof", `odd "kind", {x} \ 'y'`)
	require.Len(t, rows, 8)
	require.Equal(t, `client "a", {b}`, rows[0].AttemptedBy[0])

	failure := riverdriver.JobSetStateErrorRetryable(id[2], due, []byte(`{"error": "it's \"so\" \\ {x}", "attempt": 1}`), []byte(`{"k": "v'\\"}`))
	ended := a.finish(t, completed(id[0]), completedWith(id[1], `{"output": "o'clock, {\"x\"}"}`), failure, completed(odd[0]), completed(odd[1]))
	require.Len(t, ended, 5)
	row, err := r.exec.JobGetByID(ctx, &riverdriver.JobGetByIDParams{ID: id[2], Schema: in})
	require.NoError(t, err)
	require.Equal(t, `it's "so" \ {x}`, row.Errors[0].Error)
	require.JSONEq(t, `{"k": "v'\\"}`, string(row.Metadata))
	require.Len(t, a.finish(t, completedWith(id[1], `{"again": true}`), completed(id[0])), 2)
	require.NoError(t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		_, err := a.finishTx(ctx, tx, completed(id[3]))
		return err
	}))
	for _, end := range slices.Concat(id[:4], odd) {
		a.freeSlot(end)
	}
	everyChange(t, a, id, odd[0])

	own := a.pilot.(*pilot.Pilot)
	_, err = own.JobGetStuck(ctx, r.exec, &riverdriver.JobGetStuckParams{Max: 10, StuckHorizon: time.Now().Add(time.Hour), Schema: in})
	require.NoError(t, err)
	_, err = own.JobRescueMany(ctx, r.exec, &riverdriver.JobRescueManyParams{
		ID: []int64{id[4]}, Error: [][]byte{attemptError("o'clock")}, FinalizedAt: []*time.Time{nil}, ScheduledAt: []time.Time{due},
		State: []string{"available"}, StuckHorizon: time.Now().Add(time.Hour), Schema: in,
	})
	require.NoError(t, err)
	require.Empty(t, a.finish(t, completed(id[4])), "the rescued attempt is over")
	a.freeSlot(id[4])
	for _, slowFrom := range []time.Duration{0, time.Hour} { // from the watermark, and from the front
		pilot.SetSlowFront(a.state, slowFrom)
		require.NoError(t, pilot.Probe(ctx, a.state, a.exec, a.fetchParams(1)))
		require.Equal(t, slowFrom == 0, pilot.Slow(a.state))
		require.Len(t, a.fetch(t, 10), 1)
		_, err := a.remove(ctx, id[4])
		require.ErrorIs(t, err, rivertype.ErrJobRunning)
		a.end(t, failedAvailable(id[4], due))
	}
	_, err = r.exec.QueueDeleteExpired(ctx, &riverdriver.QueueDeleteExpiredParams{Max: 10, Schema: in, UpdatedAtHorizon: due})
	require.NoError(t, err)
	require.NoError(t, a.pilot.ProducerShutdown(ctx, a.exec, &riverpilot.ProducerShutdownParams{Queue: a.queue, Schema: in}))
}

// everyChange changes single jobs from outside.
func everyChange(t *testing.T, a *actor, id []int64, held int64) {
	t.Helper()
	ctx := t.Context()
	for _, job := range []int64{id[0], held, id[2]} {
		_, err := a.retry(ctx, job)
		require.NoError(t, err)
		_, err = a.update(ctx, a.exec, job, `{"note": "it's"}`)
		require.NoError(t, err)
		row, err := a.cancel(ctx, job)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateCancelled, row.State)
		_, err = a.update(ctx, a.exec, job, `{"note": "it's"}`)
		require.NoError(t, err)
	}
	row, err := a.cancel(ctx, id[5])
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateRunning, row.State)
	_, err = a.remove(ctx, id[0])
	require.NoError(t, err)

	list := &riverdriver.JobListParams{
		Max: 10, NamedArgs: map[string]any{"kind": []string{"proof"}, "args": `{"n": 1}`}, OrderByClause: "id DESC",
		WhereClause: "kind = any(@kind) AND args @> @args::jsonb", Schema: a.schema,
	}
	rows, err := a.exec.JobList(ctx, list)
	require.NoError(t, err)
	require.NotEmpty(t, rows)
	_, err = a.exec.JobGetByIDMany(ctx, &riverdriver.JobGetByIDManyParams{ID: id, Schema: a.schema})
	require.NoError(t, err)
	_, err = a.exec.JobGetByKindMany(ctx, &riverdriver.JobGetByKindManyParams{Kind: []string{"proof"}, Schema: a.schema})
	require.NoError(t, err)
	_, err = a.exec.JobCountByAllStates(ctx, &riverdriver.JobCountByAllStatesParams{Schema: a.schema})
	require.NoError(t, err)
	_, err = a.exec.JobCountByState(ctx, &riverdriver.JobCountByStateParams{State: "cancelled", Schema: a.schema})
	require.NoError(t, err)
	kinds, err := a.exec.JobKindList(ctx, &riverdriver.JobKindListParams{Max: 10, Match: "ro", After: "a", Exclude: []string{"x'y"}, Schema: a.schema})
	require.NoError(t, err)
	require.Equal(t, []string{"proof"}, kinds)
	deleted, err := a.pilot.(*pilot.Pilot).JobDeleteMany(ctx, a.exec, &riverdriver.JobDeleteManyParams{
		Max: 10, NamedArgs: map[string]any{"state": []string{"cancelled"}}, OrderByClause: "id", WhereClause: fmt.Sprintf("state = any(@state) AND id = %d", id[2]), Schema: a.schema,
	})
	require.NoError(t, err)
	require.Equal(t, []int64{id[2]}, ids(deleted))
}
