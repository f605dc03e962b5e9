package pilot

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// duties are what a process does about what its beats bring. They run beside the beats, which must not wait for them.
type duties struct {
	sweeps     map[int64]sweep
	suspects   map[int64]time.Time // tokens of jobs that looked like orphans the last time
	nextOrphan time.Time
	extraLook  time.Time // one besides, after a fetch that failed
	rest       time.Time // none before this
}

// sweep is when to look next for jobs that an ended process left running.
type sweep struct {
	next  time.Time
	pause time.Duration
}

func newDuties() duties {
	return duties{sweeps: make(map[int64]sweep), suspects: make(map[int64]time.Time)}
}

// attend does the duties until the context ends.
func (f *fleet) attend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case seen := <-f.duty:
			f.attendTo(ctx, seen)
		}
	}
}

// attendTo does what one sighting asks for. Each part stands for itself.
func (f *fleet) attendTo(ctx context.Context, seen sighting) {
	f.mu.Lock()
	h, clientID, epoch, since := f.home, f.clientID, f.epoch, f.since
	f.mu.Unlock()
	if epoch == 0 { // not registered, or stopped
		return
	}
	x := &Executor{db: h.db, storage: f.pilot.storage}
	warn := func(err error) {
		if err != nil && ctx.Err() == nil {
			f.Logger.WarnContext(ctx, "watch over the processes", slog.Any("error", err))
		}
	}
	dead, err := f.declare(ctx, h, seen.silent)
	warn(err)
	warn(f.sweep(ctx, x, h.schema, append(seen.lost, dead...)))
	warn(f.revoke(ctx, x, h.schema, since))
	// Two processes under one client id cannot tell their jobs apart.
	if !seen.twin {
		warn(f.reclaim(ctx, x, h.schema, clientID, since))
	}
}

// declareStatement makes tombstones of the rows whose beat is still the one that was seen standing still.
const declareStatement statement = `
UPDATE SCHEMA.process p SET dead_at = clock_timestamp()
FROM unnest($1::bigint[], $2::bigint[]) AS seen (epoch, beat)
WHERE p.epoch = seen.epoch AND p.beat = seen.beat AND p.dead_at IS NULL AND p.stopped_at IS NULL
RETURNING p.epoch, p.client_id, p.host`

// declare declares silent processes dead and returns the epochs that it was first to declare.
func (f *fleet) declare(ctx context.Context, h home, silent []peer) ([]int64, error) {
	if len(silent) == 0 {
		return nil, nil
	}
	epochs, beats := make([]int64, len(silent)), make([]int64, len(silent))
	for i, p := range silent {
		epochs[i], beats[i] = p.epoch, p.beat
	}
	rows, err := h.db.Query(ctx, declareStatement.in(h.schema), epochs, beats)
	if err != nil {
		return nil, fmt.Errorf("declare epochs %v dead: %w", epochs, riverError(err))
	}
	var (
		dead           []int64
		epoch          int64
		clientID, host string
	)
	_, err = pgx.ForEachRow(rows, []any{&epoch, &clientID, &host}, func() error {
		dead = append(dead, epoch)
		f.Logger.WarnContext(ctx, "process went silent and was declared dead",
			slog.String("client_id", clientID), slog.String("host", host), slog.Int64("epoch", epoch))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("declare epochs %v dead: %w", epochs, riverError(err))
	}
	return dead, nil
}

// sweep rescues what lost processes left running. A row stays for a day, since a fetch of a process that was cut off may
// arrive late, or a transaction may have held a job; while nothing is found, the looks become rare.
func (f *fleet) sweep(ctx context.Context, x *Executor, schema string, lost []int64) error {
	now := f.now()
	sweeps := make(map[int64]sweep, len(lost))
	var due []int64
	for _, epoch := range lost {
		s := f.sweeps[epoch]
		sweeps[epoch] = s
		if !now.Before(s.next) {
			due = append(due, epoch)
		}
	}
	f.sweeps = sweeps
	if len(due) == 0 {
		return nil
	}
	result, err := x.rescueAll(ctx, schema, due)
	if result.total() > 0 {
		f.Logger.InfoContext(ctx, "rescued jobs of lost processes", slog.Int("retried", result.retried),
			slog.Int("cancelled", result.cancelled), slog.Int("discarded", result.discarded))
	}
	if err != nil {
		return err
	}
	for _, epoch := range due {
		s := sweeps[epoch]
		s.pause = min(max(2*s.pause, f.pace.beat), f.pace.sweep)
		if result.total() > 0 {
			s.pause = f.pace.beat
		}
		// A little early, for the beat that comes at about that time.
		s.next = now.Add(s.pause - f.pace.beat/2)
		sweeps[epoch] = s
	}
	return nil
}

// costShare bounds what a look may cost whose time depends on how much the database drags along: after it there is a
// pause of so many times its duration, so that it takes 1% of one core.
const costShare = 100

// reclaim hands back jobs of ours that we do not hold: their fetch took effect, but its answer was lost. A job has to
// look so twice, a beat apart, since one that is between two steps here may look so once. A fetch that failed is reason
// to look as soon as its jobs are old enough.
func (f *fleet) reclaim(ctx context.Context, x *Executor, schema, clientID string, since time.Time) error {
	begun := f.now()
	if failed := f.fetchFailed.Swap(nil); failed != nil {
		f.extraLook = failed.Add(f.pace.orphan)
	}
	extra := !f.extraLook.IsZero() && !begun.Before(f.extraLook)
	if begun.Before(f.nextOrphan) && !extra || begun.Before(f.rest) {
		return nil
	}
	if extra {
		f.extraLook = time.Time{}
	}
	found, err := x.orphans(ctx, schema, clientID, since, f.pace.orphan, f.pilot.held.ids())
	f.nextOrphan, f.rest = begun.Add(f.pace.orphan), begun.Add(costShare*f.now().Sub(begun))
	if err != nil {
		return fmt.Errorf("look for jobs of ours that nobody holds: %w", err)
	}
	suspects := make(map[int64]time.Time)
	var orphans []orphan
	for _, o := range found {
		if token, ok := f.suspects[o.id]; ok && token.Equal(o.token) {
			orphans = append(orphans, o)
		} else {
			suspects[o.id] = o.token
			// A little early, for the beat that comes at about that time.
			f.nextOrphan = begun.Add(f.pace.beat - f.pace.beat/10)
		}
	}
	f.suspects = suspects
	if len(orphans) == 0 {
		return nil
	}
	if err := x.handBack(ctx, schema, orphans); err != nil {
		return fmt.Errorf("hand back jobs of ours that nobody holds: %w", err)
	}
	queues := make(map[string]struct{})
	for _, o := range orphans {
		queues[o.queue] = struct{}{}
	}
	for queue := range queues {
		f.pilot.due.at(time.Now(), queue)
	}
	f.Logger.WarnContext(ctx, "handed back jobs whose fetch got no answer", slog.Int("jobs", len(orphans)))
	return nil
}
