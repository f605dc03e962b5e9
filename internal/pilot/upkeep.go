package pilot

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
)

// upkeep is the leader's housekeeping: folding counters, tidying finished rows, making and retiring partitions. Two
// leaders at once do no harm, only the work twice.
type upkeep struct {
	baseservice.BaseService
	startstop.BaseStartStop
	pilot *Pilot
	calm  time.Duration // slowChoresAfter

	mu    sync.Mutex
	asked periods // how long River keeps finished jobs, once it has said so
	begun time.Time

	tidied      time.Time // when the last pass began that saw every new finished row
	tidiedFully time.Time
	foldIdle    time.Duration // pause since there was nothing to fold
	nearMade    bool          // the partitions of the next days are there
	depth       depthState
}

func newUpkeep(p *Pilot) *upkeep { return &upkeep{pilot: p, calm: slowChoresAfter} }

func (u *upkeep) init(archetype *baseservice.Archetype) { baseservice.Init(archetype, u) }

// chore is a recurring piece of work. It returns when it wants to be done next.
type chore struct {
	name  string
	do    func(ctx context.Context, x *Executor, schema string) (pause time.Duration, err error)
	limit time.Duration // for one run
	next  time.Time
	fails int
}

// upkeepShare bounds what a chore may cost that is done every few seconds: after it there is a pause of so many times its
// duration, so that it takes at most 5% of one core however much an open transaction makes the database drag along.
const upkeepShare = 20

// slowChoresAfter is how long a new leader leaves alone what is done hourly or daily.
const slowChoresAfter = time.Minute

// choreRetry is the pause after a chore that failed; it doubles with each failure in a row, up to choreRetryMost.
const (
	choreRetry     = 5 * time.Second
	choreRetryMost = 5 * time.Minute
)

// Start begins the service.
func (u *upkeep) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := u.StartInit(ctx)
	if !shouldStart {
		return nil
	}
	u.mu.Lock()
	u.begun = time.Now()
	u.mu.Unlock()
	go func() {
		started()
		defer stopped()
		h, ok := u.pilot.fleet.where(ctx)
		if !ok {
			return
		}
		u.pilot.due.lead(true)
		defer u.pilot.due.lead(false)
		x := &Executor{db: h.db, storage: u.pilot.storage}
		var wg sync.WaitGroup
		defer wg.Wait()
		// A vacuum may take minutes, and the counters should not wait for it.
		wg.Go(func() { u.run(ctx, x, h.schema, u.slowChores()) })
		u.run(ctx, x, h.schema, u.quickChores())
	}()
	return nil
}

func (u *upkeep) quickChores() []*chore {
	return []*chore{
		{name: "fold counters", do: u.fold, limit: time.Minute},
		{name: "tidy finished jobs", do: u.tidy, limit: time.Minute},
		{name: "refresh queue depth", do: u.refreshDepth, limit: 30 * time.Second},
	}
}

// slowChores are done hourly or daily. A client that has just become the leader, often because the fleet has just been
// started and has work waiting, begins with what cannot wait.
func (u *upkeep) slowChores() []*chore {
	calm := time.Now().Add(u.calm)
	return []*chore{
		{name: "make partitions", do: u.makePartitions, limit: time.Minute},
		{name: "retire partitions", do: u.retirePartitions, limit: 10 * time.Minute, next: calm},
		{name: "prune", do: u.prune, limit: time.Minute, next: calm},
		{name: "vacuum closed days", do: u.vacuumClosed, limit: 2 * time.Hour, next: calm},
	}
}

// run does chores one after the other as they fall due.
func (u *upkeep) run(ctx context.Context, x *Executor, schema string, chores []*chore) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := time.Hour
		for _, c := range chores {
			if !time.Now().Before(c.next) {
				u.runOnce(ctx, x, schema, c)
			}
			wait = min(wait, time.Until(c.next))
		}
		timer.Reset(max(wait, 0))
	}
}

func (u *upkeep) runOnce(ctx context.Context, x *Executor, schema string, c *chore) {
	choreCtx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	pause, err := c.do(choreCtx, x, schema)
	if err != nil {
		pause = min(choreRetry<<min(c.fails, 10), choreRetryMost)
		c.fails++
		if ctx.Err() == nil {
			u.Logger.WarnContext(ctx, "upkeep of the database", slog.String("chore", c.name), slog.Any("error", err))
		}
	} else {
		c.fails = 0
	}
	c.next = time.Now().Add(pause)
}
