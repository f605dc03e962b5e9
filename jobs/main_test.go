package jobs_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
)

type noteArgs struct {
	Text  string   `json:"text"`
	Lines []string `json:"lines,omitempty"`
}

func (noteArgs) Kind() string { return "note" }

// newClient returns a client that works noteArgs with the function, or inserts only when there is none.
func newClient(t *testing.T, pool *pgxpool.Pool, config *jobs.Config, work func(ctx context.Context, job *river.Job[noteArgs]) error) *jobs.Client {
	t.Helper()
	if config == nil {
		config = &jobs.Config{}
	}
	if work != nil {
		config.Workers = river.NewWorkers()
		river.AddWorker(config.Workers, river.WorkFunc(work))
		if config.Queues == nil {
			config.Queues = map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}
		}
	}
	config.TestOnly = true
	client, err := jobs.NewClient(pool, config)
	require.NoError(t, err)
	return client
}

// start starts a client and stops it when the test ends.
func start(t *testing.T, client *jobs.Client) {
	t.Helper()
	require.NoError(t, client.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, client.StopAndCancel(context.WithoutCancel(t.Context()))) })
}

func insert(t *testing.T, client *jobs.Client, args river.JobArgs, opts *river.InsertOpts) int64 {
	t.Helper()
	result, err := client.Insert(t.Context(), args, opts)
	require.NoError(t, err)
	return result.Job.ID
}

// logLines is a slog.Handler that keeps the lines of a level or above.
type logLines struct {
	slog.Handler
	mu    sync.Mutex
	lines []map[string]any
}

func newLogLines() *logLines { return &logLines{Handler: slog.DiscardHandler} }

func (l *logLines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (l *logLines) Handle(_ context.Context, line slog.Record) error {
	entry := map[string]any{"msg": line.Message}
	line.Attrs(func(attr slog.Attr) bool {
		entry[attr.Key] = attr.Value.Any()
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, entry)
	return nil
}

func (l *logLines) all() []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]map[string]any(nil), l.lines...)
}
