package migrations_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/badinput"
	"github.com/towpath/towpath/internal/testdb"
)

// enqueueSQL calls enqueue with the parameters that a JSON object holds, so that one table serves enqueue and
// enqueue_many.
const enqueueSQL = `SELECT e.id, e.state, e.skipped FROM json_to_record($1::text::json) AS r(kind text, args json, queue text, priority int,
	scheduled_at timestamptz, max_attempts int, tags text[], unique_key text, unique_by_args bool, unique_period interval, unique_queue bool,
	unique_states text[], unique_args text[], unique_exclude_kind bool, metadata json),
	towpath.enqueue(r.kind, r.args, r.queue, r.priority, r.scheduled_at, r.max_attempts, r.tags, r.unique_key, r.unique_by_args,
		r.unique_period, r.unique_queue, r.unique_states, r.unique_args, r.unique_exclude_kind, r.metadata) e`

const enqueueManySQL = `SELECT id, state, skipped FROM towpath.enqueue_many($1::text::json)`

// enqueued is what enqueue answers.
type enqueued struct {
	ID      int64
	State   string
	Skipped bool
}

func enqueue(t *testing.T, db querier, job map[string]any) enqueued {
	t.Helper()
	encoded, err := json.Marshal(job)
	require.NoError(t, err)
	rows, err := db.Query(t.Context(), enqueueSQL, string(encoded))
	require.NoError(t, err)
	result, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[enqueued])
	require.NoError(t, err)
	return result
}

func enqueueMany(t *testing.T, db querier, jobs string) []enqueued {
	t.Helper()
	rows, err := db.Query(t.Context(), enqueueManySQL, jobs)
	require.NoError(t, err)
	results, err := pgx.CollectRows(rows, pgx.RowToStructByPos[enqueued])
	require.NoError(t, err)
	return results
}

func TestEnqueueRefuses(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	for _, test := range badinput.Cases {
		t.Run(test.Name, func(t *testing.T) {
			job := map[string]any{"kind": "mail.send"}
			maps.Copy(job, test.Job)
			encoded, err := json.Marshal(job)
			require.NoError(t, err)
			calls := map[string]struct{ sql, arg, detail string }{
				"enqueue":      {enqueueSQL, string(encoded), "Parameter " + test.Parameter + " of enqueue."},
				"enqueue_many": {enqueueManySQL, `[{"kind":"mail.send"},` + string(encoded) + `]`, "Parameter " + test.Parameter + " of job 2."},
				"enqueue_many beside a unique job": {
					enqueueManySQL, `[{"kind":"mail.send","unique_key":"one"},` + string(encoded) + `]`, "Parameter " + test.Parameter + " of job 2.",
				},
			}
			for name, call := range calls {
				savepoint(t, tx, func(tx pgx.Tx) {
					err := refused(t, tx, call.sql, call.arg)
					require.Equal(t, test.Message, err.Message, name)
					require.Equal(t, test.SQLState(), err.Code, name)
					if test.Code != "" {
						return // Postgres' own
					}
					require.Equal(t, test.Parameter, err.ColumnName, name)
					require.Equal(t, call.detail, err.Detail, name)
					require.NotEmpty(t, err.Hint, name)
					if test.Hint != "" {
						require.Equal(t, test.Hint, err.Hint, name)
					}
				})
			}
		})
	}
}

