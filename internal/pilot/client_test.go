package pilot_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
	"github.com/towpath/towpath/jobs/driver"
)

// errand is a job whose handler is a function of the test's.
type errand struct {
	What string `json:"what"`
}

func (errand) Kind() string { return "errand" }

type errands struct {
	river.WorkerDefaults[errand]
	do func(ctx context.Context, job *river.Job[errand]) error
}

func (w *errands) Work(ctx context.Context, job *river.Job[errand]) error { return w.do(ctx, job) }

func (w *errands) NextRetry(*river.Job[errand]) time.Time { return time.Now() }

// client starts a River client on the rig's driver and stops it with the test.
func (r *rig) client(t *testing.T, do func(context.Context, *river.Job[errand]) error, change ...func(*river.Config)) *river.Client[pgx.Tx] {
	t.Helper()
	workers := river.NewWorkers()
	river.AddWorker(workers, &errands{do: do})
	config := &river.Config{
		FetchCooldown: time.Millisecond, FetchPollInterval: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 50}}, Schema: schema, TestOnly: true, Workers: workers,
	}
	for _, c := range change {
		c(config)
	}
	client, err := river.NewClient(r.driver, config)
	require.NoError(t, err)
	if len(config.Queues) > 0 {
		require.NoError(t, client.Start(t.Context()))
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), soon)
			defer cancel()
			require.NoError(t, client.StopAndCancel(ctx))
		})
	}
	return client
}

// ended waits for a job to reach a final state.
func (r *rig) ended(t *testing.T, id int64) *rivertype.JobRow {
	t.Helper()
	var row *rivertype.JobRow
	require.Eventually(t, func() bool {
		row = r.get(t, id)
		return row.FinalizedAt != nil
	}, soon, tick)
	return row
}

// TestClientMixed runs a thousand jobs of every fate through a real client. Nothing stays held, and the counters tell all.
func TestClientMixed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var once sync.Map
	again := func(job *river.Job[errand]) bool {
		_, seen := once.LoadOrStore(job.ID, true)
		return !seen
	}
	client := r.client(t, func(ctx context.Context, job *river.Job[errand]) error {
		switch job.Args.What {
		case "record":
			return river.RecordOutput(ctx, map[string]int{"sum": 3})
		case "tx":
			return pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
				_, err := river.JobCompleteTx[*driver.Driver](ctx, tx, job)
				return err
			})
		case "tx rolled back":
			err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
				if _, err := river.JobCompleteTx[*driver.Driver](ctx, tx, job); err != nil || !again(job) {
					return err
				}
				return errRollBack
			})
			return err
		case "fail once":
			if again(job) {
				return errors.New("the first time")
			}
			return nil
		case "snooze":
			if again(job) {
				return river.JobSnooze(0)
			}
			return nil
		case "cancel":
			return river.JobCancel(errors.New("not wanted"))
		case "discard":
			return errors.New("always")
		case "panic":
			panic("at the disco")
		default:
			return nil
		}
	})
	events, stop := client.Subscribe(river.EventKindJobCompleted, river.EventKindJobCancelled, river.EventKindJobFailed, river.EventKindJobSnoozed)
	defer stop()
	what := []string{"nothing", "record", "tx", "tx rolled back", "fail once", "snooze", "cancel", "discard", "panic"}
	const n = 990
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i] = river.InsertManyParams{Args: errand{What: what[i%len(what)]}, InsertOpts: &river.InsertOpts{MaxAttempts: 2}}
	}
	_, err := client.InsertMany(t.Context(), params)
	require.NoError(t, err)

	kinds := make(map[river.EventKind]int)
	outputs := 0
	for ended := 0; ended < n; {
		select {
		case event := <-events:
			kinds[event.Kind]++
			if event.Job.FinalizedAt != nil {
				ended++
			}
			if event.Job.Output() != nil {
				outputs++
			}
		case <-time.After(soon):
			require.FailNow(t, "jobs are not ending", "%d of %d, events %v", ended, n, kinds)
		}
	}
	const each = n / 9
	require.Equal(t, each, outputs)
	require.Equal(t, 6*each, kinds[river.EventKindJobCompleted])
	require.Equal(t, each, kinds[river.EventKindJobCancelled])
	require.Equal(t, each, kinds[river.EventKindJobSnoozed])
	require.Equal(t, (1+1+2+2)*each, kinds[river.EventKindJobFailed], "tx rolled back, fail once, and twice discard and panic")
	require.Eventually(t, func() bool { return pilot.HeldOf(client) == 0 }, soon, tick)
	counters := r.counters(t, river.QueueDefault)
	// A job that is due again at once may be fetched before its last attempt is let go here; it is handed back then, and
	// counted both ways.
	counters["started"] -= counters["interrupted"]
	delete(counters, "interrupted")
	require.Equal(t, map[string]int{
		"started": n + (1+1+1+1+1)*each, "completed": 6 * each, "cancelled": each, "discarded": 2 * each, "snoozed": each, "retried": 4 * each,
	}, counters)
	var live int
	r.queryRow(t, `SELECT count(*) FROM towpath.river_job`)(&live)
	require.Zero(t, live)
}

