package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// Queues with slots of their own, so that jobs that take their time do not keep the others waiting.
const (
	slowQueue = "slow"
	holdQueue = "hold"
)

// The kinds of the load. Salt seeds what an attempt does, so that jobs fail alike however often a test is repeated.
type (
	// plainArgs is a job without an effect; River's completer ends it, together with others.
	plainArgs struct {
		Salt uint64 `json:"salt"`
	}
	// effectArgs has an effect, which is committed together with the job's end.
	effectArgs struct {
		Salt uint64 `json:"salt"`
	}
	// slowArgs has one after a while.
	slowArgs struct {
		Salt   uint64 `json:"salt"`
		Millis int    `json:"millis"`
	}
	// laterArgs has one at Due and not before.
	laterArgs struct {
		Salt uint64    `json:"salt"`
		Due  time.Time `json:"due"`
	}
	// onceArgs is unique by its key, for ever.
	onceArgs struct {
		Key string `json:"key"`
	}
	// joinArgs is unique by its key until it has ended.
	joinArgs struct {
		Key string `json:"key"`
	}
	// endArgs ends in the way that How says.
	endArgs struct {
		Salt uint64 `json:"salt"`
		How  string `json:"how"`
	}
	// holdArgs waits for a gate, see hold.
	holdArgs struct {
		Gates    []int `json:"gates"`
		Tx       bool  `json:"tx"`
		Stubborn bool  `json:"stubborn"`
	}
	// ghostArgs is enqueued only by transactions that are not committed.
	ghostArgs struct{}
)

func (plainArgs) Kind() string  { return "crash.plain" }
func (effectArgs) Kind() string { return "crash.effect" }
func (slowArgs) Kind() string   { return "crash.slow" }
func (laterArgs) Kind() string  { return "crash.later" }
func (onceArgs) Kind() string   { return "crash.once" }
func (joinArgs) Kind() string   { return "crash.join" }
func (endArgs) Kind() string    { return "crash.end" }
func (holdArgs) Kind() string   { return "crash.hold" }
func (ghostArgs) Kind() string  { return "crash.ghost" }

func (slowArgs) InsertOpts() river.InsertOpts    { return river.InsertOpts{Queue: slowQueue} }
func (holdArgs) InsertOpts() river.InsertOpts    { return river.InsertOpts{Queue: holdQueue} }
func (a laterArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{ScheduledAt: a.Due} }

func (onceArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
}

func (joinArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}}
}

// Ways of endArgs.
const (
	endDiscarded = "discarded" // by an error that no retry can mend
	endCancelled = "cancelled" // by the handler
	endSnoozed   = "snoozed"   // completed after a snooze
	endTimedOut  = "timed out" // completed after an attempt that took too long
)

var endings = []string{endDiscarded, endCancelled, endSnoozed, endTimedOut}

// state is the one in which the job ends.
func (a endArgs) state() rivertype.JobState {
	switch a.How {
	case endDiscarded:
		return rivertype.JobStateDiscarded
	case endCancelled:
		return rivertype.JobStateCancelled
	default:
		return rivertype.JobStateCompleted
	}
}

// worker works jobs by a function.
type worker[T river.JobArgs] struct {
	river.WorkerDefaults[T]
	timeout time.Duration // 0: the client's
	work    func(ctx context.Context, job *river.Job[T]) error
}

// Timeout implements river.Worker.
func (w *worker[T]) Timeout(*river.Job[T]) time.Duration { return w.timeout }

// Work implements river.Worker.
func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error { return w.work(ctx, job) }

// newBundle is the application's.
func newBundle() *workers.Bundle {
	bundle := workers.NewBundle()
	addSchedules(bundle)
	addKind(bundle, 0, func(_ context.Context, job *river.Job[plainArgs]) error {
		if d := newDice(job.Args.Salt, job.JobRow); d.fails(5) {
			return errors.New("a plain job fails")
		}
		return nil
	})
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[effectArgs]) error {
		return takeEffect(ctx, job, newDice(job.Args.Salt, job.JobRow))
	})
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[slowArgs]) error {
		if err := pause(ctx, time.Duration(job.Args.Millis)*time.Millisecond); err != nil {
			return err
		}
		return takeEffect(ctx, job, newDice(job.Args.Salt, job.JobRow))
	})
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[laterArgs]) error {
		return takeEffect(ctx, job, newDice(job.Args.Salt, job.JobRow))
	})
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[onceArgs]) error {
		return takeEffect(ctx, job, newDice(0, job.JobRow))
	})
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[joinArgs]) error {
		return takeEffect(ctx, job, newDice(0, job.JobRow))
	})
	addKind(bundle, 500*time.Millisecond, workEnd)
	addKind(bundle, 10*time.Minute, hold)
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[ghostArgs]) error {
		return note(ctx, "INSERT INTO crash.ghost (job_id) VALUES ($1)", job.ID)
	})
	return bundle
}

