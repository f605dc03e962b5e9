package migrations_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/testdb"
)

// anyArgs are args that encode as given.
type anyArgs struct{ value any }

func (anyArgs) Kind() string                   { return "parity" }
func (a anyArgs) MarshalJSON() ([]byte, error) { return json.Marshal(a.value) }

type address struct {
	Street string `json:"street"`
	City   string `json:"city"   river:"unique"`
	Zip    string `json:"zip"    river:"unique"`
}

// office is another type: River looks into each type of struct once.
type office struct {
	Street string `json:"street"`
	City   string `json:"city"   river:"unique"`
	Zip    string `json:"zip"    river:"unique"`
}

// taggedArgs are unique by some of their fields.
type taggedArgs struct {
	Note    string   `json:"note"`
	Zone    string   `json:"zone,omitempty"     river:"unique"`
	Amount  float64  `json:"amount"             river:"unique"`
	Home    address  `json:"home"`
	Work    *office  `json:"work,omitempty"` //towpath:allow optional, and River looks through pointers for the key
	Labels  []string `json:"labels"             river:"unique"`
	Élan    *string  `json:"élan"               river:"unique"`
	Dashed  int      `json:"home-office"        river:"unique"`
	Comment *string  `json:"<comment>,omitempty" river:"unique"`
}

func (taggedArgs) Kind() string { return "parity" }

var taggedFields = []string{"zone", "amount", "home.city", "home.zip", "work.city", "work.zip", "labels", "élan", "home-office", "<comment>"}

type emptyTaggedArgs struct {
	Zone string `json:"zone,omitempty" river:"unique"`
	Note string `json:"note"`
}

func (emptyTaggedArgs) Kind() string { return "parity" }

// awkward needs every kind of escaping, and its keys every kind of sorting.
var awkward = map[string]any{
	"plain": "text", "b": 1, "a": nil, "B": true, "": "empty", "z.y": "dot", ":colon": 1, "@at": 2, "quo\"te": 3, "back\\slash": 4,
	"tab\t": 5, "<tag>&": "<b>&amp;</b>", "é": "Zoë\u2028\u2029", "\U0001F600": "\U0001F600 \ufffd\u007f", "numbers": []any{1, 1.5, -0.25, 1e21, 1e-9},
	"nested": map[string]any{"y": map[string]any{"d": []any{}, "c": map[string]any{}}, "x": "\b\f\n\r\t\x01\x1f/ \\ \""},
	"spaces": "two  spaces [ { , : } ]",
}

// A parityCase is one job, enqueued by River's client and by SQL.
type parityCase struct {
	name string
	args river.JobArgs
	opts river.InsertOpts
	sql  map[string]any
}

