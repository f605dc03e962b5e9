package pilot_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs/driver"
)

const (
	schema = "towpath"
	// soon is a generous limit for what happens in moments.
	soon = 20 * time.Second
	tick = 5 * time.Millisecond
)

// failer is a test or a case of a property.
type failer interface {
	require.TestingT
	Helper()
	Context() context.Context
}

// rig is a driver on a database of its own.
type rig struct {
	pool   *pgxpool.Pool
	driver *driver.Driver
	exec   riverdriver.Executor
}

// newRig empties the search path, so that a relation without its schema is found out.
func newRig(t *testing.T, change ...func(*pgxpool.Config)) *rig {
	t.Helper()
	config, err := pgxpool.ParseConfig(testdb.URL(t))
	require.NoError(t, err)
	config.MaxConns = 10
	config.ConnConfig.RuntimeParams["search_path"] = ""
	for _, c := range change {
		c(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return rigOn(pool)
}

func rigOn(pool *pgxpool.Pool) *rig {
	d := driver.New(pool)
	return &rig{pool: pool, driver: d, exec: d.GetExecutor()}
}

// actor is one River client as the pilot sees it, without River's loops: it fetches and finishes when it is told to.
type actor struct {
	rig    *rig
	name   string
	queue  string
	schema string
	pilot  riverpilot.Pilot
	state  riverpilot.ProducerState
	exec   riverdriver.Executor
	number int64 // of the producer
}

func (r *rig) actor(t *testing.T, name string) *actor {
	t.Helper()
	a := &actor{rig: r, name: name, queue: "default", schema: schema, pilot: r.driver.PluginPilot(), exec: r.exec}
	a.init(t)
	return a
}

func (a *actor) init(t failer) {
	t.Helper()
	a.pilot.PilotInit(baseservice.NewArchetype(slog.New(slog.DiscardHandler)), &riverpilot.PilotInitParams{})
	number, state, err := a.pilot.ProducerInit(t.Context(), a.exec, &riverpilot.ProducerInitParams{ClientID: a.name, Queue: a.queue, Schema: a.schema})
	require.NoError(t, err)
	a.number, a.state = number, state
	pilot.NeverTired(a.pilot)
}

// job is a job as a client would insert it, with what the test wants different.
func job(change ...func(*riverdriver.JobInsertFastParams)) *riverdriver.JobInsertFastParams {
	params := &riverdriver.JobInsertFastParams{
		EncodedArgs: []byte(`{"n": 1}`), Kind: "proof", MaxAttempts: 5, Priority: 1, Queue: "default", State: rivertype.JobStateAvailable,
	}
	for _, c := range change {
		c(params)
	}
	return params
}

func jobs(n int, change ...func(*riverdriver.JobInsertFastParams)) []*riverdriver.JobInsertFastParams {
	many := make([]*riverdriver.JobInsertFastParams, n)
	for i := range many {
		many[i] = job(change...)
	}
	return many
}

func priority(p int) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.Priority = p }
}

func kind(k string) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.Kind = k }
}

func maxAttempts(n int) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.MaxAttempts = n }
}

func at(when time.Time) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.ScheduledAt = &when }
}

// scheduled makes a job that waits for its time, which may have come.
func scheduled(when time.Time) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.ScheduledAt, j.State = &when, rivertype.JobStateScheduled }
}

const (
	// whileUnfinished and evenFinished are bit masks of the states in which a unique key is held: River's by-state option
	// for unfinished states, and River's default.
	whileUnfinished byte = 0b11110001
	evenFinished    byte = 0b11110101
)

func unique(key string, states byte) func(*riverdriver.JobInsertFastParams) {
	return func(j *riverdriver.JobInsertFastParams) { j.UniqueKey, j.UniqueStates = []byte(key), states }
}

// tryInsertTx inserts in a transaction of the caller's.
func (a *actor) tryInsertTx(ctx context.Context, tx pgx.Tx, many ...*riverdriver.JobInsertFastParams) ([]*riverdriver.JobInsertFastResult, error) {
	return a.pilot.JobInsertMany(ctx, a.rig.driver.UnwrapExecutor(tx), &riverdriver.JobInsertFastManyParams{Jobs: many, Schema: a.schema})
}