func TestEnqueueManyRefuses(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	tests := []struct{ name, jobs, message, detail string }{
		{"NoArray", `{"kind":"mail.send"}`, `jobs must be a JSON array of objects, not object`, `Parameter jobs of enqueue_many.`},
		{"Null", `null`, `jobs must be a JSON array of objects, not null`, `Parameter jobs of enqueue_many.`},
		{"NoObject", `[{"kind":"mail.send"},3]`, `job must be a JSON object, not number`, `Job 2 of jobs.`},
		{"UnknownProperty", `[{"kind":"mail.send","que":"mail"}]`, `job has the unknown property "que"`, `Job 1 of jobs.`},
		{
			"TooMany", `[` + strings.Repeat(`{"kind":"mail.send"},`, 99_999) + `{"kind":"mail.send"}]`,
			badinput.TooMany, `Parameter jobs of enqueue_many.`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			savepoint(t, tx, func(tx pgx.Tx) {
				err := refused(t, tx, enqueueManySQL, test.jobs)
				require.Equal(t, test.message, err.Message)
				require.Equal(t, test.detail, err.Detail)
				require.Equal(t, "22023", err.Code)
				require.Equal(t, "jobs", err.ColumnName)
				require.NotEmpty(t, err.Hint)
			})
		})
	}
	require.Equal(t, "22023", refused(t, tx, `SELECT * FROM towpath.enqueue_many(NULL)`).Code)
}

func TestEnqueueNoJSON(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	err := refused(t, tx, `SELECT * FROM towpath.enqueue('mail.send', '{"customer": 42')`)
	require.Equal(t, "22P02", err.Code)
	require.Equal(t, badinput.NoJSON, err.Message)
}

// jobRow is what an insert leaves, but for ids and times.
type jobRow struct {
	Kind, Args, Queue, State, Metadata string
	Priority, MaxAttempts, Attempt     int
	Tags                               []string
	UniqueKey                          []byte
	UniqueStates                       *string
	ScheduledAt, CreatedAt             time.Time
}