func parityCases() []parityCase {
	due := time.Date(2150, 3, 4, 5, 6, 7, 8000, time.UTC)
	custom := []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStateCancelled, rivertype.JobStateDiscarded, rivertype.JobStatePending,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
	customNames := []string{"scheduled", "available", "cancelled", "discarded", "pending", "running"}
	filled := taggedArgs{
		Note: "ignored", Zone: "a <b> & c", Amount: 2.5, Home: address{"s", "Nürnberg", "90402"}, Work: &office{"t", "Fürth", "90762"},
		Labels: []string{"x y", "\u2028"}, Dashed: 7,
	}
	unique := func(opts river.UniqueOpts) river.InsertOpts { return river.InsertOpts{UniqueOpts: opts} }
	scheduled := func(opts river.UniqueOpts) river.InsertOpts {
		return river.InsertOpts{UniqueOpts: opts, ScheduledAt: due}
	}
	return []parityCase{
		{"ByKind", anyArgs{awkward}, unique(river.UniqueOpts{ByState: rivertype.UniqueOptsByStateDefault()}), map[string]any{"unique_states": []string{}}},
		{"ByArgs", anyArgs{map[string]any{"customer": 42}}, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_by_args": true}},
		{"ByAwkwardArgs", anyArgs{awkward}, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_by_args": true}},
		{"ByNoArgs", anyArgs{map[string]any{}}, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_by_args": true}},
		{"ByFields", filled, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_args": taggedFields}},
		{"ByFewFields", taggedArgs{}, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_args": taggedFields}},
		{"ByAbsentFields", emptyTaggedArgs{Note: "n"}, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_args": []string{"zone"}}},
		{"ByQueue", anyArgs{awkward}, river.InsertOpts{Queue: "mail", UniqueOpts: river.UniqueOpts{ByQueue: true}}, map[string]any{"unique_queue": true, "queue": "mail"}},
		{"ByHour", anyArgs{awkward}, scheduled(river.UniqueOpts{ByPeriod: time.Hour}), map[string]any{"unique_period": "1 hour", "scheduled_at": due}},
		{"ByOddPeriod", anyArgs{awkward}, scheduled(river.UniqueOpts{ByPeriod: 97*time.Second + 500*time.Millisecond}), map[string]any{"unique_period": "97.5 seconds", "scheduled_at": due}},
		{"ByWeek", anyArgs{awkward}, scheduled(river.UniqueOpts{ByPeriod: 7 * 24 * time.Hour}), map[string]any{"unique_period": "7 days", "scheduled_at": due}},
		{
			"ByPastPeriod",
			anyArgs{awkward},
			river.InsertOpts{ScheduledAt: due.AddDate(-140, 0, 0), UniqueOpts: river.UniqueOpts{ByPeriod: time.Hour}},
			map[string]any{"unique_period": "1 hour", "scheduled_at": due.AddDate(-140, 0, 0)},
		},
		// The longest period starts in the year 1 for both, whatever the clocks say.
		{"ByPeriodOfNow", anyArgs{awkward}, unique(river.UniqueOpts{ByPeriod: 290 * 365 * 24 * time.Hour}), map[string]any{"unique_period": "105850 days"}},
		{"ByStates", anyArgs{awkward}, unique(river.UniqueOpts{ByArgs: true, ByState: custom}), map[string]any{"unique_by_args": true, "unique_states": customNames}},
		{
			"ByAll", filled,
			river.InsertOpts{Queue: "mail", ScheduledAt: due, UniqueOpts: river.UniqueOpts{ByArgs: true, ByPeriod: time.Minute, ByQueue: true}},
			map[string]any{"unique_args": taggedFields, "unique_period": "1 minute", "unique_queue": true, "queue": "mail", "scheduled_at": due},
		},
		{"ExcludingKind", anyArgs{awkward}, unique(river.UniqueOpts{ByArgs: true, ExcludeKind: true}), map[string]any{"unique_by_args": true, "unique_exclude_kind": true}},
		{"ExcludingKindByQueue", anyArgs{awkward}, unique(river.UniqueOpts{ByQueue: true, ExcludeKind: true}), map[string]any{"unique_queue": true, "unique_exclude_kind": true}},
	}
}

// loose returns the args with other spaces and other escapes than Go's encoder writes, which mean the same.
func loose(t require.TestingT, args river.JobArgs) json.RawMessage {
	encoded, err := json.Marshal(args)
	require.NoError(t, err)
	var respelled bytes.Buffer
	for rest := string(encoded); rest != ""; {
		char, size := utf8.DecodeRuneInString(rest)
		switch {
		case strings.HasPrefix(rest, `\\`):
			size = 2
			respelled.WriteString(`\u005c`)
		case strings.HasPrefix(rest, `\u00`) || strings.HasPrefix(rest, `\u20`):
			code, err := strconv.ParseUint(rest[2:6], 16, 16)
			require.NoError(t, err)
			size = 6
			if code < ' ' {
				respelled.WriteString(`\u` + strings.ToUpper(rest[2:6]))
			} else {
				respelled.WriteRune(rune(code))
			}
		case strings.HasPrefix(rest, `\`):
			size = 2
			respelled.WriteString(rest[:2])
		case char == '/':
			respelled.WriteString(`\/`)
		case char > '~':
			for _, unit := range utf16.Encode([]rune{char}) {
				fmt.Fprintf(&respelled, `\u%04X`, unit)
			}
		default:
			respelled.WriteRune(char)
		}
		rest = rest[size:]
	}
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, respelled.Bytes(), "\t", "  "))
	return indented.Bytes()
}

func newRiver(t require.TestingT) *river.Client[pgx.Tx] {
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{Schema: "towpath"})
	require.NoError(t, err)
	return client
}

func TestUniqueKeysEqualRivers(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	client := newRiver(t)

	for _, test := range parityCases() {
		t.Run(test.name, func(t *testing.T) {
			job := map[string]any{"kind": "parity", "args": loose(t, test.args)}
			maps.Copy(job, test.sql)
			// A raw message is compacted by the encoder, which would undo what loose did.
			job["args"] = "ARGS"
			encoded, err := json.Marshal(job)
			require.NoError(t, err)
			call := string(bytes.Replace(encoded, []byte(`"ARGS"`), loose(t, test.args), 1))

			var fromRiver, fromSQL jobRow
			savepoint(t, tx, func(tx pgx.Tx) {
				inserted, err := client.InsertTx(t.Context(), tx, test.args, &test.opts)
				require.NoError(t, err)
				require.False(t, inserted.UniqueSkippedAsDuplicate)
				fromRiver = readJob(t, tx, inserted.Job.ID)

				many := enqueueMany(t, tx, "["+call+"]")
				require.Equal(t, []enqueued{{inserted.Job.ID, string(inserted.Job.State), true}}, many, "SQL meets River's job")
				var single enqueued
				require.NoError(t, tx.QueryRow(t.Context(), enqueueSQL, call).Scan(&single.ID, &single.State, &single.Skipped))
				require.Equal(t, many[0], single)
			})
			savepoint(t, tx, func(tx pgx.Tx) {
				var result enqueued
				require.NoError(t, tx.QueryRow(t.Context(), enqueueSQL, call).Scan(&result.ID, &result.State, &result.Skipped))
				require.False(t, result.Skipped)
				fromSQL = readJob(t, tx, result.ID)

				met, err := client.InsertTx(t.Context(), tx, test.args, &test.opts)
				require.NoError(t, err)
				require.True(t, met.UniqueSkippedAsDuplicate, "River meets SQL's job")
				require.Equal(t, result.ID, met.Job.ID)
			})
			require.NotEmpty(t, fromRiver.UniqueKey)
			require.WithinDuration(t, fromRiver.CreatedAt, fromSQL.CreatedAt, time.Minute)
			fromRiver.CreatedAt, fromSQL.CreatedAt = time.Time{}, time.Time{}
			if test.name == "ByPastPeriod" {
				// River leaves a due job to its scheduler; from SQL it is available at once.
				require.Equal(t, "available", fromSQL.State)
				fromSQL.State, fromSQL.ScheduledAt = fromRiver.State, fromRiver.ScheduledAt
			}
			if test.opts.ScheduledAt.IsZero() {
				fromRiver.ScheduledAt, fromSQL.ScheduledAt = time.Time{}, time.Time{}
			}
			require.Equal(t, fromRiver, fromSQL)
		})
	}
}

// Whatever the args, the text that is hashed for them is River's, so the keys are equal.
func TestUniqueKeysOfAnyArgs(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	client := newRiver(t)

	char := rapid.OneOf(rapid.RuneFrom([]rune(`ab.:@<>&"\/ {}[],`+"\b\f\n\r\t\x01\x7f\u0080é\u2028\u2029\ufffd\U0001F600")), rapid.Rune())
	text := rapid.Map(rapid.StringOf(char), func(s string) string {
		// Postgres stores no NUL; River's insert would fail as well.
		return string(bytes.ReplaceAll(bytes.ToValidUTF8([]byte(s), []byte("?")), []byte{0}, []byte("0")))
	})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalars := []*rapid.Generator[any]{
			rapid.Map(text, func(s string) any { return s }),
			rapid.Map(rapid.Float64Range(-1e30, 1e30), func(f float64) any { return f }),
			rapid.Map(rapid.Int64(), func(i int64) any { return i }),
			rapid.Map(rapid.Bool(), func(b bool) any { return b }),
			rapid.Just[any](nil),
		}
		if depth > 0 {
			scalars = append(scalars,
				rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(s []any) any { return s }),
				rapid.Map(rapid.MapOfN(text, value(depth-1), 0, 3), func(m map[string]any) any { return m }))
		}
		return rapid.OneOf(scalars...)
	}
	rapid.Check(t, func(rt *rapid.T) {
		args := anyArgs{rapid.MapOfN(text, value(2), 0, 5).Draw(rt, "args")}
		inner, err := tx.Begin(t.Context())
		require.NoError(rt, err)
		defer func() { _ = inner.Rollback(t.Context()) }()
		inserted, err := client.InsertTx(t.Context(), inner, args, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
		require.NoError(rt, err)

		var result enqueued
		row := inner.QueryRow(t.Context(), `SELECT id, state, skipped FROM towpath.enqueue('parity', $1::text::json, unique_by_args => true)`,
			string(loose(rt, args)))
		require.NoError(rt, row.Scan(&result.ID, &result.State, &result.Skipped))
		require.Equal(rt, enqueued{inserted.Job.ID, "available", true}, result)
	})
}

func TestUniqueKeyOfTheCallers(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)

	first := enqueue(t, tx, map[string]any{"kind": "own.key", "unique_key": "order-42", "args": map[string]any{"n": 1}})
	tests := []struct {
		name    string
		job     map[string]any
		skipped bool
	}{
		{"Same", map[string]any{}, true},
		{"OtherArgsAndQueue", map[string]any{"args": map[string]any{"n": 2.50}, "queue": "other"}, true},
		{"OtherKey", map[string]any{"unique_key": "order-43"}, false},
		{"OtherKind", map[string]any{"kind": "other.kind"}, false},
		{"InAPeriod", map[string]any{"unique_period": "1 hour"}, false},
		{"InAQueue", map[string]any{"unique_queue": true}, false},
		{"OverKinds", map[string]any{"unique_exclude_kind": true}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			job := map[string]any{"kind": "own.key", "unique_key": "order-42"}
			maps.Copy(job, test.job)
			result := enqueue(t, tx, job)
			require.Equal(t, test.skipped, result.Skipped)
			require.Equal(t, test.skipped, result.ID == first.ID)
			require.True(t, enqueue(t, tx, job).Skipped, "the same again is skipped")
		})
	}
}

// Many sessions that enqueue one unique job at once leave one job, and all get its id.
func TestUniqueUnderConcurrency(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)

	const sessions = 8
	type answer struct {
		enqueued
		err error
	}
	answers := make(chan answer)
	for i := range sessions {
		go func() {
			var a answer
			call := `SELECT id, state, skipped FROM towpath.enqueue('once', unique_key => 'k')`
			if i%2 == 0 {
				call = `SELECT id, state, skipped FROM towpath.enqueue_many('[{"kind": "once", "unique_key": "k"}]')`
			}
			a.err = pool.QueryRow(t.Context(), call).Scan(&a.ID, &a.State, &a.Skipped)
			answers <- a
		}()
	}
	inserted, ids := 0, map[int64]bool{}
	for range sessions {
		a := <-answers
		require.NoError(t, a.err)
		ids[a.ID] = true
		if !a.Skipped {
			inserted++
		}
	}
	require.Equal(t, 1, inserted, fmt.Sprint(ids))
	require.Len(t, ids, 1)
}
