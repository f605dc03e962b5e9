package pilot_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/util/dbutil"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

// caller is somebody who inserts on the pool, in a goroutine.
type caller struct {
	jobs    []*riverdriver.JobInsertFastParams
	cancel  context.CancelFunc
	done    chan struct{}
	results []*riverdriver.JobInsertFastResult
	err     error
}

// call lets somebody insert as River's client does it on the pool.
func (a *actor) call(t *testing.T, many ...*riverdriver.JobInsertFastParams) *caller {
	t.Helper()
	c := &caller{jobs: many, done: make(chan struct{})}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(a.rig.driver.Sole(t.Context()))
	go func() {
		defer close(c.done)
		c.results, c.err = dbutil.WithTxV(ctx, a.exec, func(ctx context.Context, tx riverdriver.ExecutorTx) ([]*riverdriver.JobInsertFastResult, error) {
			return a.pilot.JobInsertMany(ctx, tx, &riverdriver.JobInsertFastManyParams{Jobs: many, Schema: a.schema})
		})
	}()
	return c
}

func (c *caller) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-c.done:
		return c.err
	case <-time.After(soon):
		require.FailNow(t, "the caller gets no answer")
		return nil
	}
}

// holdUp keeps inserts from ending until the function that it returns is called.
func (r *rig) holdUp(t *testing.T) (letGo func()) {
	t.Helper()
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE towpath.river_job IN EXCLUSIVE MODE")
	require.NoError(t, err)
	letGo = sync.OnceFunc(func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) })
	t.Cleanup(letGo)
	return letGo
}

// heldUp waits until so many inserts are held up.
func (r *rig) heldUp(t *testing.T, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(r.blocked(t)) == want }, soon, tick)
}

// heldUpInstead waits until one insert is held up that is none of these.
func (r *rig) heldUpInstead(t *testing.T, before []int) {
	t.Helper()
	require.Eventually(t, func() bool {
		now := r.blocked(t)
		return len(now) == 1 && !slices.Contains(before, now[0])
	}, soon, tick)
}