func readJob(t *testing.T, db querier, id int64) jobRow {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT kind, args::text, queue, state::text, metadata::text, priority, max_attempts, attempt, tags,
		unique_key, unique_states::text, scheduled_at, created_at FROM towpath.river_job WHERE id = $1`, id)
	require.NoError(t, err)
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[jobRow])
	require.NoError(t, err)
	return row
}

func TestEnqueueDefaults(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	var before, after time.Time
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&before))
	id := one[int64](t, tx, `SELECT id FROM towpath.enqueue('mail.send')`)
	require.NoError(t, tx.QueryRow(t.Context(), `SELECT clock_timestamp()`).Scan(&after))

	row := readJob(t, tx, id)
	require.False(t, row.ScheduledAt.Before(before), "the time of the call, not of the transaction")
	require.False(t, row.ScheduledAt.After(after))
	require.Equal(t, row.ScheduledAt, row.CreatedAt)
	row.ScheduledAt, row.CreatedAt = time.Time{}, time.Time{}
	want := jobRow{Kind: "mail.send", Args: "{}", Queue: "default", State: "available", Metadata: "{}", Priority: 1, MaxAttempts: 25, Tags: []string{}}
	require.Equal(t, want, row)

	// Drivers send NULL for what was left out.
	all := enqueue(t, tx, map[string]any{"kind": "mail.send"})
	row = readJob(t, tx, all.ID)
	row.ScheduledAt, row.CreatedAt = time.Time{}, time.Time{}
	require.Equal(t, want, row)
}

func TestEnqueueGivesEverything(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	due := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	tags := []string{"alpha", "b-2", strings.Repeat("t", 255), strings.Repeat("u", 255)}
	result := enqueue(t, tx, map[string]any{
		"kind": "mail[eu].send", "args": map[string]any{"customer": 42}, "queue": "slow-mail", "priority": 4, "scheduled_at": due,
		"max_attempts": 3, "tags": tags, "metadata": map[string]any{"trace": "x"},
	})
	require.Equal(t, "scheduled", result.State)
	require.False(t, result.Skipped)
	row := readJob(t, tx, result.ID)
	require.Equal(t, due, row.ScheduledAt.UTC())
	row.ScheduledAt, row.CreatedAt = time.Time{}, time.Time{}
	require.Equal(t, jobRow{
		Kind: "mail[eu].send", Args: `{"customer": 42}`, Queue: "slow-mail", State: "scheduled", Metadata: `{"trace": "x"}`,
		Priority: 4, MaxAttempts: 3, Tags: tags,
	}, row)
}

func TestEnqueueInThePastIsNow(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	start := one[time.Time](t, tx, `SELECT clock_timestamp()`)
	for _, result := range append(
		enqueueMany(t, tx, `[{"kind":"mail.send","scheduled_at":"2020-02-02 02:02:02+00"}]`),
		enqueue(t, tx, map[string]any{"kind": "mail.send", "scheduled_at": "2020-02-02 02:02:02+00"}),
	) {
		require.Equal(t, "available", result.State)
		require.False(t, readJob(t, tx, result.ID).ScheduledAt.Before(start))
	}
}

func TestEnqueueManyKeepsOrder(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	first := enqueue(t, tx, map[string]any{"kind": "order", "unique_key": "there"})
	results := enqueueMany(t, tx, `[
		{"kind":"order","args":{"n":1}},
		{"kind":"order","unique_key":"there"},
		{"kind":"order","unique_key":"new","args":{"n":3}},
		{"kind":"order","unique_key":"new","args":{"n":4}},
		{"kind":"order","args":{"n":5},"scheduled_at":"2199-01-01 00:00:00+00"},
		{"kind":"order","args":{"n":6},"queue":"other"}]`)
	require.Len(t, results, 6)
	states, skips := []string{}, []bool{}
	for _, result := range results {
		states, skips = append(states, result.State), append(skips, result.Skipped)
	}
	require.Equal(t, []string{"available", "available", "available", "available", "scheduled", "available"}, states)
	require.Equal(t, []bool{false, true, false, true, false, false}, skips)
	require.Equal(t, first.ID, results[1].ID)
	require.Equal(t, results[2].ID, results[3].ID, "a job that repeats one of the same call is skipped")
	for i, n := range map[int]string{0: `{"n": 1}`, 2: `{"n": 3}`, 4: `{"n": 5}`, 5: `{"n": 6}`} {
		require.Equal(t, n, readJob(t, tx, results[i].ID).Args)
	}
	require.Empty(t, enqueueMany(t, tx, `[]`))
}

// Jobs among which none has unique options go a shorter way, with the same rows at its end.
func TestEnqueueManyIsAlikeBesideUniqueJobs(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	var plain []string
	for n := range 200 {
		job := fmt.Sprintf(`{"kind":"alike","args":{"n":%d, "b": 1.50},"queue":"q%d"`, n, n%3)
		switch n % 4 {
		case 1:
			job += `,"priority":3,"max_attempts":7,"tags":["one","two"],"metadata":{"m": [1]}`
		case 2:
			job += `,"scheduled_at":"2100-01-02 03:04:05+00"`
		case 3:
			job += `,"args":null,"queue":null,"priority":null,"scheduled_at":null,"max_attempts":null,"tags":null,"metadata":null`
		}
		plain = append(plain, job+`}`)
	}
	rows := func(jobs []string) []string {
		t.Helper()
		results := enqueueMany(t, pool, `[`+strings.Join(jobs, ",")+`]`)
		require.Len(t, results, len(jobs))
		ids := make([]int64, len(results))
		for i, result := range results {
			require.False(t, result.Skipped)
			ids[i] = result.ID
		}
		return all[string](t, pool, `
			SELECT concat_ws(' ', args, attempt, kind, max_attempts, metadata, priority, queue, state, tags, unique_key, unique_states,
				scheduled_at > created_at, CASE WHEN state = 'scheduled' THEN scheduled_at END)
			FROM unnest($1::bigint[]) WITH ORDINALITY AS given (id, n) JOIN towpath.river_job USING (id) ORDER BY n`, ids)
	}
	want := rows(plain)
	require.Len(t, want, len(plain))
	require.Equal(t, want, rows(append(slices.Clone(plain), `{"kind":"other","unique_key":"other"}`))[:len(plain)])
}

func TestEnqueueManyIsWhole(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	err := refused(t, pool, enqueueManySQL, `[{"kind":"whole"},{"kind":"whole","priority":7},{"kind":"not whole"}]`)
	require.Equal(t, "priority 7 must be from 1 to 4", err.Message, "the first fault is told")
	require.Zero(t, one[int](t, pool, `SELECT count(*) FROM towpath.river_job`))
}
