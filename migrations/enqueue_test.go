package migrations_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// A call of enqueue that is refused. The texts are a contract: Go and the command line answer with the same ones.
type refusedCall struct {
	name     string
	job      map[string]any // the parameters of enqueue
	message  string
	hint     string
	column   string // the parameter at fault
	sqlstate string // 22023 when empty
}

var refusedCalls = []refusedCall{
	{
		name: "NoKind", job: map[string]any{"kind": nil}, column: "kind",
		message: `kind must be given`,
		hint:    `The kind names the worker that runs the job, as in 'mail.send'.`,
	},
	{
		name: "KindWithSpace", job: map[string]any{"kind": "mail send"}, column: "kind",
		message: `kind "mail send" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _`,
		hint:    `Name kinds without spaces, as in 'mail.send'.`,
	},
	{
		name: "KindOfOneLetter", job: map[string]any{"kind": "m"}, column: "kind",
		message: `kind "m" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _`,
	},
	{
		name: "KindTooLong", job: map[string]any{"kind": strings.Repeat("k", 128)}, column: "kind",
		message: `kind "` + strings.Repeat("k", 64) + `…" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _`,
	},
	{
		name: "QueueTooLong", job: map[string]any{"queue": strings.Repeat("q", 200)}, column: "queue",
		message: `queue "` + strings.Repeat("q", 64) + `…" must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -`,
		hint:    `Name queues as in 'default' or 'slow-mail'.`,
	},
	{
		name: "QueueInUpperCase", job: map[string]any{"queue": "Mail"}, column: "queue",
		message: `queue "Mail" must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -`,
	},
	{
		name: "EmptyQueue", job: map[string]any{"queue": ""}, column: "queue",
		message: `queue "" must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -`,
	},
	{
		name: "PriorityTooHigh", job: map[string]any{"priority": 9}, column: "priority",
		message: `priority 9 must be from 1 to 4`,
		hint:    `1 is fetched first, 4 last.`,
	},
	{name: "PriorityZero", job: map[string]any{"priority": 0}, column: "priority", message: `priority 0 must be from 1 to 4`},
	{
		name: "MaxAttemptsZero", job: map[string]any{"max_attempts": 0}, column: "max_attempts",
		message: `max_attempts 0 must be from 1 to 32767`,
		hint:    `1 means that a job that fails is not tried again.`,
	},
	{name: "MaxAttemptsTooHigh", job: map[string]any{"max_attempts": 32768}, column: "max_attempts", message: `max_attempts 32768 must be from 1 to 32767`},
	{
		name: "DateIn1905", job: map[string]any{"scheduled_at": "1905-06-07 08:09:10+02"}, column: "scheduled_at",
		message: `scheduled_at 1905-06-07T06:09:10Z must be from 2000-01-01 to 2199-12-31`,
		hint:    `Leave it out for a job that may start now; a Unix time counts seconds, not milliseconds.`,
	},
	{
		name: "DateInYear20000", job: map[string]any{"scheduled_at": "20000-01-01 00:00:00+00"}, column: "scheduled_at",
		message: `scheduled_at 20000-01-01T00:00:00Z must be from 2000-01-01 to 2199-12-31`,
	},
	{
		name: "InfiniteDate", job: map[string]any{"scheduled_at": "infinity"}, column: "scheduled_at",
		message: `scheduled_at infinity must be from 2000-01-01 to 2199-12-31`,
	},
	{
		name: "TagTooShort", job: map[string]any{"tags": []string{"good-tag", "ab"}}, column: "tags",
		message: `tag "ab" must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
		hint:    `Put free text into the metadata or the args.`,
	},
	{
		name: "TagWithComma", job: map[string]any{"tags": []string{"abc,def"}}, column: "tags",
		message: `tag "abc,def" must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
	},
	{
		name: "TagTooLong", job: map[string]any{"tags": []string{strings.Repeat("t", 256)}}, column: "tags",
		message: `tag "` + strings.Repeat("t", 64) + `…" must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
	},
	{
		name: "NullTag", job: map[string]any{"tags": []any{nil}}, column: "tags",
		message: `tag NULL must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
	},
	{
		name: "ArgsNoObject", job: map[string]any{"args": []int{1}}, column: "args",
		message: `args must be a JSON object, not array`,
		hint:    `Wrap the value, as in {"value": 1}.`,
	},
	{
		name: "ArgsTooLarge", job: map[string]any{"args": json.RawMessage(`{"text":"` + strings.Repeat("x", 65537-11) + `"}`)}, column: "args",
		message: `args of 65537 bytes must not exceed 65536`,
		hint:    `Keep the data in a table of your own and its key in args.`,
	},
	{
		name: "ArgsWithNUL", job: map[string]any{"args": json.RawMessage(`{"text":"a\u0000b"}`)}, sqlstate: "22P05",
		message: `unsupported Unicode escape sequence`,
	},
	{name: "MetadataNoObject", job: map[string]any{"metadata": "text"}, column: "metadata", message: `metadata must be a JSON object, not string`},
	{
		name: "UniqueKeyEmpty", job: map[string]any{"unique_key": ""}, column: "unique_key",
		message: `unique_key must not be empty`,
		hint:    `Leave it out for a job that need not be unique.`,
	},
	{
		name: "UniqueKeyAndArgs", job: map[string]any{"unique_key": "k", "unique_by_args": true}, column: "unique_key",
		message: `unique_key must not be combined with unique_by_args or unique_args`,
		hint:    `The key stands in for the args.`,
	},
	{
		name: "UniquePeriodZero", job: map[string]any{"unique_period": "0"}, column: "unique_period",
		message: `unique_period 00:00:00 must be at least 1 second`,
		hint:    `Leave it out for a job that is unique at any time.`,
	},
	{name: "UniquePeriodNegative", job: map[string]any{"unique_period": "-1 hour"}, column: "unique_period", message: `unique_period -01:00:00 must be at least 1 second`},
	{
		name: "UniquePeriodOfMonths", job: map[string]any{"unique_period": "1 month"}, column: "unique_period",
		message: `unique_period 1 mon must not count months or years, which differ in length`,
		hint:    `Count days or hours, as in '30 days'.`,
	},
	{
		name: "UniqueStateUnknown", job: map[string]any{"unique_states": []string{"done"}}, column: "unique_states",
		message: `unique_states contains "done", which is no state`,
		hint:    `The states are available, cancelled, completed, discarded, pending, retryable, running, scheduled.`,
	},
	{
		name: "UniqueStatesIncomplete", job: map[string]any{"unique_states": []string{"available", "running", "completed"}}, column: "unique_states",
		message: `unique_states must contain available, pending, running and scheduled, but lacks pending, scheduled`,
		hint:    `Only retryable may be left out of the default; cancelled and discarded may be added.`,
	},
	{
		name: "UniqueExcludeKindAlone", job: map[string]any{"unique_exclude_kind": true}, column: "unique_exclude_kind",
		message: `unique_exclude_kind needs unique_key, unique_by_args, unique_args, unique_period or unique_queue`,
		hint:    `Without the kind and all of them every job would be the same.`,
	},
	{
		name: "UniqueArgsEmpty", job: map[string]any{"unique_args": []string{}}, column: "unique_args",
		message: `unique_args must name at least one field`,
		hint:    `Use unique_by_args for all of them.`,
	},
	{
		name: "UniqueArgsNoPath", job: map[string]any{"unique_args": []string{"customer."}}, column: "unique_args",
		message: `unique_args contains "customer.", which is no path of fields`,
		hint:    `Part nested fields with dots, as in 'customer.id'; numbers are no fields.`,
	},
	{
		name: "UniqueArgsOverlap", job: map[string]any{"unique_args": []string{"customer", "customer.id"}}, column: "unique_args",
		message: `unique_args contains "customer" twice or together with a field inside it`,
		hint:    `Name each field once.`,
	},
}

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

	for _, test := range refusedCalls {
		t.Run(test.name, func(t *testing.T) {
			job := map[string]any{"kind": "mail.send"}
			maps.Copy(job, test.job)
			encoded, err := json.Marshal(job)
			require.NoError(t, err)
			calls := map[string]struct{ sql, arg, detail string }{
				"enqueue":      {enqueueSQL, string(encoded), "Parameter " + test.column + " of enqueue."},
				"enqueue_many": {enqueueManySQL, `[{"kind":"mail.send"},` + string(encoded) + `]`, "Parameter " + test.column + " of job 2."},
			}
			for name, call := range calls {
				savepoint(t, tx, func(tx pgx.Tx) {
					err := refused(t, tx, call.sql, call.arg)
					require.Equal(t, test.message, err.Message, name)
					if test.sqlstate != "" {
						require.Equal(t, test.sqlstate, err.Code, name)
						return
					}
					require.Equal(t, "22023", err.Code, name)
					require.Equal(t, test.column, err.ColumnName, name)
					require.Equal(t, call.detail, err.Detail, name)
					require.NotEmpty(t, err.Hint, name)
					if test.hint != "" {
						require.Equal(t, test.hint, err.Hint, name)
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
			`jobs must not hold more than 50000 jobs, but holds 100000`, `Parameter jobs of enqueue_many.`,
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
	require.Equal(t, "invalid input syntax for type json", err.Message)
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

func TestEnqueueManyIsWhole(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	err := refused(t, pool, enqueueManySQL, `[{"kind":"whole"},{"kind":"whole","priority":7},{"kind":"not whole"}]`)
	require.Equal(t, "priority 7 must be from 1 to 4", err.Message, "the first fault is told")
	require.Zero(t, one[int](t, pool, `SELECT count(*) FROM towpath.river_job`))
}
