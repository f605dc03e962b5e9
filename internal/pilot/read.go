package pilot

import (
	"context"
	"maps"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// bothTables reads live and finished jobs as one relation. One statement sees one snapshot, so a job on its way from
// one table to the other is seen exactly once.
var bothTables = build(`(SELECT JOB_COLUMNS FROM SCHEMA.river_job UNION ALL SELECT JOB_COLUMNS FROM SCHEMA.job_history)`,
	"JOB_COLUMNS", jobColumns)

var (
	byIDStatement = build(`
SELECT JOB_COLUMNS FROM SCHEMA.river_job WHERE id = $1::bigint
UNION ALL
SELECT JOB_COLUMNS FROM SCHEMA.job_history WHERE id = $1::bigint
LIMIT 1`, "JOB_COLUMNS", jobColumns)

	byIDsStatement = build(`
SELECT JOB_COLUMNS FROM SCHEMA.river_job WHERE id = ANY($1::bigint[])
UNION ALL
SELECT JOB_COLUMNS FROM SCHEMA.job_history WHERE id = ANY($1::bigint[])
ORDER BY id`, "JOB_COLUMNS", jobColumns)

	byKindStatement = build(`SELECT JOB_COLUMNS FROM BOTH AS job WHERE kind = ANY($1::text[]) ORDER BY id`,
		"JOB_COLUMNS", jobColumns, "BOTH", string(bothTables))

	listStatement = build(`SELECT JOB_COLUMNS FROM BOTH AS river_job WHERE `, "JOB_COLUMNS", jobColumns, "BOTH", string(bothTables))

	countByStateStatement = build(`
SELECT state::text, sum(n)::bigint FROM (
	SELECT state, count(*) AS n FROM SCHEMA.river_job GROUP BY 1
	UNION ALL
	SELECT state, count(*) AS n FROM SCHEMA.job_history GROUP BY 1
) AS counts GROUP BY 1`)

	kindsStatement = statement(`
SELECT kind FROM (
	SELECT kind FROM SCHEMA.counter UNION SELECT kind FROM SCHEMA.counter_delta UNION SELECT kind FROM SCHEMA.river_job
) AS kinds
WHERE ($1::text = '' OR kind ILIKE '%' || $1 || '%') AND ($2::text = '' OR kind > $2) AND ($3::text[] IS NULL OR kind <> ALL ($3))
ORDER BY kind LIMIT $4::int`)
)

// JobGetByID finds a job, live or finished.
func (x *Executor) JobGetByID(ctx context.Context, params *riverdriver.JobGetByIDParams) (*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobGetByID(ctx, params)
	}
	return one(queryJobs(ctx, x.db, strict, byIDStatement.in(params.Schema), x.storage.unnamed(params.ID)...))
}

// JobGetByIDMany finds jobs, live or finished, in the order of their ids.
func (x *Executor) JobGetByIDMany(ctx context.Context, params *riverdriver.JobGetByIDManyParams) ([]*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobGetByIDMany(ctx, params)
	}
	return queryJobs(ctx, x.db, strict, byIDsStatement.in(params.Schema), x.storage.unnamed(params.ID)...)
}

// JobGetByKindMany finds all jobs of some kinds. It reads everything and is for tests.
func (x *Executor) JobGetByKindMany(ctx context.Context, params *riverdriver.JobGetByKindManyParams) ([]*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobGetByKindMany(ctx, params)
	}
	return queryJobs(ctx, x.db, strict, byKindStatement.in(params.Schema), params.Kind)
}

// JobList lists live and finished jobs by River's conditions.
func (x *Executor) JobList(ctx context.Context, params *riverdriver.JobListParams) ([]*rivertype.JobRow, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobList(ctx, params)
	}
	sql, args := listQuery(params, params.WhereClause)
	return queryJobs(ctx, x.db, strict, sql, args)
}

// listQuery completes listStatement with River's clauses, which name their parameters.
func listQuery(params *riverdriver.JobListParams, where string) (string, pgx.NamedArgs) {
	named := pgx.NamedArgs{"towpath_limit": params.Max}
	maps.Copy(named, params.NamedArgs)
	sql := listStatement.in(params.Schema) + where + " ORDER BY " + params.OrderByClause + " LIMIT @towpath_limit::int"
	return sql, named
}

// JobCountByAllStates counts live and finished jobs. It reads every index entry of both tables; towpath.counters and
// towpath.queues answer at once.
func (x *Executor) JobCountByAllStates(ctx context.Context, params *riverdriver.JobCountByAllStatesParams) (map[rivertype.JobState]int, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobCountByAllStates(ctx, params)
	}
	counts := make(map[rivertype.JobState]int)
	for _, state := range rivertype.JobStates() {
		counts[state] = 0
	}
	rows, err := x.db.Query(ctx, countByStateStatement.in(params.Schema))
	if err != nil {
		return nil, riverError(err)
	}
	var (
		state string
		n     int
	)
	_, err = pgx.ForEachRow(rows, []any{&state, &n}, func() error {
		counts[rivertype.JobState(state)] = n
		return nil
	})
	return counts, riverError(err)
}

// JobCountByState counts the jobs in one state.
func (x *Executor) JobCountByState(ctx context.Context, params *riverdriver.JobCountByStateParams) (int, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobCountByState(ctx, params)
	}
	var n int
	err := x.db.QueryRow(ctx, build(`SELECT count(*) FROM BOTH AS job WHERE state::text = $1::text`, "BOTH", string(bothTables)).in(params.Schema),
		string(params.State)).Scan(&n)
	return n, riverError(err)
}

// JobKindList lists the kinds that were ever seen.
func (x *Executor) JobKindList(ctx context.Context, params *riverdriver.JobKindListParams) ([]string, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobKindList(ctx, params)
	}
	rows, err := x.db.Query(ctx, kindsStatement.in(params.Schema), params.Match, params.After, params.Exclude, params.Max)
	if err != nil {
		return nil, riverError(err)
	}
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return kinds, riverError(err)
}
