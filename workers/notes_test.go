package workers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

func TestLoggerWritesToBothLogs(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	var process log
	c := config(pool)
	c.Client.Logger = process.logger()
	logged, finish := make(chan struct{}), make(chan struct{})
	r := start(t, c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		logger := workers.Logger(ctx).With(slog.String("tenant", "a")).WithGroup("import").With(slog.Int("file", 7))
		logger.InfoContext(ctx, "rows loaded", slog.Int("rows", 12), slog.Group("empty"), slog.Group("", slog.Bool("inline", true)))
		workers.Logger(ctx).WarnContext(ctx, "plain")
		workers.Logger(ctx).DebugContext(ctx, "too low")
		close(logged)
		<-finish
		return nil
	}))
	id := insert(t, r, taskArgs{}, &river.InsertOpts{})
	receive(t, logged)
	began := time.Now()
	// Readable while the job runs.
	require.Eventually(t, func() bool { return len(events(t, pool, id, "log")) == 2 }, patience, 5*time.Millisecond)
	require.Less(t, time.Since(began), 5*time.Second)
	close(finish)

	lines := events(t, pool, id, "")
	require.Equal(t, "rows loaded", *lines[0].Message)
	require.Equal(t, "INFO", *lines[0].Level)
	require.Equal(t, 1, lines[0].Attempt)
	require.WithinDuration(t, time.Now(), lines[0].At, time.Minute)
	require.JSONEq(t, `{"tenant": "a", "import": {"file": 7, "rows": 12, "inline": true}}`, string(lines[0].Attrs))
	require.Equal(t, "plain", *lines[1].Message)
	require.Equal(t, "WARN", *lines[1].Level)
	require.Nil(t, lines[1].Attrs)

	require.Len(t, process.lines("rows loaded"), 1)
	line := process.lines("rows loaded")[0]
	for _, want := range []string{
		fmt.Sprintf("job_id=%d", id), "kind=task", "queue=default", "attempt=1", "tenant=a", "import.file=7", "import.rows=12",
	} {
		require.Contains(t, line, want)
	}
	require.NoError(t, await(t, r, id).Err())
	require.Empty(t, process.lines("too low"))
}

func TestLogLevelOfTheDatabase(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level][]string{
		slog.LevelDebug: {"DEBUG", "INFO", "ERROR"},
		slog.LevelError: {"ERROR"},
	} {
		pool := jobstest.DB(t)
		c := config(pool)
		c.LogLevel = level
		r := start(t, c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
			workers.Logger(ctx).DebugContext(ctx, "one")
			workers.Logger(ctx).InfoContext(ctx, "two")
			workers.Logger(ctx).ErrorContext(ctx, "three")
			return nil
		}))
		var got []string
		for _, e := range events(t, pool, workOne(t, r, nil).Job.ID, "log") {
			got = append(got, *e.Level)
		}
		require.Equal(t, want, got)
	}
}

func TestEventsAreThereWhenTheEndIs(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	r := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		for i := range 50 {
			workers.Logger(ctx).InfoContext(ctx, "line", slog.Int("i", i))
		}
		workers.Progress(ctx, 0.5, "half")
		workers.Progress(ctx, 0.6, "more")
		switch job.Args.Name {
		case "failure":
			return workers.Permanent(errors.New("failed"))
		case "panic":
			panic("failed")
		}
		return nil
	}, workers.WithMaxAttempts(1)))
	for _, name := range []string{"success", "failure", "panic"} {
		id := await(t, r, insert(t, r, taskArgs{Name: name}, nil)).Job.ID
		lines := events(t, pool, id, "log")
		require.Len(t, lines, 50, name)
		for i, line := range lines {
			require.JSONEq(t, fmt.Sprintf(`{"i": %d}`, i), string(line.Attrs), "in order")
		}
		progress := events(t, pool, id, "progress")
		require.Len(t, progress, 2, name)
		require.Equal(t, "more", *progress[1].Message)
	}
}

func TestEndWaitsForItsLines(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	logged := make(chan struct{})
	r := start(t, config(pool), bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		workers.Logger(ctx).InfoContext(ctx, "slow to write")
		close(logged)
		return nil
	}))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `LOCK TABLE towpath.job_event`)
	require.NoError(t, err)
	id := insert(t, r, taskArgs{}, nil)
	receive(t, logged)
	never(t, func() bool { return row(t, r, id).FinalizedAt != nil }, 300*time.Millisecond, "the end")
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, await(t, r, id).Err())
	require.Len(t, events(t, pool, id, "log"), 1)
}

func TestProgressIsThinnedOut(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	held, finish := make(chan struct{}), make(chan struct{})
	r := start(t, config(pool), bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		for i := range 2000 {
			workers.Progress(ctx, float64(i)/2000, fmt.Sprintf("row %d", i))
		}
		close(held)
		<-finish
		workers.Progress(ctx, 1.7, "done")
		return nil
	}))
	id := insert(t, r, taskArgs{}, nil)
	receive(t, held)
	// The latest is written although no further one comes.
	eventually(t, func() bool {
		all := events(t, pool, id, "progress")
		return len(all) > 0 && *all[len(all)-1].Message == "row 1999"
	}, "the latest progress")
	close(finish)
	await(t, r, id)
	all := events(t, pool, id, "progress")
	require.Less(t, len(all), 50)
	require.Equal(t, "row 0", *all[0].Message)
	require.Zero(t, *all[0].Fraction)
	last := all[len(all)-1]
	require.Equal(t, "done", *last.Message)
	require.InDelta(t, 1, *last.Fraction, 0)
}

