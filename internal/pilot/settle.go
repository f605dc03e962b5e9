package pilot

import (
	"context"
	"slices"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// answerStatement returns the rows of jobs that a finish found already ended, from both tables: those of $1 with the
// metadata of $3 merged into them, and those of $5. After JobCompleteTx River's executor still reports the end, and the
// row makes its event.
//
// A row is answered to the attempt that ended it ($2 and $6, where the asker held a token) and to nobody else. With a
// token history is asked from about that moment on only ($4), which leaves one or two partitions to look into. The
// updates lock by primary key or by the id's index and wait for nothing but another update of the same finished row. A
// condition that is always true and that the planner expects few ids to fulfil (MORE) leads to those indexes, and so does
// the limit of the subqueries, whatever the statistics say.
var answerStatement = build(`
WITH merging AS (
	SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[]) AS t (id, token, merge)
), reading AS (
	SELECT * FROM unnest($5::bigint[], $6::timestamptz[]) AS t (id, token)
), live AS (
	UPDATE SCHEMA.river_job j SET metadata = j.metadata || asked.merge::jsonb
	FROM merging AS asked
	WHERE j.id = asked.id AND MORE AND ENDED_BY_J
	RETURNING j.*
), kept AS (
	UPDATE SCHEMA.job_history h SET metadata = h.metadata || asked.merge::jsonb
	FROM merging AS asked
	WHERE h.id = asked.id AND MORE AND h.archived_at >= $4::timestamptz AND ENDED_BY_H
	RETURNING h.*
)
SELECT LIVE_COLUMNS FROM live
UNION ALL
SELECT KEPT_COLUMNS FROM kept
UNION ALL
SELECT JOB_COLUMNS_OF_L FROM reading AS asked CROSS JOIN LATERAL (
	SELECT * FROM SCHEMA.river_job j WHERE j.id = asked.id AND ENDED_BY_J LIMIT 1
) l
UNION ALL
SELECT JOB_COLUMNS_OF_L FROM reading AS asked CROSS JOIN LATERAL (
	SELECT * FROM SCHEMA.job_history h WHERE h.id = asked.id AND h.archived_at >= $4::timestamptz AND ENDED_BY_H LIMIT 1
) l`,
	"LIVE_COLUMNS", jobColumnsOf("live"), "KEPT_COLUMNS", jobColumnsOf("kept"),
	"MORE", "asked.id = asked.id + 0",
	"ENDED_BY_J", "(asked.token IS NULL OR asked.token = j.attempted_at AND j.finalized_at IS NOT NULL)",
	"ENDED_BY_H", "(asked.token IS NULL OR asked.token = h.attempted_at)",
	"JOB_COLUMNS_OF_L", jobColumnsOf("l"))

// answerSlack is how much earlier than its fetch a job may be archived: archived_at is the begin of the transaction that
// ended it, which a handler may have got from somewhere else, and the database's clock may be set.
const answerSlack = time.Hour

// answerBatch is how many jobs one statement looks up. Of a day of history that was not analyzed yet, the planner expects
// every id thousands of times; more ids than this, and reading all of the day looks cheaper to it.
const answerBatch = 500

// answer looks up jobs that no longer run. Metadata that Postgres cannot store is cleaned, or else left out.
func (x *Executor) answer(ctx context.Context, schema string, endings []ending) ([]*rivertype.JobRow, error) {
	answered := make([]*rivertype.JobRow, 0, len(endings))
	for batch := range slices.Chunk(endings, answerBatch) {
		rows, err := x.answerOnce(ctx, schema, batch)
		for _, mend := range []func(*ending){func(e *ending) { e.merge = cleanJSON(e.merge) }, func(e *ending) { e.merge = nil }} {
			if !unstorable(err) || x.inTx {
				break
			}
			for i := range batch {
				mend(&batch[i])
			}
			rows, err = x.answerOnce(ctx, schema, batch)
		}
		if err != nil {
			return nil, err
		}
		answered = append(answered, rows...)
	}
	return answered, nil
}

func (x *Executor) answerOnce(ctx context.Context, schema string, endings []ending) ([]*rivertype.JobRow, error) {
	var (
		merging, reading             []int64
		mergingTokens, readingTokens []*time.Time
		merges                       []string
	)
	since := time.Now()
	for i := range endings {
		e := &endings[i]
		if e.merge != nil {
			merging, mergingTokens, merges = append(merging, e.id), append(mergingTokens, e.token), append(merges, *e.merge)
		} else {
			reading, readingTokens = append(reading, e.id), append(readingTokens, e.token)
		}
		switch {
		case e.token == nil:
			since = time.Time{}
		case e.token.Add(-answerSlack).Before(since):
			since = e.token.Add(-answerSlack)
		}
	}
	return queryJobs(ctx, x.db, lenient, answerStatement.in(schema),
		x.storage.unnamed(merging, mergingTokens, merges, since, reading, readingTokens)...)
}

// JobSetStateIfRunningMany finishes attempts that nobody holds a token for: River's test helpers come this way.
func (x *Executor) JobSetStateIfRunningMany(ctx context.Context, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobSetStateIfRunningMany(ctx, params)
	}
	endings := newEndings(params)
	rows, err := x.settleSafely(ctx, params.Schema, params.Now, endings)
	if err != nil {
		return nil, err
	}
	rest := unanswered(endings, rows)
	if len(rest) == 0 {
		return rows, nil
	}
	ended, err := x.answer(ctx, params.Schema, rest)
	return append(rows, ended...), err
}

