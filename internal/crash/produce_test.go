package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/cmd"
	"github.com/towpath/towpath/jobs"
)

// tables are the application's. What is expected is written in the transactions that enqueue it, and received is the
// same in sums.
const tables = `
CREATE SCHEMA crash;
CREATE TABLE crash.expected (job_id bigint PRIMARY KEY, queue text NOT NULL, kind text NOT NULL, ends text NOT NULL, due timestamptz, once text);
CREATE TABLE crash.received (queue text NOT NULL, kind text NOT NULL, n bigint NOT NULL);
CREATE TABLE crash.effect (job_id bigint NOT NULL, kind text NOT NULL, attempt int NOT NULL, client text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE crash.attempt (job_id bigint, attempted_at timestamptz, attempt int NOT NULL, client text NOT NULL, outcome text, PRIMARY KEY (job_id, attempted_at));
CREATE TABLE crash.gate (gate int PRIMARY KEY);
CREATE TABLE crash.ghost (job_id bigint NOT NULL)`

const expectStatement = `
WITH e AS (
	INSERT INTO crash.expected (job_id, queue, kind, ends, due, once)
	SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[]) RETURNING queue, kind
)
INSERT INTO crash.received (queue, kind, n) SELECT queue, kind, count(*) FROM e GROUP BY 1, 2`

// producer enqueues a mixture of jobs, a transaction after the other.
type producer struct {
	pool   *pgxpool.Pool
	client *jobs.Client
	dice   *rand.Rand

	seed     uint64
	jobs     int
	rate     int
	batch    int
	rollback int
	backlog  int
	abandon  bool
}

func produceCommand(program *cmd.Program) *cobra.Command {
	p := &producer{}
	c := &cobra.Command{
		Use:   "produce",
		Short: "Enqueue the load of the crash tests",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if p.pool, err = program.Database(c.Context()); err != nil {
				return err
			}
			if p.client, err = program.Client(c.Context()); err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, producesSays)
			p.dice = rand.New(rand.NewPCG(p.seed, 0))
			if p.abandon {
				return p.leaveOpen(c.Context())
			}
			return p.run(c.Context())
		},
	}
	c.Flags().Uint64Var(&p.seed, "seed", 1, "what is enqueued depends on it")
	c.Flags().IntVar(&p.jobs, "jobs", 0, "end after so many; 0: on a signal")
	c.Flags().IntVar(&p.rate, "rate", 0, "jobs a second; 0: no limit")
	c.Flags().IntVar(&p.batch, "batch", 20, "jobs in a transaction at most")
	c.Flags().IntVar(&p.rollback, "rollback", 10, "transactions in a hundred that are rolled back")
	c.Flags().IntVar(&p.backlog, "backlog", 0, "wait while so many jobs are unfinished; 0: never")
	c.Flags().BoolVar(&p.abandon, "abandon", false, "enqueue, say that the transaction is open, and wait")
	return c
}

// run enqueues until the context ends or enough is committed. While the database is away it tries again; a transaction
// whose commit got no answer may have been committed, which the expected jobs know best.
func (p *producer) run(ctx context.Context) error {
	begun, sinceLook := time.Now(), 0
	for done := 0; ctx.Err() == nil && (p.jobs == 0 || done < p.jobs); {
		if p.rate > 0 {
			_ = pause(ctx, time.Until(begun.Add(time.Duration(done)*time.Second/time.Duration(p.rate))))
		}
		n, err := p.transaction(ctx)
		if err == nil && p.backlog > 0 {
			if sinceLook += n; sinceLook > p.backlog/10 {
				sinceLook = 0
				err = p.awaitRoom(ctx)
			}
		}
		done += n
		if err == nil || ctx.Err() != nil {
			continue
		}
		if !passing(err) {
			return err
		}
		fmt.Fprintln(os.Stderr, "produce:", err)
		_ = pause(ctx, 100*time.Millisecond)
	}
	return nil
}

// passing tells whether an error may come of what is done to Postgres, or of the company of other producers.
func passing(err error) bool {
	var pgErr *pgconn.PgError
	return !errors.As(err, &pgErr) || slices.Contains([]string{"08", "40", "53", "57"}, pgErr.Code[:2])
}

