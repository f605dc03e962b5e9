package pilot

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

const (
	testSchema = "towpath"
	testKind   = "tow"
	testQueue  = "locks"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// process is a client as the pilot sees it. Its services run only where a test starts them.
type process struct {
	*Pilot
	t        *testing.T
	pool     *pgxpool.Pool
	exec     riverdriver.Executor
	clock    *clock
	producer riverpilot.ProducerState
	clientID string
}

// newProcess makes a process that works the test's queue and registers it.
func newProcess(t *testing.T, pool *pgxpool.Pool, clientID string) *process {
	t.Helper()
	p := unregisteredProcess(t, pool, clientID, Config{})
	p.register()
	return p
}

func unregisteredProcess(t *testing.T, pool *pgxpool.Pool, clientID string, config Config) *process {
	t.Helper()
	storage := NewStorage(pool.Config().ConnConfig.DefaultQueryExecMode, func() bool { return true })
	p := &process{
		Pilot: New(pool, storage, config), t: t, pool: pool, clock: newClock(), clientID: clientID,
		exec: NewExecutor(riverpgxv5.New(pool).GetExecutor(), pool, storage),
	}
	p.fleet.now = p.clock.Now
	p.PilotInit(baseservice.NewArchetype(slog.New(slog.DiscardHandler)), &riverpilot.PilotInitParams{
		WorkerMetadata: []*rivertype.WorkerMetadata{{Kind: testKind}},
	})
	t.Cleanup(p.fleet.lifeline.close)
	return p
}

func (p *process) register() {
	p.t.Helper()
	_, state, err := p.ProducerInit(p.t.Context(), p.exec, &riverpilot.ProducerInitParams{
		ClientID: p.clientID, Queue: testQueue, Schema: testSchema,
	})
	require.NoError(p.t, err)
	p.producer = state
}

// fetch fetches as River's producer does.
func (p *process) fetch(limit int) []*rivertype.JobRow {
	p.t.Helper()
	result, err := p.JobGetAvailable(p.t.Context(), p.exec, p.producer, &riverdriver.JobGetAvailableParams{
		ClientID: p.clientID, MaxAttemptedBy: 100, MaxToLock: limit, Queue: testQueue, Schema: testSchema,
	})
	require.NoError(p.t, err)
	return result.Jobs
}

// beat lets the process beat at the time of its clock and returns what it saw.
func (p *process) beat() sighting {
	p.t.Helper()
	seen, err := p.fleet.beat(p.t.Context())
	require.NoError(p.t, err)
	return seen
}

// live lets time pass for the process, with a beat and what follows from it each five seconds.
func (p *process) live(d time.Duration) {
	p.t.Helper()
	for ; d > 0; d -= p.fleet.pace.beat {
		p.clock.advance(p.fleet.pace.beat)
		p.fleet.attendTo(p.t.Context(), p.beat())
	}
}

func (p *process) executor() *Executor { return p.exec.(*Executor) } //nolint:forcetypeassert // made so above

// job is what a test wants a row of river_job to be.
type job struct {
	state        string
	attempt      int
	maxAttempts  int
	metadata     string
	kind         string
	queue        string
	uniqueKey    []byte
	uniqueStates string
	scheduledAt  time.Duration // from now
	finalizedAt  time.Duration // before now; for finished ones
	attemptedBy  string
	attemptedAt  time.Duration // before now
}

// insert writes a job and returns its id.
func insert(t *testing.T, pool *pgxpool.Pool, j job) int64 {
	t.Helper()
	or := func(value, standard string) string {
		if value == "" {
			return standard
		}
		return value
	}
	var finalized, attempted *float64
	switch rivertype.JobState(or(j.state, "available")) {
	case rivertype.JobStateCompleted, rivertype.JobStateCancelled, rivertype.JobStateDiscarded:
		s := j.finalizedAt.Seconds()
		finalized = &s
	default:
	}
	var by []string
	if j.attemptedBy != "" {
		by = []string{"somebody", j.attemptedBy}
		s := j.attemptedAt.Seconds()
		attempted = &s
	}
	var id int64
	require.NoError(t, pool.QueryRow(t.Context(), `
INSERT INTO towpath.river_job (args, kind, queue, state, attempt, max_attempts, metadata, unique_key, unique_states, scheduled_at, finalized_at,
	attempted_by, attempted_at)
VALUES ('{}', $1, $2, $3::text::towpath.river_job_state, $4, $5, $6::text::jsonb, $7, $8::text::bit(8), clock_timestamp() + make_interval(secs => $9),
	clock_timestamp() - make_interval(secs => $10), $11, clock_timestamp() - make_interval(secs => $12))
RETURNING id`, or(j.kind, testKind), or(j.queue, testQueue), or(j.state, "available"), j.attempt, max(j.maxAttempts, 25*btoi(j.maxAttempts == 0)),
		or(j.metadata, "{}"), j.uniqueKey, nullable(j.uniqueStates), j.scheduledAt.Seconds(), finalized, by, attempted).Scan(&id))
	return id
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// insertMany writes n available jobs.
func insertMany(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.river_job (args, kind, queue, max_attempts) SELECT '{}', $1, $2, 25 FROM generate_series(1, $3::int)`, testKind, testQueue, n)
	require.NoError(t, err)
}

// row is what a test looks at of a job.
type row struct {
	State       string
	Attempt     int
	Errors      []rivertype.AttemptError
	Metadata    map[string]any
	Finalized   bool
	ScheduledIn time.Duration // from now
	Token       *time.Time
}

// live reads a job of river_job; ok is false where there is none.
func live(t *testing.T, pool *pgxpool.Pool, id int64) (row, bool) {
	t.Helper()
	return read(t, pool, "river_job", id)
}

// finished reads a job of history.
func finished(t *testing.T, pool *pgxpool.Pool, id int64) (row, bool) {
	t.Helper()
	return read(t, pool, "job_history", id)
}

func read(t *testing.T, pool *pgxpool.Pool, table string, id int64) (row, bool) {
	t.Helper()
	var (
		r        row
		errs     []string
		metadata string
		in       float64
	)
	err := pool.QueryRow(t.Context(), `SELECT state, attempt, errors::text[], metadata::text, finalized_at IS NOT NULL,
		extract(epoch FROM scheduled_at - clock_timestamp())::float8, attempted_at FROM towpath.`+table+` WHERE id = $1`, id).
		Scan(&r.State, &r.Attempt, &errs, &metadata, &r.Finalized, &in, &r.Token)
	if err == pgx.ErrNoRows { //nolint:errorlint // straight from pgx
		return r, false
	}
	require.NoError(t, err)
	for _, raw := range errs {
		var e rivertype.AttemptError
		require.NoError(t, riverdriver.UnmarshalAttemptError([]byte(raw), &e))
		r.Errors = append(r.Errors, e)
	}
	require.NoError(t, json.Unmarshal([]byte(metadata), &r.Metadata))
	r.ScheduledIn = time.Duration(in * float64(time.Second))
	return r, true
}

// events sums the counters, folded or not, by event.
func events(t *testing.T, pool *pgxpool.Pool) map[string]int {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT event, sum(n)::int FROM (
		SELECT event, n FROM towpath.counter_delta UNION ALL SELECT event, n FROM towpath.counter) AS c GROUP BY 1`)
	require.NoError(t, err)
	sums := make(map[string]int)
	var (
		event string
		n     int
	)
	_, err = pgx.ForEachRow(rows, []any{&event, &n}, func() error {
		sums[event] = n
		return nil
	})
	require.NoError(t, err)
	return sums
}

// exec runs a statement.
func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// number reads one number.
func number(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), sql, args...).Scan(&n))
	return n
}

// heard listens for the notifications of new jobs and returns a function that waits for the next one's payload.
func heard(t *testing.T, pool *pgxpool.Pool) func() string {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	_, err = conn.Exec(t.Context(), `LISTEN "towpath.river_insert"`)
	require.NoError(t, err)
	return func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		n, err := conn.WaitForNotification(ctx)
		require.NoError(t, err)
		return n.Payload
	}
}

// inTransaction is the process's executor in a caller's transaction.
func inTransaction(p *process, tx pgx.Tx) riverdriver.ExecutorTx {
	return NewExecutorTx(riverpgxv5.New(p.pool).UnwrapExecutor(tx), tx, p.storage)
}