// settleSafely settles, in river_job where history will not take the rows, and without what Postgres cannot store: a job
// must be able to end.
func (x *Executor) settleSafely(ctx context.Context, schema string, now *time.Time, endings []ending) ([]*rivertype.JobRow, error) {
	rows, err := x.settleWhereverItMay(ctx, schema, now, endings)
	if unstorable(err) && !x.inTx {
		return x.settleCleaned(ctx, schema, now, endings, err)
	}
	return rows, err
}

func (x *Executor) settleWhereverItMay(ctx context.Context, schema string, now *time.Time, endings []ending) (rows []*rivertype.JobRow, err error) {
	err = x.whereverItMay(func(inPlace bool) (err error) {
		rows, err = x.settle(ctx, schema, now, inPlace, endings)
		return err
	})
	return rows, err
}

// unanswered returns the endings for which there is no row yet.
func unanswered(endings []ending, rows []*rivertype.JobRow) []ending {
	if len(rows) == len(endings) {
		return nil
	}
	seen := make(map[int64]struct{}, len(rows))
	for _, row := range rows {
		seen[row.ID] = struct{}{}
	}
	var rest []ending
	for i := range endings {
		if _, ok := seen[endings[i].id]; !ok {
			rest = append(rest, endings[i])
		}
	}
	return rest
}

// JobSetStateIfRunningMany finishes attempts for River's completer and for JobCompleteTx.
//
// On the pool a stale attempt finishes nothing and gets no row. In a caller's transaction it gets ErrAttemptOver, so
// that the handler's effects roll back together with the finish that they belong to.
func (p *Pilot) JobSetStateIfRunningMany(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.JobSetStateIfRunningMany(ctx, exec, params)
	}
	if x.inTx {
		endings := newEndings(params)
		p.held.attach(endings)
		return p.finishInTx(ctx, x, params, endings)
	}
	rows, open := p.held.settled(params.ID)
	if len(open) > 0 {
		endings := endingsAt(params, open)
		p.held.attach(endings)
		ended, err := p.finishOnPool(ctx, x, params, endings)
		if err != nil {
			return nil, err // River comes again with all of them
		}
		rows = append(rows, ended...)
	}
	p.held.finished(params.ID)
	return rows, nil
}

func (p *Pilot) finishInTx(ctx context.Context, x *Executor, params *riverdriver.JobSetStateIfRunningManyParams, endings []ending) ([]*rivertype.JobRow, error) {
	rows, err := x.settleSafely(ctx, params.Schema, params.Now, endings)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		p.held.endedInTx(row.ID)
	}
	rest := unanswered(endings, rows)
	if len(rest) == 0 {
		return rows, nil
	}
	for i := range rest {
		if rest[i].token != nil {
			return nil, attemptOver(&rest[i])
		}
	}
	ended, err := x.answer(ctx, params.Schema, rest)
	return append(rows, ended...), err
}

// finishOnPool answers River's completer: from memory what was written already, from the tables what the handler's own
// transaction ended, and by finishing the rest.
func (p *Pilot) finishOnPool(ctx context.Context, x *Executor, params *riverdriver.JobSetStateIfRunningManyParams, endings []ending) ([]*rivertype.JobRow, error) {
	if x.db == querier(p.pool) && params.Now == nil { // others, tests among them, have a connection or a clock of their own
		if err := p.finisher.join(ctx, params.Schema, endings); err != nil {
			return nil, err
		}
	}
	rows, probable, rest := p.held.known(endings)
	if len(probable) > 0 {
		ended, err := x.answer(ctx, params.Schema, probable)
		if err != nil {
			return nil, err
		}
		rows = append(rows, ended...)
		rest = append(rest, unanswered(probable, ended)...)
	}
	if len(rest) == 0 {
		return rows, nil
	}
	finished, err := p.finishRunning(ctx, x, params.Schema, params.Now, rest)
	if err != nil {
		return nil, err
	}
	rows = append(rows, finished...)
	if rest = unanswered(rest, finished); len(rest) == 0 {
		return rows, nil
	}
	ended, err := x.answer(ctx, params.Schema, rest)
	if err != nil {
		return nil, err
	}
	return append(rows, ended...), nil
}

// finishRunning ends jobs that still run. It takes the plain successes by the short statement, which needs no rows back:
// they are rebuilt from the rows that the fetch brought. Of the others it tells those who wake jobs when they are due.
func (p *Pilot) finishRunning(ctx context.Context, x *Executor, schema string, now *time.Time, endings []ending) ([]*rivertype.JobRow, error) {
	rows := make([]*rivertype.JobRow, 0, len(endings))
	plain := make([]ending, 0, len(endings))
	for i := range endings {
		if endings[i].plain() && endings[i].token != nil {
			plain = append(plain, endings[i])
		}
	}
	if len(plain) > 0 && !x.storage.keepsInPlace() {
		ids, err := x.complete(ctx, schema, plain)
		if err != nil && !refusesHistory(err) {
			return nil, err
		}
		rows = p.held.completedRows(rows, ids, plain)
	}
	rest := unanswered(endings, rows)
	if len(rest) == 0 {
		return rows, nil
	}
	settled, err := x.settleSafely(ctx, schema, now, rest)
	p.ended(ctx, x, schema, settled)
	return append(rows, settled...), err
}
