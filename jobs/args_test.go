package jobs_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

// sized returns args whose JSON is of that length.
func sized(t *testing.T, bytes int) noteArgs {
	t.Helper()
	args := noteArgs{Text: strings.Repeat("x", bytes-len(`{"text":""}`))}
	encoded, err := json.Marshal(args)
	require.NoError(t, err)
	require.Len(t, encoded, bytes)
	return args
}

func TestArgsTooLargeAreRefusedByEveryInsert(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, nil, nil)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(t.Context()) }()

	tooLarge := sized(t, jobs.ArgsMaxBytesDefault+1)
	many := []river.InsertManyParams{{Args: noteArgs{}}, {Args: tooLarge}}
	inserts := map[string]func() error{
		"Insert":           func() error { _, err := client.Insert(t.Context(), tooLarge, nil); return err },
		"InsertTx":         func() error { _, err := client.InsertTx(t.Context(), tx, tooLarge, nil); return err },
		"InsertMany":       func() error { _, err := client.InsertMany(t.Context(), many); return err },
		"InsertManyTx":     func() error { _, err := client.InsertManyTx(t.Context(), tx, many); return err },
		"InsertManyFast":   func() error { _, err := client.InsertManyFast(t.Context(), many); return err },
		"InsertManyFastTx": func() error { _, err := client.InsertManyFastTx(t.Context(), tx, many); return err },
	}
	for name, insert := range inserts {
		err := insert()
		require.ErrorIs(t, err, jobs.ErrArgsTooLarge, name)
		require.ErrorContains(t, err, `insert job "note": args of 65537 bytes must not exceed 65536`, name)
	}
	// The refusal came before anything was sent, so the transaction is as good as new.
	jobstest.RequireNotInserted(t, tx, noteArgs{}, nil)

	_, err = client.InsertTx(t.Context(), tx, sized(t, jobs.ArgsMaxBytesDefault), nil)
	require.NoError(t, err)
}

func TestArgsLimitsAreConfigurable(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)

	small := newClient(t, pool, &jobs.Config{ArgsMaxBytes: 100}, nil)
	_, err := small.Insert(t.Context(), sized(t, 101), nil)
	require.ErrorIs(t, err, jobs.ErrArgsTooLarge)
	insert(t, small, sized(t, 100), nil)

	lines := newLogLines()
	none := newClient(t, pool, &jobs.Config{ArgsMaxBytes: -1, ArgsWarnBytes: -1, Config: river.Config{Logger: slog.New(lines)}}, nil)
	insert(t, none, sized(t, 10*jobs.ArgsMaxBytesDefault), nil)
	require.Empty(t, lines.all())
}

func TestLargeArgsAreWarnedAboutOnceAMinute(t *testing.T) {
	t.Parallel()
	lines := newLogLines()
	client := newClient(t, jobstest.DB(t), &jobs.Config{Config: river.Config{Logger: slog.New(lines)}}, nil)

	insert(t, client, sized(t, jobs.ArgsWarnBytesDefault), nil)
	require.Empty(t, lines.all())
	for range 3 {
		insert(t, client, sized(t, jobs.ArgsWarnBytesDefault+1), nil)
	}
	require.Equal(t, []map[string]any{
		{"msg": "job args are large", "kind": "note", "bytes": int64(8193), "warn_bytes": int64(8192)},
	}, lines.all())
}

// anyArgs has whatever shape a test needs.
type anyArgs struct {
	Value any `json:"value"`
}

func (anyArgs) Kind() string { return "any" }

func TestBadTextIsRefusedWithItsPath(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	type item struct {
		Name string `json:"name"`
	}
	for name, test := range map[string]struct {
		value         any
		path, problem string
	}{
		"NUL":                {"a\x00b", "args.value", "NUL"},
		"NUL deep down":      {map[string]any{"items": []item{{"a"}, {"b"}, {"c"}, {"d\x00"}}}, "args.value.items[3].name", "NUL"},
		"NUL in a name":      {map[string]int{"a b\x00": 1}, `args.value["a b\u0000"]`, "NUL character, which Postgres cannot keep (in the name of a member)"},
		"NUL in given JSON":  {json.RawMessage(`{"a":[1,{"b":"\u0000"}]}`), "args.value.a[1].b", "NUL"},
		"not UTF-8":          {[]string{"fine", "caf\xe9"}, "args.value[1]", "UTF-8"},
		"not UTF-8, pointer": {&item{"caf\xe9"}, "args.value.name", "UTF-8"},
		"not UTF-8 in a map": {map[string]any{"x": map[string]string{"caf\xe9": ""}}, `args.value.x["caf\ufffd"]`, "UTF-8"},
		"half a pair":        {json.RawMessage(`["\ud83d\ude00","\ud83d"]`), "args.value[1]", "surrogate"},
		"the other half":     {json.RawMessage(`{"a-b":"\ude00"}`), `args.value["a-b"]`, "surrogate"},
		"a pair turned":      {json.RawMessage(`"\ude00\ud83d"`), `args.value`, "surrogate"},
	} {
		_, err := client.Insert(t.Context(), anyArgs{test.value}, nil)
		var argsErr *jobs.ArgsError
		require.ErrorAs(t, err, &argsErr, name)
		require.Equal(t, "any", argsErr.Kind, name)
		require.Equal(t, test.path, argsErr.Path, name)
		require.Contains(t, argsErr.Problem, test.problem, name)
		require.ErrorContains(t, err, `insert job "any": `+test.path, name)
	}
}

func TestGoodTextIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	for name, value := range map[string]any{
		"escaped backslash":           `C:\u0000 is a path`,
		"HTML":                        "<a href='?x&y'> \u2028",
		"a replacement character":     "\ufffd",
		"an escaped one, given":       json.RawMessage(`"\ufffd"`),
		"an emoji":                    "\U0001f600",
		"an escaped emoji, given":     json.RawMessage(`"\ud83d\ude00"`),
		"control characters":          "\x01\x1f\x7f\t\r\n\"\\/",
		"nothing, numbers, and words": map[string]any{"a": nil, "b": []any{}, "c": map[string]any{}, "d": -1.5e3, "e": true},
	} {
		result, err := client.Insert(t.Context(), anyArgs{value}, nil)
		require.NoError(t, err, name)
		sent, err := json.Marshal(anyArgs{value})
		require.NoError(t, err)
		row, err := client.JobGet(t.Context(), result.Job.ID)
		require.NoError(t, err)
		require.JSONEq(t, string(sent), string(row.EncodedArgs), name)
	}
}

func TestBadMetadataIsRefused(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	_, err := client.Insert(t.Context(), noteArgs{}, &river.InsertOpts{Metadata: []byte(`{"trace":"\u0000"}`)})
	var argsErr *jobs.ArgsError
	require.ErrorAs(t, err, &argsErr)
	require.Equal(t, "metadata.trace", argsErr.Path)

	_, err = client.Insert(t.Context(), noteArgs{}, &river.InsertOpts{Metadata: []byte("{\"trace\":\"\xe9\"}")})
	require.ErrorAs(t, err, &argsErr)
	require.Equal(t, "metadata.trace", argsErr.Path)
}

func TestUniqueJobsStayUnique(t *testing.T) {
	t.Parallel()
	client := newClient(t, jobstest.DB(t), nil, nil)
	opts := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
	first := insert(t, client, noteArgs{Text: "<one>"}, opts)
	again, err := client.Insert(t.Context(), noteArgs{Text: "<one>"}, opts)
	require.NoError(t, err)
	require.True(t, again.UniqueSkippedAsDuplicate)
	require.Equal(t, first, again.Job.ID)
}