// awaitRoom waits until fewer jobs than the backlog are unfinished.
func (p *producer) awaitRoom(ctx context.Context) error {
	for {
		var n int
		err := p.pool.QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM towpath.river_job WHERE finalized_at IS NULL LIMIT $1) AS unfinished", p.backlog).Scan(&n)
		if err != nil || n < p.backlog {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// transaction enqueues a few jobs and commits or rolls back. It returns how many were committed.
func (p *producer) transaction(ctx context.Context) (int, error) {
	tx, err := p.pool.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	expected, err := p.enqueue(ctx, tx, 1+p.dice.IntN(p.batch))
	if err != nil {
		return 0, err
	}
	if p.dice.IntN(100) < p.rollback {
		if err := p.enqueueGhosts(ctx, tx); err != nil {
			return 0, err
		}
		return 0, tx.Rollback(ctx)
	}
	if err := expected.write(ctx, tx); err != nil {
		return 0, err
	}
	return len(expected.ids), tx.Commit(ctx)
}

// enqueue enqueues n jobs, in different ways, and returns what has to come of them.
func (p *producer) enqueue(ctx context.Context, tx pgx.Tx, n int) (*expectations, error) {
	var (
		params []river.InsertManyParams
		e      = &expectations{}
	)
	for range n {
		params = append(params, river.InsertManyParams{Args: p.args()})
	}
	// At most one with a key: transactions that wait for each other's keys must not do so in a circle.
	switch p.dice.IntN(4) {
	case 0:
		params = append(params, river.InsertManyParams{Args: onceArgs{Key: fmt.Sprint(p.dice.IntN(300))}})
	case 1:
		params = append(params, river.InsertManyParams{Args: joinArgs{Key: fmt.Sprint(p.dice.IntN(30))}})
	}
	if len(params) == 1 {
		result, err := p.client.InsertTx(ctx, tx, params[0].Args, nil)
		if err != nil {
			return nil, err
		}
		e.add(result, params[0].Args)
	} else {
		results, err := p.client.InsertManyTx(ctx, tx, params)
		if err != nil {
			return nil, err
		}
		for i, result := range results {
			e.add(result, params[i].Args)
		}
	}
	if p.dice.IntN(4) > 0 {
		return e, nil
	}
	args := effectArgs{Salt: p.dice.Uint64()}
	raw, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	job := &rivertype.JobRow{Kind: args.Kind(), Queue: river.QueueDefault}
	if err := tx.QueryRow(ctx, "SELECT id FROM towpath.enqueue($1, $2::text::json)", job.Kind, string(raw)).Scan(&job.ID); err != nil {
		return nil, err
	}
	e.add(&rivertype.JobInsertResult{Job: job}, args)
	return e, nil
}

// args are those of a job of the mixture, mostly of cheap kinds.
func (p *producer) args() river.JobArgs {
	salt := p.dice.Uint64() | 1 // 0 would mean none
	switch n := p.dice.IntN(1000); {
	case n < 150:
		return effectArgs{Salt: salt}
	case n < 180:
		return slowArgs{Salt: salt, Millis: p.dice.IntN(300)}
	case n < 220:
		return laterArgs{Salt: salt, Due: time.Now().Add(time.Duration(p.dice.IntN(5000)) * time.Millisecond)}
	case n < 250:
		return endArgs{Salt: salt, How: endings[p.dice.IntN(len(endings))]}
	default:
		return plainArgs{Salt: salt}
	}
}

func (p *producer) enqueueGhosts(ctx context.Context, tx pgx.Tx) error {
	if _, err := p.client.InsertTx(ctx, tx, ghostArgs{}, nil); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "SELECT towpath.enqueue($1)", ghostArgs{}.Kind())
	return err
}

// producesSays is what the log of a producer says once it is connected and lives through what is done to Postgres.
const producesSays = "connected and enqueueing"

// openSays is what the log of an abandoning producer says.
const openSays = "the transaction is open"

// leaveOpen enqueues, and never gets to the commit.
func (p *producer) leaveOpen(ctx context.Context) error {
	return pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		if err := p.enqueueGhosts(ctx, tx); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, openSays)
		<-ctx.Done()
		return ctx.Err()
	})
}

// expectations are jobs and what has to become of them.
type expectations struct {
	ids                 []int64
	queues, kinds, ends []string
	dues                []*time.Time
	onces               []*string
}

// add expects a job, unless it joined one that is expected already.
func (e *expectations) add(result *rivertype.JobInsertResult, args river.JobArgs) {
	if result.UniqueSkippedAsDuplicate {
		return
	}
	var (
		due  *time.Time
		once *string
		ends = rivertype.JobStateCompleted
	)
	switch a := args.(type) {
	case laterArgs:
		due = &a.Due
	case onceArgs:
		once = &a.Key
	case endArgs:
		ends = a.state()
	}
	e.ids, e.queues, e.kinds = append(e.ids, result.Job.ID), append(e.queues, result.Job.Queue), append(e.kinds, result.Job.Kind)
	e.ends, e.dues, e.onces = append(e.ends, string(ends)), append(e.dues, due), append(e.onces, once)
}

func (e *expectations) write(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, expectStatement, e.ids, e.queues, e.kinds, e.ends, e.dues, e.onces)
	return err
}
