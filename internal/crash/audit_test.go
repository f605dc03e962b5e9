package crash

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// views are for the audits. counters has the events of each queue and kind, folded or not.
const views = `
CREATE VIEW crash.counters AS
	SELECT queue, kind,
		coalesce(sum(n) FILTER (WHERE event = 'started'), 0) AS started,
		coalesce(sum(n) FILTER (WHERE event IN ('completed', 'retried', 'snoozed', 'interrupted', 'cancelled', 'discarded')), 0) AS ended,
		coalesce(sum(n) FILTER (WHERE event IN ('completed')), 0) AS completed,
		coalesce(sum(n) FILTER (WHERE event IN ('cancelled', 'cancelled_waiting')), 0) AS cancelled,
		coalesce(sum(n) FILTER (WHERE event IN ('discarded', 'discarded_waiting')), 0) AS discarded,
		coalesce(sum(n) FILTER (WHERE event IN ('interrupted', 'snoozed')), 0) AS unused,
		coalesce(sum(n) FILTER (WHERE event IN ('deleted')), 0) - coalesce(sum(n) FILTER (WHERE event IN ('revived')), 0) AS otherwise
	FROM (SELECT queue, kind, event, n FROM towpath.counter UNION ALL SELECT queue, kind, event, n FROM towpath.counter_delta) AS c
	GROUP BY 1, 2;
CREATE VIEW crash.finished AS
	SELECT id, queue, kind, state::text, attempt, attempted_by[array_upper(attempted_by, 1)] AS client, cardinality(coalesce(errors, '{}')) AS errors
	FROM towpath.job_history
	UNION ALL
	SELECT id, queue, kind, state::text, attempt, attempted_by[array_upper(attempted_by, 1)], cardinality(coalesce(errors, '{}'))
	FROM towpath.river_job WHERE finalized_at IS NOT NULL`

// balanceStatement returns the queues and kinds of which the counters do not say what the rows do, all in one snapshot.
const balanceStatement = `
WITH live AS (
	SELECT queue, kind, count(*) FILTER (WHERE state = 'running') AS running, count(*) AS unfinished
	FROM towpath.river_job WHERE finalized_at IS NULL GROUP BY 1, 2
), received AS (
	SELECT queue, kind, sum(n) AS n FROM crash.received GROUP BY 1, 2
), both_sides AS (
	SELECT queue, kind, coalesce(started, 0) AS started, coalesce(ended, 0) AS ended, coalesce(running, 0) AS running,
		coalesce(received.n, 0) AS received, coalesce(completed + cancelled + discarded, 0) AS finished,
		coalesce(otherwise, 0) AS otherwise, coalesce(unfinished, 0) AS unfinished
	FROM crash.counters FULL JOIN live USING (queue, kind) FULL JOIN received USING (queue, kind)
)
SELECT format('%s %s: %s started and %s ended, but %s run; %s received, %s finished, %s deleted or revived, and %s are waiting or running',
	queue, kind, started, ended, running, received, finished, otherwise, unfinished)
FROM both_sides WHERE started - ended <> running OR received <> finished + otherwise + unfinished`

// auditor checks, all the time, what has to be true all the time.
type auditor struct {
	rig    *rig
	cancel context.CancelFunc
	done   chan struct{}
	once   sync.Once
	audits int
}

func startAuditor(r *rig) *auditor {
	ctx, cancel := context.WithCancel(context.Background())
	a := &auditor{rig: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.run(ctx)
	}()
	return a
}

// stop ends the auditing and tells how often everything was checked.
func (a *auditor) stop() int {
	a.once.Do(func() {
		a.cancel()
		<-a.done
	})
	return a.audits
}

func (a *auditor) run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := time.Now()
		faults, err := a.audit(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			a.audits++
		case !passing(err):
			a.rig.t.Errorf("audit: %v", err)
			return
		}
		if len(faults) > 0 {
			a.rig.t.Errorf("this may never be true, not for a moment:\n%s", strings.Join(faults, "\n"))
			return
		}
		// A tenth of the time at most, so that the load is not the audit's.
		_ = pause(ctx, max(200*time.Millisecond, 9*time.Since(begun)))
	}
}