// insert inserts jobs in a transaction of their own and returns their ids.
func (a *actor) insert(t failer, many ...*riverdriver.JobInsertFastParams) []int64 {
	t.Helper()
	var ids []int64
	err := pgx.BeginFunc(t.Context(), a.rig.pool, func(tx pgx.Tx) error {
		results, err := a.tryInsertTx(t.Context(), tx, many...)
		for _, result := range results {
			ids = append(ids, result.Job.ID)
		}
		return err
	})
	require.NoError(t, err)
	return ids
}

func (a *actor) insertOne(t failer, change ...func(*riverdriver.JobInsertFastParams)) int64 {
	t.Helper()
	return a.insert(t, job(change...))[0]
}

func (a *actor) fetchParams(limit int, kinds ...string) *riverdriver.JobGetAvailableParams {
	return &riverdriver.JobGetAvailableParams{
		ClientID: a.name, Kind: kinds, MaxAttemptedBy: 100, MaxToLock: limit, Queue: a.queue, Schema: a.schema,
	}
}

// fetch fetches up to limit jobs, in the order in which their handlers would begin.
func (a *actor) fetch(t failer, limit int, kinds ...string) []*rivertype.JobRow {
	t.Helper()
	result, err := a.pilot.JobGetAvailable(t.Context(), a.exec, a.state, a.fetchParams(limit, kinds...))
	require.NoError(t, err)
	return result.Jobs
}

func (a *actor) fetchOne(t failer) *rivertype.JobRow {
	t.Helper()
	fetched := a.fetch(t, 1)
	require.Len(t, fetched, 1)
	return fetched[0]
}

type setState = riverdriver.JobSetStateIfRunningParams

func (a *actor) many(params ...*setState) *riverdriver.JobSetStateIfRunningManyParams {
	m := &riverdriver.JobSetStateIfRunningManyParams{Schema: a.schema}
	for _, p := range params {
		m.ID, m.Attempt = append(m.ID, p.ID), append(m.Attempt, p.Attempt)
		m.ErrData, m.FinalizedAt = append(m.ErrData, p.ErrData), append(m.FinalizedAt, p.FinalizedAt)
		m.MetadataDoMerge, m.MetadataUpdates = append(m.MetadataDoMerge, p.MetadataDoMerge), append(m.MetadataUpdates, p.MetadataUpdates)
		m.ScheduledAt, m.State = append(m.ScheduledAt, p.ScheduledAt), append(m.State, p.State)
	}
	return m
}

// finish writes the ends of attempts as the completer does, on the pool.
func (a *actor) finish(t failer, params ...*setState) []*rivertype.JobRow {
	t.Helper()
	rows, err := a.pilot.JobSetStateIfRunningMany(t.Context(), a.exec, a.many(params...))
	require.NoError(t, err)
	return rows
}

// finishTx writes them as JobCompleteTx does, in a transaction of the handler's.
func (a *actor) finishTx(ctx context.Context, tx pgx.Tx, params ...*setState) ([]*rivertype.JobRow, error) {
	return a.pilot.JobSetStateIfRunningMany(ctx, a.rig.driver.UnwrapExecutor(tx), a.many(params...))
}

// freeSlot is River's word that the handler has returned.
func (a *actor) freeSlot(id int64) { a.state.JobFinish(&rivertype.JobRow{ID: id}) }

// end finishes an attempt and gives its slot back.
func (a *actor) end(t failer, params *setState) *rivertype.JobRow {
	t.Helper()
	rows := a.finish(t, params)
	a.freeSlot(params.ID)
	require.Len(t, rows, 1)
	return rows[0]
}

func completed(id int64) *setState { return riverdriver.JobSetStateCompleted(id, time.Now(), nil) }

func completedWith(id int64, metadata string) *setState {
	return riverdriver.JobSetStateCompleted(id, time.Now(), []byte(metadata))
}

