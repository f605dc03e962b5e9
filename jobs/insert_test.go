package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

// numbered is a job that an insert can tell from its siblings.
type numbered struct {
	N int `json:"n"`
}

func (numbered) Kind() string { return "numbered" }

// insertCallers insert at once, each several times: singly, many, with every option, unique, and with what cannot be stored.
const insertCallers = 32

// insertWay is one way for many callers to insert at the same time.
type insertWay struct {
	name   string
	config jobs.Config
	insert func(ctx context.Context, client *jobs.Client, pool *pgxpool.Pool, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error)
}

func insertWays() []insertWay {
	onPool := func(ctx context.Context, client *jobs.Client, _ *pgxpool.Pool, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
		if len(params) > 1 {
			return client.InsertMany(ctx, params)
		}
		result, err := client.Insert(ctx, params[0].Args, params[0].InsertOpts)
		if err != nil {
			return nil, err
		}
		return []*rivertype.JobInsertResult{result}, nil
	}
	inTx := func(ctx context.Context, client *jobs.Client, pool *pgxpool.Pool, params []river.InsertManyParams) (results []*rivertype.JobInsertResult, err error) {
		err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			results, err = client.InsertManyTx(ctx, tx, params)
			return err
		})
		if err != nil {
			return nil, err
		}
		return results, nil
	}
	return []insertWay{
		{"together", jobs.Config{}, onPool},
		{"apart", jobs.Config{SeparateInserts: true}, onPool},
		{"with middleware", jobs.Config{Config: river.Config{Middleware: []rivertype.Middleware{&passOn{}}}}, onPool},
		{"in a transaction", jobs.Config{}, inTx},
	}
}

// passOn is middleware that changes nothing.
type passOn struct {
	river.JobInsertMiddlewareDefaults
}

func (passOn) InsertMany(ctx context.Context, _ []*rivertype.JobInsertParams, doInner func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	return doInner(ctx)
}

// insertCalls are what one caller inserts, a call each.
func insertCalls(caller int) [][]river.InsertManyParams {
	at := time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)
	single := func(n int, opts *river.InsertOpts) []river.InsertManyParams {
		return []river.InsertManyParams{{Args: numbered{N: 100*caller + n}, InsertOpts: opts}}
	}
	return [][]river.InsertManyParams{
		single(1, nil),
		single(2, &river.InsertOpts{Priority: 3, Queue: "second", Tags: []string{"one", "two"}, Metadata: []byte(`{"caller": "a"}`), MaxAttempts: 7}),
		single(3, &river.InsertOpts{ScheduledAt: at}),
		single(4, &river.InsertOpts{Pending: true}),
		single(5, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}),
		single(5, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}),
		append(single(6, nil), append(single(7, &river.InsertOpts{Queue: "third"}), single(8, nil)...)...),
		// The hook makes a priority of 9 of this one, which the database refuses, and the whole call with it.
		append(single(10, &river.InsertOpts{Queue: "never"}), single(11, &river.InsertOpts{Tags: []string{"refuse"}})...),
		// And this one is the hook's own to refuse.
		single(12, &river.InsertOpts{Queue: "never", Tags: []string{"object"}}),
		single(13, nil),
	}
}

var errObjection = errors.New("the hook objects")

// insertOutcome is what all callers of one way have to show.
type insertOutcome struct {
	rows     []string
	results  []string // what the calls returned, by caller and call
	hooked   int64
	payloads []string
}

// insertHook changes, refuses and counts.
type insertHook struct {
	river.HookDefaults
	count atomic.Int64
}

func (h *insertHook) InsertBegin(_ context.Context, params *rivertype.JobInsertParams) error {
	h.count.Add(1)
	for _, tag := range params.Tags {
		switch tag {
		case "object":
			return errObjection
		case "refuse":
			params.Priority = 9
		}
	}
	params.Metadata = []byte(`{"hooked": true}`)
	return nil
}

func insertAtOnce(t *testing.T, way insertWay) insertOutcome {
	t.Helper()
	pool := jobstest.DB(t)
	hook := &insertHook{}
	config := way.config
	config.Hooks = []rivertype.Hook{hook}
	client := newClient(t, pool, &config, nil)
	heard := listen(t, pool)

	results := make([][]string, insertCallers)
	var callers sync.WaitGroup
	for caller := range insertCallers {
		callers.Go(func() {
			for _, params := range insertCalls(caller) {
				got, err := way.insert(t.Context(), client, pool, params)
				results[caller] = append(results[caller], describeInsert(got, err))
			}
		})
	}
	callers.Wait()
	o := insertOutcome{hooked: hook.count.Load(), payloads: heard()}
	for _, of := range results {
		o.results = append(o.results, of...)
	}
	rows, err := pool.Query(t.Context(), `
		SELECT concat_ws(' ', args, attempt, kind, max_attempts, metadata, priority, queue, state, tags, encode(unique_key, 'hex'), unique_states,
			CASE WHEN state = 'scheduled' THEN scheduled_at END, created_at > now() - interval '1 hour', attempted_at, errors, finalized_at)
		FROM towpath.river_job ORDER BY (args->>'n')::int`)
	require.NoError(t, err)
	o.rows, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return o
}

// describeInsert says what a call returned, without what differs from time to time.
func describeInsert(results []*rivertype.JobInsertResult, err error) string {
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return fmt.Sprintf("%s %s %s", pgErr.Code, pgErr.Message, pgErr.ConstraintName)
	case err != nil:
		return err.Error()
	}
	text := ""
	for _, result := range results {
		j := result.Job
		scheduled := ""
		if j.State == rivertype.JobStateScheduled {
			scheduled = j.ScheduledAt.String()
		}
		text += fmt.Sprintf("[%t %t %s %d %s %d %s %d %s %s %v %x %v %s]", result.UniqueSkippedAsDuplicate, j.ID > 0, j.EncodedArgs, j.Attempt, j.Kind, j.MaxAttempts,
			j.Metadata, j.Priority, j.Queue, j.State, j.Tags, j.UniqueKey, j.UniqueStates, scheduled)
	}
	return text
}