func (a *auditor) audit(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	rows, err := a.rig.pool.Query(ctx, balanceStatement)
	if err != nil {
		return nil, err
	}
	faults, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	late, err := a.late(ctx)
	return append(faults, late...), err
}

// late finds jobs that the dead own for too long: for that time Postgres was up, and somebody could watch.
func (a *auditor) late(ctx context.Context) ([]string, error) {
	begun := time.Now()
	rows, err := a.rig.pool.Query(ctx, `SELECT attempted_by[array_upper(attempted_by, 1)], count(*)
		FROM towpath.river_job WHERE state = 'running' GROUP BY 1`)
	if err != nil {
		return nil, err
	}
	owned := map[string]int{}
	var (
		id string
		n  int
	)
	if _, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { owned[id] = n; return nil }); err != nil {
		return nil, err
	}
	watched, ok := a.rig.watchedSince()
	if !ok {
		return nil, nil
	}
	var faults []string
	for _, p := range a.rig.all() {
		death, dead := p.dead()
		if owned[p.id] == 0 || !dead {
			continue
		}
		if death.Before(watched) {
			death = watched
		}
		if late := begun.Sub(death); late > rescueLimit {
			faults = append(faults, fmt.Sprintf("%s still owns %d running jobs, %s after its death", p.id, owned[p.id], late))
		}
	}
	return faults, nil
}

// watchedSince tells since when somebody has been able to see who is dead.
func (r *rig) watchedSince() (time.Time, bool) {
	r.mu.Lock()
	since := r.upSince
	r.mu.Unlock()
	if since.IsZero() {
		return since, false
	}
	var first time.Time
	for _, p := range r.all() {
		if steady, ok := p.steady(); ok && (first.IsZero() || steady.Before(first)) {
			first = steady
		}
	}
	if first.After(since) {
		since = first
	}
	return since, !first.IsZero()
}

// effectKinds are those whose every completed job has an effect.
const effectKinds = `('crash.effect', 'crash.slow', 'crash.later', 'crash.once', 'crash.join')`

// keepEnded makes a table of the finished jobs, which millions of them are compared with more quickly than with a view.
const keepEnded = `
CREATE TABLE crash.ended AS TABLE crash.finished;
CREATE INDEX ON crash.ended (id);
ANALYZE crash.ended, crash.expected, crash.effect`

// finalChecks return what must not be there when all is quiet.
var finalChecks = []struct{ what, sql string }{
	{"jobs that are lost", `SELECT format('%s %s', job_id, kind) FROM crash.expected WHERE NOT EXISTS (SELECT FROM crash.ended WHERE id = job_id)`},
	{"jobs that nobody enqueued", `SELECT format('%s %s', id, kind) FROM crash.ended WHERE NOT EXISTS (SELECT FROM crash.expected WHERE id = job_id)`},
	{"jobs that are there twice", `SELECT format('%s %s', id, count(*)) FROM crash.ended GROUP BY id HAVING count(*) > 1`},
	{"jobs that ended otherwise", `SELECT format('%s %s: %s, not %s', id, f.kind, state, ends) FROM crash.ended f JOIN crash.expected ON id = job_id WHERE state <> ends`},
	{"jobs without their effect", `SELECT format('%s %s', id, kind) FROM crash.ended WHERE state = 'completed' AND kind IN ` + effectKinds + `
		AND NOT EXISTS (SELECT FROM crash.effect WHERE id = job_id)`},
	{"effects that happened twice", `SELECT format('%s %s: %s', job_id, min(kind), count(*)) FROM crash.effect GROUP BY job_id HAVING count(*) > 1`},
	{"effects of another attempt than the one that ended the job", `SELECT format('%s %s: attempt %s of %s, not %s of %s', job_id, e.kind, e.attempt, e.client, f.attempt, f.client)
		FROM crash.effect e LEFT JOIN crash.ended f ON id = job_id WHERE (f.state, f.attempt, f.client) IS DISTINCT FROM ('completed', e.attempt, e.client)`},
	{"jobs that ran before they were due", `SELECT format('%s %s: at %s, not %s', job_id, e.kind, at, due) FROM crash.effect e JOIN crash.expected USING (job_id) WHERE at < due`},
	{"jobs that were to be unique", `SELECT format('%s: %s', once, count(*)) FROM crash.expected WHERE once IS NOT NULL GROUP BY once HAVING count(*) > 1`},
	{"jobs that were never committed and ran", `SELECT job_id::text FROM crash.ghost UNION ALL SELECT kind FROM crash.counters WHERE kind = 'crash.ghost'`},
	{"jobs whose attempts are not what their errors say", `SELECT format('%s %s: %s after %s attempts with %s errors', id, kind, state, attempt, errors)
		FROM crash.ended WHERE errors <> attempt - CASE state WHEN 'completed' THEN 1 ELSE 0 END`},
	{"counters that are not what the rows say", `
		WITH f AS (
			SELECT queue, kind, count(*) FILTER (WHERE state = 'completed') AS completed, count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
				count(*) FILTER (WHERE state = 'discarded') AS discarded, sum(attempt) AS attempts
			FROM crash.ended GROUP BY 1, 2
		)
		SELECT format('%s %s: counters say %s, rows %s', queue, kind, (c.completed, c.cancelled, c.discarded, c.started - c.unused),
			(f.completed, f.cancelled, f.discarded, f.attempts))
		FROM crash.counters c FULL JOIN f USING (queue, kind)
		WHERE (c.completed, c.cancelled, c.discarded, c.started - c.unused) IS DISTINCT FROM (f.completed, f.cancelled, f.discarded, f.attempts)`},
	{"sums by minute that are not the sums", `
		SELECT format('%s %s %s %s: %s by minute, %s in all', queue, kind, event, bucket, m.n, c.n)
		FROM (SELECT queue, kind, event, bucket, sum(n) AS n FROM towpath.counter_minute GROUP BY 1, 2, 3, 4) AS m
			FULL JOIN towpath.counter c USING (queue, kind, event, bucket) WHERE m.n IS DISTINCT FROM c.n`},
	{"processes that have left no word", `SELECT client_id FROM towpath.process WHERE stopped_at IS NULL AND dead_at IS NULL
		AND client_id <> ALL($1::text[])`},
}