// blocked returns the backends that wait for the table.
func (r *rig) blocked(t *testing.T) []int {
	t.Helper()
	// The databases of other tests are copies of the same one, with the same numbers for their tables.
	rows, err := r.pool.Query(t.Context(), `
SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE datname = current_database() AND relation = 'towpath.river_job'::regclass AND NOT granted`)
	require.NoError(t, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	return pids
}

// gather lets one insert be held up and the others wait for it.
func (a *actor) gather(t *testing.T, first *riverdriver.JobInsertFastParams, others ...[]*riverdriver.JobInsertFastParams) []*caller {
	t.Helper()
	pilot.PatientInserts(a.pilot)
	callers := []*caller{a.call(t, first)}
	a.rig.heldUp(t, 1)
	for i, many := range others {
		callers = append(callers, a.call(t, many...))
		require.Eventually(t, func() bool { return pilot.GatheredInserts(a.pilot) == i+1 }, soon, tick)
	}
	return callers
}

func one(change ...func(*riverdriver.JobInsertFastParams)) []*riverdriver.JobInsertFastParams {
	return jobs(1, change...)
}

// transactions is how many transactions inserted the jobs that are there.
func (r *rig) transactions(t *testing.T) (n int) {
	t.Helper()
	r.queryRow(t, "SELECT count(DISTINCT xmin::text) FROM towpath.river_job")(&n)
	return n
}

// TestGroupShares: callers that come while an insert is on its way are committed together, and each gets its own.
func TestGroupShares(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	heard := r.listen(t)
	letGo := r.holdUp(t)
	callers := a.gather(t, job(kind("first")), one(kind("second")), jobs(3, kind("third"), inQueue("other")), one(kind("fourth"), priority(3)))
	letGo()
	for _, c := range callers {
		require.NoError(t, c.wait(t))
		require.Len(t, c.results, len(c.jobs))
		for i, result := range c.results {
			require.False(t, result.UniqueSkippedAsDuplicate)
			row := r.get(t, result.Job.ID)
			require.Equal(t, c.jobs[i].Kind, row.Kind)
			require.Equal(t, c.jobs[i].Queue, row.Queue)
			require.Equal(t, c.jobs[i].Priority, row.Priority)
			result.Job.EncodedArgs, result.Job.Metadata = row.EncodedArgs, row.Metadata // jsonb spells them its own way
			require.Equal(t, row, result.Job)
		}
	}
	require.Equal(t, 2, r.transactions(t))
	require.ElementsMatch(t, []string{`{"queue": "default"}`, `{"queue": "default"}`, `{"queue": "other"}`}, heard(), "one a transaction and queue")
}

// TestGroupBlamesTheGuilty: what one caller's jobs hold is an error of that caller's, and its InsertMany is not there.
func TestGroupBlamesTheGuilty(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.run(t, `CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no errands today'; END $$`)
	r.run(t, `CREATE TRIGGER refuse BEFORE INSERT ON towpath.river_job FOR EACH ROW WHEN (NEW.kind = 'errand') EXECUTE FUNCTION public.refuse()`)
	a := r.actor(t, "a")
	heard := r.listen(t)
	letGo := r.holdUp(t)
	bad := job(func(j *riverdriver.JobInsertFastParams) { j.EncodedArgs = []byte(`{"a": "\u0000"}`) })
	deep := job(func(j *riverdriver.JobInsertFastParams) {
		j.EncodedArgs = fmt.Appendf(nil, `{"a": %s%s}`, bytesOf('[', 50_000), bytesOf(']', 50_000))
	})
	callers := a.gather(t, job(),
		one(), one(priority(9), inQueue("bad")), jobs(2), append(jobs(2, inQueue("bad")), bad), one(kind("errand")), []*riverdriver.JobInsertFastParams{deep}, one(inQueue("last")))
	letGo()
	for i, code := range []string{"", "", "23514", "", "22P05", "P0001", "54001", ""} {
		err := callers[i].wait(t)
		if code == "" {
			require.NoError(t, err, i)
			continue
		}
		var pgErr *pgconn.PgError
		require.ErrorAs(t, err, &pgErr, i)
		require.Equal(t, code, pgErr.Code)
		require.Empty(t, callers[i].results)
	}
	require.Len(t, a.list(t, "true"), 5)
	told := heard()
	require.Contains(t, told, `{"queue": "last"}`)
	require.NotContains(t, told, `{"queue": "bad"}`)
}

func bytesOf(b byte, n int) []byte {
	many := make([]byte, n)
	for i := range many {
		many[i] = b
	}
	return many
}

// TestGroupCallersLeave: a caller whose context ends is answered at once, whatever the others do.
func TestGroupCallersLeave(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	letGo := r.holdUp(t)
	callers := a.gather(t, job(), one(kind("leaves")), one(kind("stays")), one(kind("leaves later")))
	first, leaves, stays, later := callers[0], callers[1], callers[2], callers[3]
	leaves.cancel()
	require.ErrorIs(t, leaves.wait(t), context.Canceled)
	require.Equal(t, 2, pilot.GatheredInserts(a.pilot))

	// The first one's own context ends its statement, and the others leave.
	first.cancel()
	require.ErrorIs(t, first.wait(t), context.Canceled)
	require.Eventually(t, func() bool { return pilot.GatheredInserts(a.pilot) == 0 }, soon, tick)
	r.heldUp(t, 1)
	later.cancel()
	require.ErrorIs(t, later.wait(t), context.Canceled)
	letGo()
	require.NoError(t, stays.wait(t))
	require.Empty(t, a.list(t, "kind IN ('proof', 'leaves')"))
	require.Len(t, a.list(t, "kind = 'stays'"), 1)
	require.Len(t, a.list(t, "kind = 'leaves later'"), 1, "it had left with the other one: its caller cannot know")
}

// TestGroupIsGivenUp: a statement that nobody waits for any more is ended.
func TestGroupIsGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	r.holdUp(t)
	callers := a.gather(t, job(), one(), one())
	first := r.blocked(t)
	for i, c := range callers {
		c.cancel()
		require.ErrorIs(t, c.wait(t), context.Canceled)
		if i > 0 {
			continue
		}
		r.heldUpInstead(t, first) // the server passes over the cancellation of a statement that it has not read yet
	}
	r.heldUp(t, 0)
	require.Zero(t, pilot.GatheredInserts(a.pilot))
}

