package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/driver"
	"github.com/towpath/towpath/jobs/jobstest"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	config := jobs.Config{}
	config.Queues = map[string]river.QueueConfig{"a": {MaxWorkers: 1}, "b": {MaxWorkers: 2, FetchCooldown: time.Second}}
	rc := config.River()
	require.Equal(t, "towpath", rc.Schema)
	require.True(t, rc.FetchOnlyKnownKinds)
	require.NotNil(t, rc.Logger)
	require.Equal(t, jobs.Backoff{}, rc.RetryPolicy)
	require.Equal(t, 72*time.Hour, rc.CompletedJobRetentionPeriod)
	require.Equal(t, 72*time.Hour, rc.CancelledJobRetentionPeriod)
	require.Equal(t, 30*24*time.Hour, rc.DiscardedJobRetentionPeriod)
	// The window in which River keeps quiet about inserts is its shortest; the producers have their own cooldown.
	require.Equal(t, time.Millisecond, rc.FetchCooldown)
	require.Equal(t, jobs.FetchCooldownDefault, rc.Queues["a"].FetchCooldown)
	require.Equal(t, time.Second, rc.Queues["b"].FetchCooldown)
	require.Zero(t, config.Queues["a"].FetchCooldown, "the caller's map was changed")
	require.Equal(t, 2*jobs.FetchPollIntervalDefault, rc.FetchPollInterval)
	for _, name := range []string{"c", "d", "e"} {
		config.Queues[name] = river.QueueConfig{MaxWorkers: 1}
	}
	require.Equal(t, jobs.FetchPollIntervalMax, config.River().FetchPollInterval)
	require.Len(t, rc.Hooks, 1)
	require.Empty(t, config.Hooks)
}

func TestConfigKeepsWhatIsSet(t *testing.T) {
	t.Parallel()
	config := jobs.Config{Config: river.Config{
		Schema: "elsewhere", CompletedJobRetentionPeriod: time.Hour, DiscardedJobRetentionPeriod: -1,
		FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 7 * time.Second,
		RetryPolicy: &river.DefaultClientRetryPolicy{}, Queues: map[string]river.QueueConfig{"a": {MaxWorkers: 1}},
	}}
	rc := config.River()
	require.Equal(t, "elsewhere", rc.Schema)
	require.Equal(t, time.Hour, rc.CompletedJobRetentionPeriod)
	require.Equal(t, time.Duration(-1), rc.DiscardedJobRetentionPeriod)
	require.Equal(t, 5*time.Millisecond, rc.Queues["a"].FetchCooldown)
	require.Equal(t, 7*time.Second, rc.FetchPollInterval)
	require.IsType(t, &river.DefaultClientRetryPolicy{}, rc.RetryPolicy)

	config.FetchPollInterval, config.PollOnly = 0, true
	require.Equal(t, jobs.FetchPollIntervalPollOnlyDefault, config.River().FetchPollInterval)
}

func TestNewClientRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	_, err := jobs.NewClient(nil, &jobs.Config{Config: river.Config{Schema: "no spaces"}})
	require.ErrorContains(t, err, "make a job client")
	config := &jobs.Config{}
	config.Queues = map[string]river.QueueConfig{"a": {MaxWorkers: 1}}
	config.Workers = river.NewWorkers()
	_, err = jobs.NewClient(nil, config)
	require.ErrorContains(t, err, "pool")
}

func TestClientWithoutPoolInsertsInTransactions(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, nil, nil, nil)

	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		at := time.Now().Add(time.Hour).Truncate(time.Second)
		_, err := client.InsertTx(t.Context(), tx, noteArgs{Text: "hello"}, &river.InsertOpts{
			Priority: 3, Queue: "mail", ScheduledAt: at, Tags: []string{"one", "two"},
		})
		require.NoError(t, err)
		job := jobstest.RequireInserted(t, tx, noteArgs{}, &jobstest.Opts{
			Priority: 3, Queue: "mail", ScheduledAt: at, Tags: []string{"one", "two"}, State: rivertype.JobStateScheduled, MaxAttempts: 25,
		})
		require.Equal(t, "hello", job.Args.Text)
		return nil
	}))

	_, err := client.Insert(t.Context(), noteArgs{}, nil)
	require.ErrorContains(t, err, "pool")
	_, err = client.Await(t.Context(), 1)
	require.ErrorContains(t, err, "the client has no pool")
}

func TestRolledBackInsertLeavesNothing(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, nil, nil)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	result, err := client.InsertTx(t.Context(), tx, noteArgs{}, nil)
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(t.Context()))
	_, err = client.JobGet(t.Context(), result.Job.ID)
	require.ErrorIs(t, err, jobs.ErrNotFound)
}

func TestUnknownKindsAreLeftAlone(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	worked := make(chan struct{})
	client := newClient(t, pool, &jobs.Config{Config: river.Config{SkipUnknownJobCheck: true}},
		func(context.Context, *river.Job[noteArgs]) error { close(worked); return nil })
	unknown := insert(t, client, anyArgs{}, nil)
	insert(t, client, noteArgs{}, nil)
	start(t, client)
	<-worked
	row, err := client.JobGet(t.Context(), unknown)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateAvailable, row.State)
	require.Zero(t, row.Attempt)
}

// TestDefaultInsertsWakeTheirWorker: jobs that are inserted one by one do not wait for a poll, which comes too late here.
func TestDefaultInsertsWakeTheirWorker(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	began := make(chan struct{}, 1)
	client := newClient(t, pool, &jobs.Config{Config: river.Config{FetchPollInterval: time.Hour}},
		func(context.Context, *river.Job[noteArgs]) error { began <- struct{}{}; return nil })
	start(t, client)
	for range 30 {
		insert(t, client, noteArgs{}, nil)
		<-began
	}
}

func TestProcessRowShowsSlots(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	client := newClient(t, pool, &jobs.Config{Process: driver.Process{Version: "v7", Roles: []string{"worker"}}},
		func(context.Context, *river.Job[noteArgs]) error { return nil })
	start(t, client)
	var version, queues string
	require.Eventually(t, func() bool {
		return pool.QueryRow(t.Context(), `SELECT version, queues::text FROM towpath.process WHERE client_id = $1`, client.ID()).
			Scan(&version, &queues) == nil
	}, 20*time.Second, 10*time.Millisecond)
	require.Equal(t, "v7", version)
	require.JSONEq(t, `{"default": 10}`, queues)
}

func TestLeaderRunsWhatItIsGiven(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	work := func(context.Context, *river.Job[noteArgs]) error { return nil }
	led, ended := make(chan string, 10), make(chan string, 10)
	lead := func(name string) *jobs.Config {
		return &jobs.Config{Lead: []func(context.Context){
			func(context.Context) {}, // returning early leaves the leadership alone
			func(ctx context.Context) {
				led <- name
				<-ctx.Done()
				ended <- name
			},
		}}
	}
	first := newClient(t, pool, lead("first"), work)
	start(t, first)
	require.Equal(t, "first", <-led)
	second := newClient(t, pool, lead("second"), work)
	start(t, second)
	require.NoError(t, first.StopAndCancel(t.Context()))
	require.Equal(t, "first", <-ended)
	require.Equal(t, "second", <-led)
}
