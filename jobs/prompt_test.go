package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

type outputArgs struct {
	Output string `json:"output"`
}

func (outputArgs) Kind() string { return "prompt_output" }

type outputWorker struct {
	river.WorkerDefaults[outputArgs]
}

func (outputWorker) Work(ctx context.Context, job *river.Job[outputArgs]) error {
	if job.Args.Output == "" {
		return nil
	}
	return river.RecordOutput(ctx, job.Args.Output)
}

// River's completer writes at most every 250 ms while few jobs end. Jobs that succeed are finished before that, with
// what they recorded, and are finished once: their events and counters are those of any other job.
func TestPromptFinish(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := testdb.Pool(t)
	bundle := river.NewWorkers()
	river.AddWorker(bundle, outputWorker{})
	client, err := jobs.NewClient(pool, &jobs.Config{Config: river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}}, Workers: bundle,
	}})
	require.NoError(t, err)
	events, cancel := client.Subscribe(river.EventKindJobCompleted)
	defer cancel()
	require.NoError(t, client.Start(ctx))
	defer func() { require.NoError(t, client.Stop(context.WithoutCancel(ctx))) }()

	const n = 20
	var slow int
	for i := range n {
		output := ""
		if i%2 == 0 {
			output = "done"
		}
		inserted, err := client.Insert(ctx, outputArgs{Output: output}, nil)
		require.NoError(t, err)
		result, err := client.Await(ctx, inserted.Job.ID)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
		if output != "" {
			got, err := jobs.Output[string](result)
			require.NoError(t, err)
			require.Equal(t, output, got)
		}
		event := <-events // River's own, after its own time
		require.Equal(t, inserted.Job.ID, event.Job.ID)
		require.Equal(t, rivertype.JobStateCompleted, event.Job.State)
		if output != "" {
			require.JSONEq(t, `"done"`, string(event.Job.Output()))
		}
		var finishedAfter float64
		require.NoError(t, pool.QueryRow(ctx, `SELECT extract(epoch FROM archived_at - attempted_at) FROM towpath.job_history WHERE id = $1`,
			inserted.Job.ID).Scan(&finishedAfter))
		if finishedAfter > (200 * time.Millisecond).Seconds() {
			slow++
		}
	}
	require.Less(t, slow, n/2, "most were finished ahead of River's completer")

	var completed, rows int
	require.NoError(t, pool.QueryRow(ctx, `SELECT
		(SELECT coalesce(sum(n), 0) FROM (SELECT n FROM towpath.counter WHERE event = 'completed' UNION ALL
			SELECT n FROM towpath.counter_delta WHERE event = 'completed') c),
		(SELECT count(*) FROM towpath.job_history)`).Scan(&completed, &rows))
	require.Equal(t, n, completed)
	require.Equal(t, n, rows)
}
