package pilot

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/uniquestates"
	"github.com/riverqueue/river/rivertype"
)

// insertStatement inserts jobs in the order given and tells their queues in the same statement. Only what the database
// decides comes back. Times that the caller leaves open are the database's: River compares them with its clock at the
// fetch, and a client whose clock runs ahead would keep its jobs waiting. JSON travels as text (see jsonText).
//
// It locks nothing but the rows it inserts. With unique keys (CONFLICT) an insert waits for another transaction that is
// inserting the same key, as any unique index makes it, and locks the row that it finds. That row comes back whole, so that
// nobody has to ask for it.
func insertStatement(source insertSource, conflict string) statement {
	existing := "NULL::text"
	if conflict != "" {
		existing = "CASE WHEN xmax <> 0 THEN row_to_json(river_job)::text END"
	}
	return build(`
WITH input AS (
	INPUT
), told AS MATERIALIZED (
	SELECT count(pg_notify(TOPIC, payload)) AS n FROM PAYLOADS AS payload
)
INSERT INTO SCHEMA.river_job AS river_job (id, args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at, state,
	tags, unique_key, unique_states)
SELECT coalesce(id, nextval('SCHEMA.river_job_id_seq'::regclass)), args::jsonb, coalesce(created_at, clock_timestamp()), kind,
	max_attempts, metadata::jsonb, priority, queue, coalesce(scheduled_at, clock_timestamp()), state::SCHEMA.river_job_state,
	string_to_array(tags, ',')::varchar(255)[], unique_key, nullif(unique_states, 0)::bit(8)
FROM input
WHERE (SELECT n FROM told) >= 0
CONFLICT
RETURNING id, created_at, scheduled_at, EXISTING`,
		"CONFLICT", conflict, "EXISTING", existing, "INPUT", source.jobs, "PAYLOADS", source.payloads, "TOPIC", topicOf(source.schema, "'river_insert'"))
}

// insertSource is how an insert gets its parameters: the jobs, the payloads to notify, the schema.
type insertSource struct{ jobs, payloads, schema string }

// fromArrays takes a column each.
var fromArrays = insertSource{
	jobs: `SELECT * FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[], $5::smallint[], $6::text[], $7::smallint[],
		$8::text[], $9::timestamptz[], $10::text[], $11::text[], $12::bytea[], $13::int[])
		AS t (id, args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at, state, tags, unique_key, unique_states)`,
	payloads: "unnest($14::text[])", schema: "$15",
}

const joinUnique = `
ON CONFLICT (unique_key)
	WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL AND SCHEMA.river_job_state_in_bitmask(unique_states, state)
	-- A conflict returns its row only where something is updated.
	DO UPDATE SET kind = river_job.kind`

var (
	insertPlainStatement  = insertStatement(fromArrays, "")
	insertUniqueStatement = insertStatement(fromArrays, joinUnique)
)

// JobInsertMany inserts jobs in the caller's transaction and notifies their queues. Where that transaction is for the insert
// alone, the insert goes by a statement that may be shared with other callers.
func (p *Pilot) JobInsertMany(ctx context.Context, exec riverdriver.ExecutorTx, params *riverdriver.JobInsertFastManyParams) ([]*riverdriver.JobInsertFastResult, error) {
	x, db := own(exec), querier(p.pool)
	alone := p.insertsAlone(ctx, exec, params.Jobs)
	if x != nil && !alone {
		db = x.db
	}
	if x == nil || !x.storage.has(ctx, db, params.Schema) || !x.storage.notifies() {
		return p.StandardPilot.JobInsertMany(ctx, exec, params)
	}
	if alone {
		return p.group.insert(ctx, params)
	}
	return x.insert(ctx, params, p.tell(params.Jobs))
}

// tell returns the queues to notify of jobs that are being inserted, and lets this process know of those that fall due.
func (p *Pilot) tell(jobs []*riverdriver.JobInsertFastParams) []string {
	queues := p.bell.ring(jobs)
	if p.due.inserting(jobs) && p.bell.of(leaderCall).Allow() {
		queues = append(queues, leaderCall)
	}
	return queues
}

