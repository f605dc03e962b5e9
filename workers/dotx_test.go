package workers_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

func effects(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT by FROM effect ORDER BY by`)
	require.NoError(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return all
}

func effectTable(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool := jobstest.DB(t)
	_, err := pool.Exec(t.Context(), `CREATE TABLE effect (job_id bigint, by text)`)
	require.NoError(t, err)
	return pool
}

func TestDoTxCommitsEffectAndEndTogether(t *testing.T) {
	t.Parallel()
	pool := effectTable(t)
	r := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO effect VALUES ($1, $2)`, job.ID, job.Args.Name); err != nil {
				return err
			}
			if job.Args.Name == "flaky" && job.Attempt == 1 {
				return errors.New("not yet")
			}
			return nil
		})
	}))
	flaky := await(t, r, insert(t, r, taskArgs{Name: "flaky"}, nil))
	require.NoError(t, flaky.Err())
	require.Equal(t, 2, flaky.Job.Attempt)
	require.Equal(t, "not yet", flaky.Errors[0].Error)
	require.NoError(t, await(t, r, insert(t, r, taskArgs{Name: "plain"}, nil)).Err())
	require.Equal(t, []string{"flaky", "plain"}, effects(t, pool), "what the first attempt wrote was rolled back")
}

func TestCommittedEndOutweighsWhatTheHandlerReturns(t *testing.T) {
	t.Parallel()
	pool := effectTable(t)
	r := start(t, config(pool), bundleOf(func(ctx context.Context, job *river.Job[taskArgs]) error {
		if err := river.RecordOutput(ctx, "before"); err != nil {
			return err
		}
		if err := completeWithEffect(ctx, pool, job, "once"); err != nil {
			return err
		}
		return workers.Permanent(errors.New("after the commit"))
	}))
	result := workOne(t, r, nil)
	require.Equal(t, rivertype.JobStateCompleted, result.State)
	require.JSONEq(t, `"before"`, string(result.Output))
	eventually(t, func() bool { return r.Running() == 0 }, "the handler has returned")
	require.NoError(t, workOne(t, r, nil).Err())
	require.Equal(t, rivertype.JobStateCompleted, row(t, r, result.Job.ID).State)
	require.Empty(t, row(t, r, result.Job.ID).Errors)
	require.Equal(t, []string{"once", "once"}, effects(t, pool), "one each")
}

func TestDoTxOutsideAJobFails(t *testing.T) {
	t.Parallel()
	job := &river.Job[taskArgs]{JobRow: &rivertype.JobRow{}}
	err := workers.DoTx(t.Context(), job, func(pgx.Tx) error { panic("not called") })
	require.ErrorContains(t, err, "the context is not that of a job")
	require.Nil(t, workers.Database(t.Context()))
	_, err = workers.CompleteTx(t.Context(), nil, job)
	require.Error(t, err)
}