// conclude waits until every job has ended, ends the workers, and checks everything.
func (r *rig) conclude(limit time.Duration) {
	r.t.Helper()
	r.awaitQuiet(limit)
	var wordless []string
	for _, p := range r.all() {
		if p.running() {
			p.terminate()
			require.Zero(r.t, p.cmd.ProcessState.ExitCode(), "exit code of %s", p.id)
		}
		if p.cmd.ProcessState.ExitCode() != 0 {
			wordless = append(wordless, p.id) // perhaps nobody was left to see its end
		}
	}
	require.Positive(r.t, r.auditor.stop(), "audits")
	r.exec(keepEnded)
	for _, check := range finalChecks {
		args := []any{}
		if strings.Contains(check.sql, "$1") {
			args = append(args, wordless)
		}
		begun := time.Now()
		found := r.strings("SELECT * FROM ("+check.sql+") AS found LIMIT 10", args...)
		if took := time.Since(begun); took > 2*time.Second {
			r.t.Logf("looked for %s in %s", check.what, took.Round(time.Millisecond))
		}
		if len(found) > 0 {
			r.t.Errorf("there are %s:\n%s", check.what, strings.Join(found, "\n"))
		}
	}
	r.tell()
}

// awaitQuiet waits until no job is unfinished, and tells now and then which are left.
func (r *rig) awaitQuiet(limit time.Duration) {
	r.t.Helper()
	begun := time.Now()
	next := begun.Add(15 * time.Second)
	r.await(limit, "every job ends", func(ctx context.Context) (bool, error) {
		if time.Now().After(next) {
			next = time.Now().Add(15 * time.Second)
			r.t.Logf("after %s there are left: %s", time.Since(begun).Round(time.Second), strings.Join(r.strings(`
				SELECT format('%s %s %s by %s since %s', count(*), kind, state, attempted_by[array_upper(attempted_by, 1)], date_trunc('second', min(attempted_at))::time)
				FROM towpath.river_job WHERE finalized_at IS NULL
				GROUP BY kind, state, attempted_by[array_upper(attempted_by, 1)] ORDER BY 1 LIMIT 10`), "; "))
		}
		return r.is(ctx, "SELECT NOT EXISTS (SELECT FROM towpath.river_job WHERE finalized_at IS NULL)")
	})
}