// insert runs the statement and notifies the queues.
func (x *Executor) insert(ctx context.Context, params *riverdriver.JobInsertFastManyParams, queues []string) ([]*riverdriver.JobInsertFastResult, error) {
	insert, input := insertPlainStatement, newInsertInput(params.Jobs)
	if input.unique {
		insert = insertUniqueStatement
	}
	// In the connection's own mode, which is to plan it once: it reads no table, so that no plan of it can be wrong, and
	// planning is two thirds of the cost of a single insert.
	rows, err := x.db.Query(ctx, insert.in(params.Schema), input.ids, input.args, input.createdAt, input.kinds,
		input.maxAttempts, input.metadata, input.priorities, input.queues, input.scheduledAt, input.states, input.tags,
		input.uniqueKeys, input.uniqueStates, payloads(queues), params.Schema)
	if err != nil {
		return nil, riverError(err)
	}
	results := make([]*riverdriver.JobInsertFastResult, 0, len(params.Jobs))
	var back insertedBack
	// Rows come back in the order of the input: the statement has one source and keeps its order.
	_, err = pgx.ForEachRow(rows, back.fields(), func() error {
		result, err := back.result(params.Jobs, input, len(results))
		results = append(results, result)
		return err
	})
	if err != nil {
		return nil, riverError(err)
	}
	return results, nil
}

// insertedBack is what the statement returns of a job: what the database decided, or the job that was there before it.
type insertedBack struct {
	id                     int64
	createdAt, scheduledAt time.Time
	existing               *string
}

// fields are where a row is scanned into.
func (b *insertedBack) fields() []any { return []any{&b.id, &b.createdAt, &b.scheduledAt, &b.existing} }

// result is what became of the job of that index.
func (b *insertedBack) result(jobs []*riverdriver.JobInsertFastParams, input *insertInput, i int) (*riverdriver.JobInsertFastResult, error) {
	job := insertedRow(jobs[i], input, i)
	if b.existing != nil {
		var err error
		if job, err = decodeRow(*b.existing); err != nil {
			return nil, fmt.Errorf("read job %d, which has the same unique key: %w", b.id, err)
		}
		job.UniqueKey = input.uniqueKeys[i]
	}
	job.ID, job.CreatedAt, job.ScheduledAt = b.id, b.createdAt.UTC(), b.scheduledAt.UTC()
	return &riverdriver.JobInsertFastResult{Job: job, UniqueSkippedAsDuplicate: b.existing != nil}, nil
}

// insertPayload is River's notification of a queue.
func insertPayload(queue string) string { return `{"queue": "` + queue + `"}` }

func payloads(queues []string) []string {
	payloads := make([]string, len(queues))
	for i, queue := range queues {
		payloads[i] = insertPayload(queue)
	}
	return payloads
}

// insertInput is a batch of jobs by column.
type insertInput struct {
	ids          []*int64
	args         []string
	createdAt    []*time.Time
	kinds        []string
	maxAttempts  []int16
	metadata     []string
	priorities   []int16
	queues       []string
	scheduledAt  []*time.Time
	states       []string
	tags         []string
	uniqueKeys   [][]byte
	uniqueStates []int32
	unique       bool // at least one job has a unique key
}

const emptyObject = "{}"

func newInsertInput(jobs []*riverdriver.JobInsertFastParams) *insertInput {
	n := len(jobs)
	in := &insertInput{
		ids: make([]*int64, n), args: make([]string, n), createdAt: make([]*time.Time, n), kinds: make([]string, n),
		maxAttempts: make([]int16, n), metadata: make([]string, n), priorities: make([]int16, n), queues: make([]string, n),
		scheduledAt: make([]*time.Time, n), states: make([]string, n), tags: make([]string, n), uniqueKeys: make([][]byte, n),
		uniqueStates: make([]int32, n),
	}
	for i, job := range jobs {
		in.args[i] = cmp.Or(string(job.EncodedArgs), emptyObject)
		in.createdAt[i], in.scheduledAt[i] = job.CreatedAt, job.ScheduledAt
		in.kinds[i], in.queues[i], in.states[i] = job.Kind, job.Queue, string(job.State)
		in.maxAttempts[i] = int16(min(job.MaxAttempts, math.MaxInt16)) //nolint:gosec // bounded
		in.metadata[i] = cmp.Or(string(job.Metadata), emptyObject)
		in.priorities[i] = int16(min(job.Priority, math.MaxInt16)) //nolint:gosec // bounded
		in.tags[i] = strings.Join(job.Tags, ",")                   // a tag has no comma
		in.uniqueStates[i] = int32(job.UniqueStates)
		if job.ID != nil && *job.ID != 0 {
			in.ids[i] = job.ID
		}
		if len(job.UniqueKey) > 0 {
			in.uniqueKeys[i], in.unique = job.UniqueKey, true
		}
	}
	return in
}