func TestOutsideAJobNothingHappens(t *testing.T) {
	t.Parallel()
	workers.Progress(t.Context(), 0.5, "nowhere")
	require.Same(t, slog.Default(), workers.Logger(t.Context()))
}

type brokenString struct{}

func (*brokenString) String() string               { panic("broken") }
func (*brokenString) MarshalJSON() ([]byte, error) { panic("broken") }

func TestNothingThatIsLoggedCanHurt(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	var nilError *json.SyntaxError
	values := map[string]struct {
		value any
		want  string
	}{
		"nul":      {"a\x00b", `"a\ufffdb"`},
		"bytes":    {"caf\xe9", `"caf\ufffd"`},
		"tree":     {map[string]any{"k\x00": []string{"\x00"}}, `{"k\ufffd": ["\ufffd"]}`},
		"big":      {int64(math.MaxInt64), `9223372036854775807`},
		"big any":  {[]int64{math.MaxInt64}, `[9223372036854775807]`},
		"nan":      {math.NaN(), `"NaN"`},
		"duration": {1500 * time.Millisecond, `"1.5s"`},
		"time":     {time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), `"2026-01-02T03:04:05Z"`},
		"error":    {fmt.Errorf("no\x00 luck"), `"no\ufffd luck"`},
		"channel":  {struct{ C chan int }{}, `"{C:<nil>}"`},
		"broken":   {&brokenString{}, `"!PANIC: broken"`},
		"nil":      {nil, `null`},
		"nothing":  {nilError, ``},
	}
	r := start(t, config(pool), bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		logger := workers.Logger(ctx)
		for name, test := range values {
			logger.InfoContext(ctx, name, slog.Any("v", test.value), slog.Any("w\x00", 1))
		}
		logger.InfoContext(ctx, "message\x00\xff")
		logger.InfoContext(ctx, strings.Repeat("ä", 100_000))
		logger.InfoContext(ctx, "large", slog.String("v", strings.Repeat("x", 100_000)))
		workers.Progress(ctx, math.NaN(), "\x00")
		return nil
	}))
	id := workOne(t, r, nil).Job.ID
	lines := events(t, pool, id, "log")
	require.Len(t, lines, len(values)+3)
	for _, line := range lines[:len(values)] {
		want := values[*line.Message].want
		if want == "" {
			continue // whatever it says, it is there
		}
		require.JSONEq(t, fmt.Sprintf(`{"v": %s, "w\ufffd": 1}`, want), string(line.Attrs), *line.Message)
	}
	rest := lines[len(values):]
	require.Equal(t, "message\ufffd\ufffd", *rest[0].Message)
	require.Less(t, len(*rest[1].Message), 20_000)
	require.True(t, strings.HasSuffix(*rest[1].Message, "ä…"))
	require.JSONEq(t, `{"attrs_dropped": true, "attrs_bytes": 100008}`, string(rest[2].Attrs))
	progress := events(t, pool, id, "progress")
	require.Len(t, progress, 1)
	require.Zero(t, *progress[0].Fraction)
}

func TestJobsGoOnWhileEventsCannotBeWritten(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	var process log
	c := config(pool)
	c.Client.Logger = process.logger()
	r := start(t, c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		workers.Logger(ctx).InfoContext(ctx, "kept")
		return nil
	}))
	_, err := pool.Exec(t.Context(), `ALTER TABLE towpath.job_event RENAME TO away`)
	require.NoError(t, err)
	var ids []int64
	for range 5 {
		result := workOne(t, r, nil)
		require.NoError(t, result.Err())
		ids = append(ids, result.Job.ID)
	}
	eventually(t, func() bool { return len(process.lines("job events cannot be written")) == 1 }, "it is said, once")
	_, err = pool.Exec(t.Context(), `ALTER TABLE towpath.away RENAME TO job_event`)
	require.NoError(t, err)
	for _, id := range ids {
		eventually(t, func() bool { return len(events(t, pool, id, "log")) == 1 }, "they are written later")
	}
	require.Len(t, process.lines("job events cannot be written"), 1)
}

func TestStopWritesTheLastLines(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	c := config(pool)
	c.Grace, c.CancelGrace = time.Millisecond, time.Millisecond
	began, release := make(chan struct{}), make(chan struct{})
	r, err := workers.New(c, bundleOf(func(ctx context.Context, _ *river.Job[taskArgs]) error {
		workers.Logger(ctx).InfoContext(ctx, "last words")
		close(began)
		<-release
		return nil
	}))
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	id := insert(t, r, taskArgs{}, nil)
	receive(t, began)
	require.Error(t, r.Stop())
	require.Len(t, events(t, pool, id, "log"), 1)
	close(release)
	require.NoError(t, r.Client().Stop(t.Context()))
}