// TestGroupLosesItsConnection: all whose statement it was get the error; those who come later have another connection.
func TestGroupLosesItsConnection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	letGo := r.holdUp(t)
	callers := a.gather(t, job(), one(), one())
	first := r.blocked(t)
	callers[0].cancel()
	require.Error(t, callers[0].wait(t))
	require.Eventually(t, func() bool { return pilot.GatheredInserts(a.pilot) == 0 }, soon, tick)
	late := a.call(t, job(kind("late")))
	require.Eventually(t, func() bool { return pilot.GatheredInserts(a.pilot) == 1 }, soon, tick)
	r.heldUpInstead(t, first)
	for _, pid := range r.blocked(t) {
		r.run(t, "SELECT pg_terminate_backend($1)", pid)
	}
	for _, c := range callers[1:] {
		require.Error(t, c.wait(t))
	}
	letGo()
	require.NoError(t, late.wait(t))
	require.Len(t, a.list(t, "true"), 1)
}

// TestGroupIsNotPatientForEver: nobody waits for a statement that takes long.
func TestGroupIsNotPatientForEver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	letGo := r.holdUp(t)
	var callers []*caller
	require.Eventually(t, func() bool {
		callers = append(callers, a.call(t, job()))
		return len(r.blocked(t)) >= 4
	}, soon, 4*tick)
	letGo()
	for _, c := range callers {
		require.NoError(t, c.wait(t))
	}
	require.Len(t, a.list(t, "true"), len(callers))
}

// TestGroupKeepsApart: what may not share, does not.
func TestGroupKeepsApart(t *testing.T) {
	t.Parallel()
	prepare := func(c *pgxpool.Config) {
		c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { return true, nil }
	}
	acquire := func(c *pgxpool.Config) {
		c.BeforeAcquire = func(context.Context, *pgx.Conn) bool { return true } //nolint:staticcheck // deprecated, and still used
	}
	for name, c := range map[string]struct {
		pool []func(*pgxpool.Config)
		job  func(n int) *riverdriver.JobInsertFastParams
	}{
		"PrepareConn":   {[]func(*pgxpool.Config){prepare}, func(int) *riverdriver.JobInsertFastParams { return job() }},
		"BeforeAcquire": {[]func(*pgxpool.Config){acquire}, func(int) *riverdriver.JobInsertFastParams { return job() }},
		"unique":        {nil, func(n int) *riverdriver.JobInsertFastParams { return job(unique(fmt.Sprint(n), evenFinished)) }},
		"middleware of the args": {nil, func(int) *riverdriver.JobInsertFastParams {
			return job(func(j *riverdriver.JobInsertFastParams) { j.Args = argsWithMiddleware{} })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.pool...)
			a := r.actor(t, "a")
			pilot.PatientInserts(a.pilot)
			letGo := r.holdUp(t)
			callers := make([]*caller, 6)
			for i := range callers {
				callers[i] = a.call(t, c.job(i))
			}
			r.heldUp(t, len(callers))
			letGo()
			for _, c := range callers {
				require.NoError(t, c.wait(t))
			}
			require.Equal(t, len(callers), r.transactions(t))
		})
	}
}

// argsWithMiddleware bring plugins, among which there may be insert middleware.
type argsWithMiddleware struct{}

func (argsWithMiddleware) Kind() string { return "with_middleware" }

func (*argsWithMiddleware) Plugins() []rivertype.Plugin { return nil }

// TestOnlySoleInsertsCommitByThemselves: without the mark, and in a transaction that has begun or is the caller's, an
// insert is the transaction's.
func TestOnlySoleInsertsCommitByThemselves(t *testing.T) {
	t.Parallel()
	r, other := newRig(t), newRig(t)
	a := r.actor(t, "a")
	insert := func(ctx context.Context, tx riverdriver.ExecutorTx) {
		_, err := a.pilot.JobInsertMany(ctx, tx, &riverdriver.JobInsertFastManyParams{Jobs: jobs(2), Schema: schema})
		require.NoError(t, err)
		require.NoError(t, tx.Rollback(ctx))
	}
	begin := func() riverdriver.ExecutorTx {
		tx, err := r.exec.Begin(t.Context())
		require.NoError(t, err)
		return tx
	}
	sole := r.driver.Sole(t.Context())
	insert(t.Context(), begin())
	insert(other.driver.Sole(t.Context()), begin())
	begun := begin()
	require.NoError(t, begun.Exec(t.Context(), "SELECT 1"))
	insert(sole, begun)
	own, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	insert(sole, r.driver.UnwrapExecutor(own))
	require.Empty(t, a.list(t, "true"))

	insert(sole, begin())
	require.Len(t, a.list(t, "true"), 2)
}
