package workers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

type ResizeArgs struct {
	ImageID int64 `json:"image_id"`
}

func (ResizeArgs) Kind() string { return "resize" }

type ResizeWorker struct {
	river.WorkerDefaults[ResizeArgs]
}

func (*ResizeWorker) Timeout(*river.Job[ResizeArgs]) time.Duration { return 5 * time.Minute }

func (*ResizeWorker) Work(ctx context.Context, job *river.Job[ResizeArgs]) error {
	sizes := []int{64, 256, 1024}
	for i, size := range sizes {
		select {
		case <-workers.SoftLimit(ctx):
			return errors.New("too slow today; try again later")
		default:
		}
		workers.Logger(ctx).InfoContext(ctx, "resizing", slog.Int("size", size))
		workers.Progress(ctx, float64(i)/float64(len(sizes)), fmt.Sprintf("%d pixels", size))
	}
	// The row and the end of the job are committed together.
	return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
		found, err := tx.Exec(ctx, `UPDATE image SET resized_at = now() WHERE id = $1`, job.Args.ImageID)
		if err == nil && found.RowsAffected() == 0 {
			return workers.Permanent(errors.New("the image is gone"))
		}
		return err
	})
}

// A program that works one kind of job until it is told to stop.
func ExampleRun() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, "postgres://app@localhost/app")
	if err != nil {
		panic(err)
	}
	defer pool.Close()

	bundle := workers.NewBundle()
	workers.Add(bundle, &ResizeWorker{}, workers.WithMaxAttempts(5), workers.WithBackoff(jobs.Backoff{First: time.Minute}))
	bundle.AddPeriodic("nightly", river.PeriodicInterval(24*time.Hour),
		func() (river.JobArgs, *river.InsertOpts) { return ResizeArgs{ImageID: 1}, nil }, nil)

	if err := workers.Run(ctx, workers.Config{Pool: pool}, bundle); err != nil {
		panic(err)
	}
}