// TestClientStale: a handler whose job was rescued meanwhile finishes nothing, and its transaction rolls back.
func TestClientStale(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.run(t, `CREATE TABLE towpath.effect (job_id bigint, attempt int)`)
	begun, goOn := make(chan int64, 10), make(chan struct{})
	results := make(chan error, 10)
	client := r.client(t, func(ctx context.Context, job *river.Job[errand]) error {
		begun <- job.ID
		if job.Attempt == 1 {
			<-goOn
		}
		err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO towpath.effect VALUES ($1, $2)`, job.ID, job.Attempt); err != nil {
				return err
			}
			_, err := river.JobCompleteTx[*driver.Driver](ctx, tx, job)
			return err
		})
		results <- err
		return err
	})
	other := rigOn(r.pool).actor(t, "other")
	_, err := client.Insert(t.Context(), errand{}, nil)
	require.NoError(t, err)
	id := <-begun
	r.takeAway(t, id, true)
	require.Eventually(t, func() bool {
		rows := other.fetch(t, 1)
		return len(rows) == 1 && rows[0].Attempt == 2
	}, soon, tick, "the stale client hands it back as long as it holds it")
	close(goOn)
	require.ErrorIs(t, <-results, pilot.ErrAttemptOver)
	var effects int
	r.queryRow(t, `SELECT count(*) FROM towpath.effect`)(&effects)
	require.Zero(t, effects)
	r.requireIn(t, "live", rivertype.JobStateRunning, id)
	require.Eventually(t, func() bool { return pilot.HeldOf(client) == 0 }, soon, tick)
	other.end(t, completed(id))
	require.Equal(t, rivertype.JobStateCompleted, r.ended(t, id).State)
	require.Empty(t, r.get(t, id).Errors, "the error of the stale attempt is nobody's")
}

// TestClientResumable: a step is recorded inside the handler's transaction while the attempt is its own.
func TestClientResumable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	results := make(chan error, 10)
	client := r.client(t, func(ctx context.Context, job *river.Job[errand]) error {
		river.ResumableStep(ctx, "one", nil, func(ctx context.Context) error {
			if job.Args.What == "stale" && job.Attempt == 1 {
				r.takeAway(t, job.ID, true)
			}
			err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
				_, err := river.ResumableSetStepTx[*driver.Driver](ctx, tx, job)
				return err
			})
			results <- err
			return err
		})
		return nil
	})
	own, err := client.Insert(t.Context(), errand{}, nil)
	require.NoError(t, err)
	require.NoError(t, <-results)
	require.Equal(t, rivertype.JobStateCompleted, r.ended(t, own.Job.ID).State)
	stale, err := client.Insert(t.Context(), errand{What: "stale"}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, <-results, pilot.ErrAttemptOver)
	require.NoError(t, <-results, "the next attempt")
	row := r.ended(t, stale.Job.ID)
	require.Equal(t, 2, row.Attempt)
	require.Empty(t, row.Errors)
}

// TestClientCancelsWhatRuns: the handler's context ends, and what it returns ends the job.
func TestClientCancelsWhatRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := make(chan int64, 1)
	client := r.client(t, func(ctx context.Context, job *river.Job[errand]) error {
		begun <- job.ID
		<-ctx.Done()
		return ctx.Err()
	})
	_, err := client.Insert(t.Context(), errand{}, nil)
	require.NoError(t, err)
	id := <-begun
	_, err = client.JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, r.ended(t, id).State)
	require.Equal(t, "history", r.place(t, id))
	again, err := client.JobRetry(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, id, again.ID)
	require.Equal(t, id, <-begun, "the retry is told of at once")
	_, err = client.JobCancel(t.Context(), id)
	require.NoError(t, err)
	r.ended(t, id)
	_, err = client.JobDelete(t.Context(), id)
	require.NoError(t, err)
	_, err = client.JobGet(t.Context(), id)
	require.ErrorIs(t, err, river.ErrNotFound)
}

// TestClientLists: River's own lists and bulk deletion see live and finished jobs as one.
func TestClientLists(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client(t, func(context.Context, *river.Job[errand]) error { return nil })
	var want []int64
	for i := range 5 {
		opts := &river.InsertOpts{Tags: []string{"listed", fmt.Sprintf("nth-%d", i)}}
		if i == 4 {
			opts.ScheduledAt = time.Now().Add(time.Hour)
		}
		result, err := client.Insert(t.Context(), errand{What: fmt.Sprint(i)}, opts)
		require.NoError(t, err)
		want = append(want, result.Job.ID)
		if i < 4 {
			r.ended(t, result.Job.ID)
		}
	}
	list, err := client.JobList(t.Context(), river.NewJobListParams().OrderBy(river.JobListOrderByID, river.SortOrderAsc).First(3))
	require.NoError(t, err)
	require.Equal(t, want[:3], ids(list.Jobs))
	list, err = client.JobList(t.Context(), river.NewJobListParams().OrderBy(river.JobListOrderByID, river.SortOrderAsc).After(list.LastCursor))
	require.NoError(t, err)
	require.Equal(t, want[3:], ids(list.Jobs))
	list, err = client.JobList(t.Context(), river.NewJobListParams().States(rivertype.JobStateCompleted).OrderBy(river.JobListOrderByFinalizedAt, river.SortOrderDesc))
	require.NoError(t, err)
	require.Equal(t, []int64{want[3], want[2], want[1], want[0]}, ids(list.Jobs))
	list, err = client.JobList(t.Context(), river.NewJobListParams().TagsAll("nth-2").Where("args @> @fragment::jsonb", river.NamedArgs{"fragment": `{"what": "2"}`}))
	require.NoError(t, err)
	require.Equal(t, want[2:3], ids(list.Jobs))
	deleted, err := client.JobDeleteMany(t.Context(), river.NewJobDeleteManyParams().IDs(want[1], want[4]))
	require.NoError(t, err)
	require.ElementsMatch(t, []int64{want[1], want[4]}, ids(deleted.Jobs))
	require.Equal(t, 1, r.counters(t, river.QueueDefault)["deleted"], "the one that had not ended")
}

// TestClientStartsAtOnce: an insert wakes the workers, whenever it comes and whatever the client's clock says.
func TestClientStartsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := make(chan int64, 100)
	client := r.client(t, func(_ context.Context, job *river.Job[errand]) error {
		begun <- job.ID
		return nil
	}, func(c *river.Config) {
		c.FetchCooldown, c.FetchPollInterval = river.FetchCooldownDefault, time.Hour // nothing but the notification wakes it
	})
	for i := range 3 {
		result, err := client.Insert(t.Context(), errand{}, nil)
		require.NoError(t, err)
		second, err := client.Insert(t.Context(), errand{}, nil) // inside River's limit on notifications
		require.NoError(t, err)
		for _, id := range []int64{result.Job.ID, second.Job.ID} {
			select {
			case got := <-begun:
				require.Contains(t, []int64{result.Job.ID, second.Job.ID}, got, id)
			case <-time.After(soon):
				require.FailNow(t, "the job waits for a poll", "round %d", i)
			}
		}
	}
	n, err := client.InsertManyFast(t.Context(), []river.InsertManyParams{{Args: errand{}}, {Args: errand{}}})
	require.NoError(t, err)
	for range n {
		select {
		case <-begun:
		case <-time.After(soon):
			require.FailNow(t, "the copied job waits for a poll")
		}
	}
}

// TestClientKnownKinds: with FetchOnlyKnownKinds others' jobs are left alone.
func TestClientKnownKinds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := r.actor(t, "a")
	unknown := a.insertOne(t, kind("unknown"))
	client := r.client(t, func(context.Context, *river.Job[errand]) error { return nil }, func(c *river.Config) { c.FetchOnlyKnownKinds = true })
	result, err := client.Insert(t.Context(), errand{}, nil)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCompleted, r.ended(t, result.Job.ID).State)
	r.requireIn(t, "live", rivertype.JobStateAvailable, unknown)
}

// TestClientStops: what a stopping client interrupts goes back without using up the attempt, and nothing stays held.
func TestClientStops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	begun := make(chan int64, 10)
	client := r.client(t, func(ctx context.Context, job *river.Job[errand]) error {
		begun <- job.ID
		<-ctx.Done()
		return ctx.Err()
	})
	_, err := client.Insert(t.Context(), errand{}, nil)
	require.NoError(t, err)
	id := <-begun
	require.NoError(t, client.StopAndCancel(t.Context()))
	row := r.get(t, id)
	require.Equal(t, rivertype.JobStateAvailable, row.State)
	require.Zero(t, row.Attempt)
	require.Empty(t, row.Errors)
	require.Zero(t, pilot.HeldOf(client))
	// River's loop may choose a last fetch before its end, and gets the job once more.
	counters := r.counters(t, river.QueueDefault)
	require.Positive(t, counters["interrupted"])
	require.Equal(t, map[string]int{"started": counters["interrupted"], "interrupted": counters["interrupted"]}, counters)
}

// What a client hands back as it stops is told to the others, though its own services stop with it.
func TestStopTellsOfWhatItHandsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	client := r.client(t, func(ctx context.Context, _ *river.Job[errand]) error {
		<-ctx.Done()
		return ctx.Err()
	})
	_, err := client.Insert(t.Context(), errand{}, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.inState(t, rivertype.JobStateRunning) == 1 }, soon, tick)
	heard := r.listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, client.StopAndCancel(ctx))
	require.Equal(t, 1, r.inState(t, rivertype.JobStateAvailable))
	require.Contains(t, heard(), `{"queue": "default"}`)
}
