package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// A witness looks whether jobs are seen to have ended, from a connection of its own: River tells its subscribers of an end
// later than others can read it, and what is asked is when they can. It follows one job at a time, so it sees a sample.
type witness struct {
	returned chan testimony // from handlers; holds none
	seen     []time.Duration
}

// testimony is a job whose handler has just returned.
type testimony struct {
	id int64
	at time.Time
}

const (
	// witnessPause is between two looks at a job, until it has been followed for ten of them; then it grows with that time,
	// so that a slow end costs no more than a few more looks and is known to a tenth.
	witnessPause = time.Millisecond
	witnessShare = 10
	// witnessRest is between two jobs.
	witnessRest = 10 * time.Millisecond
)

func newWitness() *witness { return &witness{returned: make(chan testimony)} }

// hear takes a job if the witness has none. It never waits.
func (w *witness) hear(id int64) {
	select {
	case w.returned <- testimony{id, time.Now()}:
	default:
	}
}

// watch follows jobs until the context ends. Query tells of one whether it has ended, as true.
func (w *witness) watch(ctx context.Context, url, query string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect to look at the ends of jobs: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		select {
		case job := <-w.returned:
			took, err := follow(ctx, conn, query, job)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("look at the end of job %d: %w", job.id, err)
			}
			w.seen = append(w.seen, took)
		case <-ctx.Done():
			return nil
		}
		if pause(ctx, witnessRest) != nil {
			return nil
		}
	}
}

func follow(ctx context.Context, conn *pgx.Conn, query string, job testimony) (time.Duration, error) {
	for {
		var ended bool
		if err := conn.QueryRow(ctx, query, job.id).Scan(&ended); err != nil {
			return 0, err
		}
		took := time.Since(job.at)
		if ended {
			return took, nil
		}
		if err := pause(ctx, max(witnessPause, took/witnessShare)); err != nil {
			return 0, err
		}
	}
}