func addKind[T river.JobArgs](bundle *workers.Bundle, timeout time.Duration, work func(context.Context, *river.Job[T]) error) {
	workers.Add(bundle, &worker[T]{timeout: timeout, work: work},
		workers.WithBackoff(jobs.Backoff{First: 50 * time.Millisecond, Max: time.Second}))
}

// dice decide what one attempt does.
type dice struct {
	*rand.Rand
	attempt int
}

func newDice(salt uint64, row *rivertype.JobRow) dice {
	if salt == 0 {
		salt = uint64(row.ID)
	}
	return dice{rand.New(rand.NewPCG(salt, uint64(row.Attempt))), row.Attempt}
}

// fails says whether to fail, by a chance in percent. Late attempts never do, so that no job runs out of them.
func (d dice) fails(percent int) bool { return d.IntN(100) < percent && d.attempt <= 8 }

// takeEffect writes the job's effect in the transaction that completes it, or fails before, during or after that.
func takeEffect[T river.JobArgs](ctx context.Context, job *river.Job[T], d dice) error {
	if d.fails(4) {
		return errors.New("the job fails before its transaction")
	}
	if d.fails(2) {
		panic("the job panics")
	}
	return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO crash.effect (job_id, kind, attempt, client) VALUES ($1, $2, $3, $4)",
			job.ID, job.Kind, job.Attempt, owner(job.JobRow))
		if err != nil {
			return err
		}
		if d.fails(4) {
			return errors.New("the job fails with its effect written")
		}
		if d.IntN(10) == 0 { // be caught in the middle now and then
			return pause(ctx, time.Duration(d.IntN(50))*time.Millisecond)
		}
		return nil
	})
}

// workEnd ends a job in its own way.
func workEnd(ctx context.Context, job *river.Job[endArgs]) error {
	if d := newDice(job.Args.Salt, job.JobRow); d.fails(10) {
		return errors.New("the job fails before its end")
	}
	switch job.Args.How {
	case endDiscarded:
		return workers.Permanent(errors.New("the job cannot be saved"))
	case endCancelled:
		return river.JobCancel(errors.New("the job is not needed"))
	case endSnoozed:
		var metadata struct {
			Snoozes int `json:"snoozes"`
		}
		if err := json.Unmarshal(job.Metadata, &metadata); err != nil || metadata.Snoozes == 0 {
			return errors.Join(river.JobSnooze(100*time.Millisecond), err)
		}
	case endTimedOut:
		if len(job.Errors) == 0 {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	return nil
}

// hold tells that the attempt has begun, waits until the gate for it is open (0 always is; the last of the gates serves
// all further attempts), ends the job with an effect or without, and tells how it fared. A stubborn one waits on when its
// context has ended.
func hold(ctx context.Context, job *river.Job[holdArgs]) error {
	lasting := context.WithoutCancel(ctx)
	gate := job.Args.Gates[min(job.Attempt, len(job.Args.Gates))-1]
	err := note(lasting, "INSERT INTO crash.attempt (job_id, attempted_at, attempt, client) VALUES ($1, $2, $3, $4)",
		job.ID, job.AttemptedAt, job.Attempt, owner(job.JobRow))
	if err != nil {
		return err
	}
	if job.Args.Stubborn {
		err = waitForGate(lasting, gate)
	} else {
		err = waitForGate(ctx, gate)
	}
	if err == nil && job.Args.Tx {
		err = workers.DoTx(lasting, job, func(tx pgx.Tx) error {
			_, err := tx.Exec(lasting, "INSERT INTO crash.effect (job_id, kind, attempt, client) VALUES ($1, $2, $3, $4)",
				job.ID, job.Kind, job.Attempt, owner(job.JobRow))
			return err
		})
	}
	outcome := "done"
	if err != nil {
		outcome = err.Error()
	}
	return errors.Join(err, note(lasting, "UPDATE crash.attempt SET outcome = $3 WHERE job_id = $1 AND attempted_at = $2",
		job.ID, job.AttemptedAt, outcome))
}

func waitForGate(ctx context.Context, gate int) error {
	for gate > 0 {
		var open bool
		err := inTx(ctx, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM crash.gate WHERE gate = $1)", gate).Scan(&open)
		})
		if err != nil {
			return fmt.Errorf("look at gate %d: %w", gate, err)
		}
		if open {
			break
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// note writes something down whatever becomes of the job.
func note(ctx context.Context, sql string, args ...any) error {
	return inTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	})
}

func inTx(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, workers.Database(ctx), do)
}

// owner is the client that runs the attempt.
func owner(row *rivertype.JobRow) string { return row.AttemptedBy[len(row.AttemptedBy)-1] }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
