package pilot

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
)

// fetchTimeout bounds a fetch, as River bounds its own. A fetch whose answer is lost leaves jobs running that nobody
// holds; the fleet hands them back.
const fetchTimeout = 10 * time.Second

// claimBody takes the jobs that CANDIDATES selects: queue $1, at most $2 of them, for client $3, at the time $4 (now
// when null), keeping $5 names of former clients, of the kinds in $6 (all when null).
//
// The candidates are locked with SKIP LOCKED, so that fetches never wait for each other or for whoever else holds a
// row, and reach the update as an array of ids, which leaves the planner one shape: primary key look-ups. Joining the
// candidates instead was planned as a sequential scan as soon as statistics were fresh.
var claimBody = build(`
claimed AS (
	UPDATE SCHEMA.river_job
	SET state = 'running', attempt = attempt + 1, attempted_at = coalesce($4::timestamptz, now()),
		attempted_by = array_append(CASE WHEN array_length(attempted_by, 1) >= $5::int
			THEN attempted_by[array_length(attempted_by, 1) + 2 - $5::int:] ELSE attempted_by END, $3::text)
	WHERE id = ANY(ARRAY(CANDIDATES))
	RETURNING *, date_part('epoch', coalesce($4::timestamptz, now()) - scheduled_at) AS waited
), counted AS (
	COUNT
)
SELECT JOB_COLUMNS FROM claimed`,
	"JOB_COLUMNS", jobColumns, "COUNT", countInto("claimed", "'started'", "waited"))

const waitingInQueue = `state = 'available' AND queue = $1::text AND ($6::text[] IS NULL OR kind = ANY($6::text[]))
		AND scheduled_at <= coalesce($4::timestamptz, now())`

// fetchStatement scans the waiting jobs of a queue from the front, exactly as River does.
//
// Statistics that were made before the jobs came promise fewer jobs than the limit, for which sorting them all looks
// cheap. A limit from a subquery is not known to the planner, so it reckons with reading a part of them, in order.
var fetchStatement = build("WITH "+string(claimBody), "CANDIDATES", `
		SELECT id FROM SCHEMA.river_job WHERE `+waitingInQueue+`
		ORDER BY priority, scheduled_at, id LIMIT (SELECT $2::int) FOR UPDATE SKIP LOCKED`)

// JobGetAvailable fetches jobs for one queue of this client.
func (p *Pilot) JobGetAvailable(ctx context.Context, exec riverdriver.Executor, state riverpilot.ProducerState, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	x := own(exec)
	s, ours := state.(*producer)
	if params.MaxToLock <= 0 || x == nil || !ours || s.marks == nil {
		return p.StandardPilot.JobGetAvailable(ctx, exec, state, params)
	}
	if !p.fleet.mayFetch() {
		return &riverdriver.JobGetAvailableResult{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	result, err := s.fetch(ctx, x, params)
	if err != nil {
		p.fleet.noteFailedFetch()
		return nil, err
	}
	return result, nil
}

// JobGetAvailable fetches without a producer: River's test helpers come this way.
func (x *Executor) JobGetAvailable(ctx context.Context, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	if !x.hasLine(ctx, params.Schema) {
		return x.Executor.JobGetAvailable(ctx, params)
	}
	return x.claim(ctx, fetchStatement, params)
}

// claim runs a fetch statement; more are the parameters after the common six.
func (x *Executor) claim(ctx context.Context, fetch statement, params *riverdriver.JobGetAvailableParams, more ...any) (*riverdriver.JobGetAvailableResult, error) {
	args := append([]any{params.Queue, params.MaxToLock, params.ClientID, params.Now, params.MaxAttemptedBy, params.Kind}, more...)
	result := &riverdriver.JobGetAvailableResult{}
	read := func(rows pgx.Rows) (err error) {
		result.Jobs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (*rivertype.JobRow, error) {
			job, decodeErr, err := scanJob(row)
			if decodeErr != nil {
				if result.DecodeErrors == nil {
					result.DecodeErrors = make(map[int64]error)
				}
				result.DecodeErrors[job.ID] = decodeErr
			}
			return job, err
		})
		return err
	}
	var err error
	if len(more) == 0 {
		err = x.hot(ctx, fetch, params.Schema, args, read)
	} else { // of a mark that it does not know the planner expects too little, and sorts what waits instead of reading it in order
		err = x.once(ctx, x.db, fetch, params.Schema, args, read)
	}
	if err != nil {
		return nil, err
	}
	// An update returns its rows in no order; handlers begin in the order of the queue.
	slices.SortFunc(result.Jobs, func(a, b *rivertype.JobRow) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.ScheduledAt.Compare(b.ScheduledAt), cmp.Compare(a.ID, b.ID))
	})
	return result, nil
}

// hold takes the fetched jobs into the client's keeping.
func (p *Pilot) hold(ctx context.Context, x *Executor, schema string, result *riverdriver.JobGetAvailableResult) {
	twice := p.held.add(result.Jobs)
	if len(twice) > 0 {
		result.Jobs = slices.DeleteFunc(result.Jobs, func(job *rivertype.JobRow) bool { return slices.Contains(twice, job) })
		// The others are held and have to be worked, so an error is no error of the fetch. Jobs that could not go back stay
		// running until the fleet finds that nobody holds this attempt.
		if err := p.returnTwiceHeld(ctx, x, schema, twice); err != nil {
			p.fleet.Logger.WarnContext(ctx, "hand back jobs that are still being worked here", slog.Any("error", err))
		}
	}
}

// twiceHeldPause is how long a job waits that came back to a client that is still working an earlier attempt of it.
// Other clients take it meanwhile; this one looks again afterwards. writtenPause is the same where the attempt has ended
// and only River's completer has not asked yet, which it does every 250 ms: the job was retried by hand as soon as its end
// was seen.
const (
	twiceHeldPause = time.Second
	writtenPause   = 300 * time.Millisecond
)

// returnTwiceHeld hands back jobs that the client holds already: they were rescued or handed back by somebody while
// their handler here goes on, or retried before River's completer knows of their end. Leaving held ids out of the fetch
// would cost an array of every held id with each fetch, for a case that hardly ever comes.
func (p *Pilot) returnTwiceHeld(ctx context.Context, x *Executor, schema string, jobs []*rivertype.JobRow) error {
	endings := make([]ending, len(jobs))
	for i, job := range jobs {
		pause := twiceHeldPause
		if p.held.isWritten(job.ID) {
			pause = writtenPause
		}
		due := job.AttemptedAt.Add(pause) // by the clock that the next fetch goes by
		endings[i] = unbegun(job.ID, job.Attempt, job.AttemptedAt)
		endings[i].dueAt = &due
	}
	rows, err := x.settleSafely(ctx, schema, nil, endings)
	p.ended(ctx, x, schema, rows)
	return err
}