// listen returns a function that tells which payloads were notified, each once and in order.
func listen(t *testing.T, pool *pgxpool.Pool) func() []string {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	t.Cleanup(conn.Release)
	_, err = conn.Exec(t.Context(), `LISTEN "towpath.river_insert"; LISTEN "test.done"`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	return func() []string {
		_, err := pool.Exec(t.Context(), `SELECT pg_notify('test.done', '')`)
		require.NoError(t, err)
		heard := map[string]bool{}
		for {
			n, err := conn.Conn().WaitForNotification(t.Context())
			require.NoError(t, err)
			if n.Channel == "test.done" {
				break
			}
			heard[n.Payload] = true
		}
		return slices.Sorted(maps.Keys(heard))
	}
}

// TestEveryWayToInsertIsAlike: committed together or apart, inserts give the same rows, results, errors, notifications and
// calls of hooks.
func TestEveryWayToInsertIsAlike(t *testing.T) {
	t.Parallel()
	ways := insertWays()
	outcomes := make([]insertOutcome, len(ways))
	for i, way := range ways {
		outcomes[i] = insertAtOnce(t, way)
	}
	want := outcomes[len(ways)-1]
	require.Len(t, want.rows, 9*insertCallers)
	require.Equal(t, []string{`{"queue": "default"}`, `{"queue": "second"}`, `{"queue": "third"}`}, want.payloads)
	require.Contains(t, want.results, `23514 new row for relation "river_job" violates check constraint "priority_in_range" priority_in_range`)
	require.Contains(t, want.results, errObjection.Error())
	for i, way := range ways {
		require.Equal(t, want, outcomes[i], way.name)
	}
}

// failAfter is middleware that fails when the jobs are there.
type failAfter struct {
	river.JobInsertMiddlewareDefaults
}

func (failAfter) InsertMany(ctx context.Context, _ []*rivertype.JobInsertParams, doInner func(context.Context) ([]*rivertype.JobInsertResult, error)) ([]*rivertype.JobInsertResult, error) {
	if _, err := doInner(ctx); err != nil {
		return nil, err
	}
	return nil, errObjection
}

// plugged are args that bring that middleware along.
type plugged struct{ numbered }

func (plugged) Kind() string { return "plugged" }

func (plugged) Plugins() []rivertype.Plugin { return []rivertype.Plugin{&failAfterPlugin{}} }

type failAfterPlugin struct{ failAfter }

func (failAfterPlugin) IsPlugin() bool { return true }

// TestMiddlewareThatFailsUndoesTheInsert: wherever insert middleware may be configured, it runs in the insert's transaction.
func TestMiddlewareThatFailsUndoesTheInsert(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config river.Config
		args   river.JobArgs
	}{
		"middleware":            {river.Config{Middleware: []rivertype.Middleware{&failAfter{}}}, numbered{}},
		"deprecated middleware": {river.Config{JobInsertMiddleware: []rivertype.JobInsertMiddleware{&failAfter{}}}, numbered{}}, //nolint:staticcheck // while River has it
		"plugin":                {river.Config{Plugins: []rivertype.Plugin{&failAfterPlugin{}}}, numbered{}},
		"plugin of the args":    {river.Config{}, plugged{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := jobstest.DB(t)
			client := newClient(t, pool, &jobs.Config{Config: c.config}, nil)
			_, err := client.Insert(t.Context(), c.args, nil)
			require.ErrorIs(t, err, errObjection)
			_, err = client.InsertMany(t.Context(), []river.InsertManyParams{{Args: c.args}, {Args: c.args}})
			require.ErrorIs(t, err, errObjection)
			list, err := client.JobList(t.Context(), river.NewJobListParams())
			require.NoError(t, err)
			require.Empty(t, list.Jobs)
		})
	}
}

// TestInsertsAtOnceShareCommits: a client without more ado commits together what comes while a commit is under way.
func TestInsertsAtOnceShareCommits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		separate bool
		shares   bool
	}{{false, true}, {true, false}} {
		t.Run(fmt.Sprint(c.separate), func(t *testing.T) {
			t.Parallel()
			pool := jobstest.DB(t)
			hook := &insertHook{}
			config := &jobs.Config{SeparateInserts: c.separate}
			config.Hooks = []rivertype.Hook{hook}
			client := newClient(t, pool, config, nil)
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), "LOCK TABLE towpath.river_job IN EXCLUSIVE MODE")
			require.NoError(t, err)
			var callers sync.WaitGroup
			for n := range insertCallers {
				callers.Go(func() {
					_, err := client.Insert(t.Context(), numbered{N: n}, nil)
					require.NoError(t, err)
				})
			}
			require.Eventually(t, func() bool { return hook.count.Load() == insertCallers }, 20*time.Second, 5*time.Millisecond)
			require.NoError(t, tx.Rollback(t.Context()))
			callers.Wait()
			var inserted, commits int
			require.NoError(t, pool.QueryRow(t.Context(), `SELECT count(*), count(DISTINCT xmin::text) FROM towpath.river_job`).Scan(&inserted, &commits))
			require.Equal(t, insertCallers, inserted)
			require.Equal(t, c.shares, commits < insertCallers, "%d commits", commits)
		})
	}
}
