package builtin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
	"github.com/towpath/towpath/workers/builtin"
	"github.com/towpath/towpath/workers/workerstest"
)

// patience bounds every wait for something that has to happen.
const patience = 30 * time.Second

// key returns a signing key that differs from test to test.
func key(seed string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(seed, 32)[:32]))
}

// loopback is a configuration that may call the test's own servers.
var loopback = builtin.Config{HTTPAllowPrivate: "127.0.0.0/8,::1"}

func bundleOf(t *testing.T, config builtin.Config) *workers.Bundle {
	t.Helper()
	bundle := workers.NewBundle()
	require.NoError(t, builtin.Add(bundle, config))
	return bundle
}

// work works one job in a transaction that is rolled back.
func work[T river.JobArgs](t *testing.T, config builtin.Config, args T) *workerstest.Result {
	t.Helper()
	// Two tests that kept all of theirs to the end would wait for each other's connections.
	tx := testdb.Tx(t)
	defer func() { require.NoError(t, tx.Rollback(context.WithoutCancel(t.Context()))) }()
	return workerstest.Work(t, tx, bundleOf(t, config), args, &river.InsertOpts{MaxAttempts: 5})
}

// output decodes what a job brought.
func output[T any](t *testing.T, job *rivertype.JobRow) T {
	t.Helper()
	var value T
	require.NoError(t, json.Unmarshal(job.Output(), &value), "output %q", job.Output())
	return value
}

// start starts a runner that is stopped when the test ends.
func start(t *testing.T, pool *pgxpool.Pool, config builtin.Config) *workers.Runner {
	t.Helper()
	return startWithGrace(t, pool, config, patience)
}

func startWithGrace(t *testing.T, pool *pgxpool.Pool, config builtin.Config, grace time.Duration) *workers.Runner {
	t.Helper()
	c := workers.Config{Pool: pool, Grace: grace}
	c.Client.TestOnly = true
	c.Client.Logger = slog.New(slog.DiscardHandler)
	c.Client.RetryPolicy = jobs.Backoff{First: time.Millisecond, Max: 10 * time.Millisecond}
	r, err := workers.New(c, bundleOf(t, config))
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, r.Stop()) })
	return r
}

func insert(t *testing.T, r *workers.Runner, args river.JobArgs) int64 {
	t.Helper()
	inserted, err := r.Client().Insert(t.Context(), args, nil)
	require.NoError(t, err)
	return inserted.Job.ID
}

func await(t *testing.T, r *workers.Runner, id int64) *jobs.Result {
	t.Helper()
	result, err := r.Client().Await(t.Context(), id)
	require.NoError(t, err)
	return result
}

// A kind that the bundle works stays the bundle's, and configuration that cannot be read is refused.
func TestAdd(t *testing.T) {
	t.Parallel()
	bundle := workers.NewBundle()
	workers.Add(bundle, river.WorkFunc(func(context.Context, *river.Job[jobs.SQLArgs]) error { return nil }))
	require.NoError(t, builtin.Add(bundle, builtin.Config{}))
	require.Equal(t, []string{"sql", "http", "shell"}, bundle.Kinds())
	require.NoError(t, builtin.Add(bundle, builtin.Config{}), "a second time")
	require.ErrorContains(t, builtin.Add(workers.NewBundle(), builtin.Config{HTTPAllowPrivate: "no way"}), `"no way" is no network`)
}