// insertedRow is the row that the statement writes for a job, without what the database decides.
func insertedRow(job *riverdriver.JobInsertFastParams, in *insertInput, i int) *rivertype.JobRow {
	tags := job.Tags
	if tags == nil {
		tags = []string{}
	}
	return &rivertype.JobRow{
		EncodedArgs: []byte(in.args[i]), Errors: []rivertype.AttemptError{}, Kind: job.Kind, MaxAttempts: int(in.maxAttempts[i]),
		Metadata: []byte(in.metadata[i]), Priority: int(in.priorities[i]), Queue: job.Queue, State: job.State, Tags: tags,
		UniqueKey: in.uniqueKeys[i], UniqueStates: uniquestates.UniqueBitmaskToStates(job.UniqueStates),
	}
}

// notifyStatement notifies queues. It is a statement of its own behind COPY, which returns nothing.
var notifyStatement = build("SELECT pg_notify(TOPIC, payload) FROM unnest($2::text[]) AS payload", "TOPIC", topicOf("$1", "'river_insert'"))

// JobInsertFastManyNoReturning copies jobs in. River stamps them with the client's clock where the caller left it open;
// here they get the database's, for the reason given at insertStatement.
func (x *Executor) JobInsertFastManyNoReturning(ctx context.Context, params *riverdriver.JobInsertFastManyParams) (int, error) {
	if !x.hasLine(ctx, params.Schema) || !x.storage.notifies() {
		return x.Executor.JobInsertFastManyNoReturning(ctx, params)
	}
	var now time.Time
	if err := x.db.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now); err != nil {
		return 0, riverError(err)
	}
	var queues []string
	jobs := make([]*riverdriver.JobInsertFastParams, len(params.Jobs))
	for i, job := range params.Jobs {
		stamped := *job
		if stamped.CreatedAt == nil {
			stamped.CreatedAt = &now
		}
		if stamped.ScheduledAt == nil {
			stamped.ScheduledAt = &now
		}
		jobs[i] = &stamped
		if job.State == rivertype.JobStateAvailable && !slices.Contains(queues, job.Queue) {
			queues = append(queues, job.Queue)
		}
	}
	n, err := x.Executor.JobInsertFastManyNoReturning(ctx, &riverdriver.JobInsertFastManyParams{Jobs: jobs, Schema: params.Schema})
	if err != nil {
		return n, err
	}
	return n, x.tellQueues(ctx, params.Schema, queues...)
}

// tellQueues notifies queues that there are jobs.
func (x *Executor) tellQueues(ctx context.Context, schema string, queues ...string) error {
	if len(queues) == 0 || !x.storage.notifies() {
		return nil
	}
	_, err := x.db.Exec(ctx, notifyStatement.in(schema), schema, payloads(queues))
	return riverError(err)
}

// insertTopic is River's name of the notifications that tell of new jobs.
const insertTopic = "river_insert"

// NotifyMany sends notifications. Those of new jobs were sent by the statement that inserted them, without the limiter
// that River puts in front of this call and that drops what comes shortly after another.
func (x *Executor) NotifyMany(ctx context.Context, params *riverdriver.NotifyManyParams) error {
	if params.Topic == insertTopic && x.hasLine(ctx, params.Schema) && x.storage.notifies() {
		return nil
	}
	return x.Executor.NotifyMany(ctx, params)
}