// tell says how much was done.
func (r *rig) tell() {
	r.t.Helper()
	r.t.Logf("%s; %d audits", strings.Join(r.strings(`SELECT format('%s jobs, %s effects, %s attempts used by those that failed or died, %s handed back or snoozed',
		(SELECT count(*) FROM crash.expected), (SELECT count(*) FROM crash.effect), sum(ended - unused - completed - cancelled - discarded), sum(unused))
		FROM crash.counters`), ""), r.auditor.audits)
}

// A test of the tests: each check finds what it is there for.
func TestChecksCanFail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.auditor.stop()
	find := func(sql string, statements ...string) []string {
		t.Helper()
		tx, err := r.pool.Begin(t.Context())
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(t.Context())) }()
		for _, statement := range append(statements, keepEnded) {
			_, err := tx.Exec(t.Context(), statement)
			require.NoError(t, err)
		}
		args := []any{}
		if strings.Contains(sql, "$1") {
			args = append(args, []string{})
		}
		rows, err := tx.Query(t.Context(), sql, args...)
		require.NoError(t, err)
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return found
	}
	left := map[string]string{"balance": balanceStatement}
	for _, check := range finalChecks {
		left[check.what] = check.sql
	}
	statements := maps.Clone(left)
	fails := func(what string, made ...string) {
		t.Helper()
		require.Empty(t, find(statements[what]), what)
		require.NotEmpty(t, find(statements[what], made...), what)
		delete(left, what)
	}
	const (
		expected  = `INSERT INTO crash.expected (job_id, queue, kind, ends) VALUES (1, 'default', 'crash.effect', 'completed')`
		received  = `INSERT INTO crash.received (queue, kind, n) VALUES ('default', 'crash.effect', 1)`
		completed = `INSERT INTO towpath.job_history (id, args, attempt, attempted_by, created_at, finalized_at, kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
			VALUES (1, '{}', 1, '{worker}', now(), now(), 'crash.effect', 25, '{}', 1, 'default', 'completed', now(), '{}')`
		effect  = `INSERT INTO crash.effect (job_id, kind, attempt, client) VALUES (1, 'crash.effect', 1, 'worker')`
		started = `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'crash.effect', 'started', 0, 1)`
		ended   = `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n) VALUES ('default', 'crash.effect', 'completed', 0, 1)`
	)
	require.Empty(t, find(balanceStatement, received, started, ended))
	fails("balance", started)
	fails("balance", received)
	fails("balance", started, ended)
	fails("balance", `INSERT INTO towpath.river_job (args, kind, max_attempts) VALUES ('{}', 'crash.effect', 25)`)
	fails("jobs that are lost", expected)
	fails("jobs that nobody enqueued", completed)
	fails("jobs that are there twice", completed, completed)
	fails("jobs that ended otherwise", strings.Replace(expected, "'completed'", "'discarded'", 1), completed)
	fails("jobs without their effect", completed)
	fails("effects that happened twice", effect, effect)
	fails("effects of another attempt than the one that ended the job", completed, strings.Replace(effect, "1, 'worker'", "2, 'worker'", 1))
	fails("effects of another attempt than the one that ended the job", completed, strings.Replace(effect, "'worker'", "'other'", 1))
	fails("effects of another attempt than the one that ended the job", effect)
	fails("jobs that ran before they were due", expected, `UPDATE crash.expected SET due = clock_timestamp() + interval '1 hour'`, effect)
	fails("jobs that were to be unique", expected, strings.Replace(expected, "(1,", "(2,", 1), `UPDATE crash.expected SET once = 'a'`)
	fails("jobs that were never committed and ran", `INSERT INTO crash.ghost VALUES (1)`)
	fails("jobs whose attempts are not what their errors say", completed, `UPDATE towpath.job_history SET attempt = 2`)
	fails("counters that are not what the rows say", completed)
	fails("counters that are not what the rows say", started, ended)
	fails("counters that are not what the rows say", completed, started, started, ended, ended)
	fails("sums by minute that are not the sums", `INSERT INTO towpath.counter VALUES ('default', 'crash.effect', 'started', 0, 1, 0)`)
	fails("processes that have left no word", `INSERT INTO towpath.process (client_id) VALUES ('worker')`)
	require.Empty(t, left, "every check")
}