func attemptError(message string) []byte {
	return fmt.Appendf(nil, `{"at":"2026-01-02T03:04:05Z","attempt":1,"error":%q,"trace":""}`, message)
}

func failed(id int64, due time.Time) *setState {
	return riverdriver.JobSetStateErrorRetryable(id, due, attemptError("it failed"), nil)
}

func failedAvailable(id int64, due time.Time) *setState {
	return riverdriver.JobSetStateErrorAvailable(id, due, attemptError("it failed"), nil)
}

func discarded(id int64) *setState {
	return riverdriver.JobSetStateDiscarded(id, time.Now(), attemptError("for the last time"), nil)
}

func cancelled(id int64) *setState {
	return riverdriver.JobSetStateCancelled(id, time.Now(), attemptError("cancelled"), nil)
}

// handedBack is the end of an attempt that a stopping client interrupts.
func handedBack(row *rivertype.JobRow) *setState {
	return riverdriver.JobSetStateInterrupted(row.ID, time.Now().Add(-time.Minute), row.Attempt-1, nil)
}

// get returns a job, live or finished.
func (r *rig) get(t failer, id int64) *rivertype.JobRow {
	t.Helper()
	row, err := r.exec.JobGetByID(t.Context(), &riverdriver.JobGetByIDParams{ID: id, Schema: schema})
	require.NoError(t, err)
	return row
}

// place says in which table a job is: live, history or nowhere. In both is a failure.
func (r *rig) place(t failer, id int64) string {
	t.Helper()
	var live, history int
	r.queryRow(t, `SELECT (SELECT count(*) FROM towpath.river_job WHERE id = $1), (SELECT count(*) FROM towpath.job_history WHERE id = $1)`, id)(&live, &history)
	require.LessOrEqual(t, live+history, 1, "job %d is in two places", id)
	switch {
	case live == 1:
		return "live"
	case history == 1:
		return "history"
	default:
		return "nowhere"
	}
}

// requireIn requires that a job is in a table and a state.
func (r *rig) requireIn(t failer, place string, state rivertype.JobState, id int64) {
	t.Helper()
	require.Equal(t, place, r.place(t, id))
	require.Equal(t, state, r.get(t, id).State)
}

// counters returns how often each event was counted for a queue, folded or not.
func (r *rig) counters(t failer, queue string) map[string]int {
	t.Helper()
	rows, err := r.pool.Query(t.Context(), `
		SELECT event, sum(n)::int FROM (
			SELECT event, n FROM towpath.counter WHERE queue = $1 UNION ALL SELECT event, n FROM towpath.counter_delta WHERE queue = $1
		) AS counted GROUP BY event`, queue)
	require.NoError(t, err)
	counts := make(map[string]int)
	var (
		event string
		n     int
	)
	_, err = pgx.ForEachRow(rows, []any{&event, &n}, func() error {
		counts[event] = n
		return nil
	})
	require.NoError(t, err)
	return counts
}

func (r *rig) run(t failer, sql string, args ...any) {
	t.Helper()
	_, err := r.pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// queryRow runs a query for one row and returns the function that scans it.
func (r *rig) queryRow(t failer, sql string, args ...any) func(dest ...any) {
	t.Helper()
	return func(dest ...any) {
		t.Helper()
		require.NoError(t, r.pool.QueryRow(t.Context(), sql, args...).Scan(dest...))
	}
}

// takeAway gives a running job back behind the back of whoever works it, as a rescue does; the attempt is used up only if
// so said.
func (r *rig) takeAway(t failer, id int64, used bool) {
	t.Helper()
	r.run(t, `UPDATE towpath.river_job SET state = 'available', scheduled_at = now() - interval '1 hour',
		attempt = CASE WHEN $2 THEN attempt ELSE attempt - 1 END WHERE id = $1`, id, used)
}

func ids(rows []*rivertype.JobRow) []int64 {
	found := make([]int64, len(rows))
	for i, row := range rows {
		found[i] = row.ID
	}
	return found
}
