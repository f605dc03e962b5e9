package pilot

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
	"github.com/riverqueue/river/rivertype"
)

// duePace is how often a dueService looks.
type duePace struct {
	quiet    time.Duration // between looks of the leader when nothing was due for a while
	busy     time.Duration // and otherwise
	calm     time.Duration // that while
	gap      time.Duration // the least time between two looks of one process
	ahead    time.Duration // calls for later than this are left to the leader
	soon     time.Duration // the leader is told of jobs that fall due within this time; it finds others when it looks
	patience time.Duration // for one statement
}

var defaultDuePace = duePace{
	quiet: 12 * time.Second, busy: 2 * time.Second, calm: time.Minute, gap: 20 * time.Millisecond, ahead: 30 * time.Second,
	soon: 15 * time.Second, patience: 10 * time.Second,
}

const (
	// dueBatch is how many jobs one statement makes available.
	dueBatch = 1000
	// dueShare bounds the looks, which walk over what an open transaction keeps vacuum from removing: after each there is
	// a pause of so many times its duration, so that they take at most 5% of one core.
	dueShare = 20
	// clockSlack is how far the estimate of the database's clock may be off.
	clockSlack = 2 * time.Millisecond
)

// dueService makes scheduled and retryable jobs available at the moment they fall due, and tells their queues.
//
// The leader looks when the next job is due, and every few seconds for what was scheduled meanwhile. Every process looks
// at the times at which a job of its own falls due, and clients that only insert call the leader, so that short waits are
// kept to the moment as well. All compare with the database's clock.
type dueService struct {
	baseservice.BaseService
	startstop.BaseStartStop
	pilot *Pilot
	pace  duePace
	wake  chan struct{}

	mu      sync.Mutex
	running bool
	leads   bool
	calls   map[time.Time]map[string]struct{} // moment to queues that are to be told
	skew    time.Duration                     // the database's clock minus ours
	schema  string
	look    time.Time // the leader's next look
	looked  time.Time // the last one that succeeded
	lastDue time.Time
	holdOff time.Time
}

func newDueService(p *Pilot) *dueService {
	s := &dueService{
		pilot: p, pace: defaultDuePace, wake: make(chan struct{}, 1), calls: make(map[time.Time]map[string]struct{}),
	}
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	p.storage.dues = append(p.storage.dues, s)
	return s
}

func (s *dueService) init(archetype *baseservice.Archetype) { baseservice.Init(archetype, s) }

// at tells the service of a job that falls due at t. River makes a job available ahead of its time when the wait is
// short; its queue has to be told at that time, and is named.
func (s *dueService) at(t time.Time, queues ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running || time.Until(t) > s.pace.ahead {
		return
	}
	// Moments that lie close together are one, the last; none is so early that clocks that differ a little spoil it.
	moment := t.Add(clockSlack).Truncate(s.pace.gap).Add(s.pace.gap)
	if s.calls[moment] == nil {
		s.calls[moment] = make(map[string]struct{})
		s.nudge()
	}
	for _, queue := range queues {
		s.calls[moment][queue] = struct{}{}
	}
}

// leaderCall is the name of a queue that cannot be, in a notification of a new job that makes the leader look for due
// ones. River's producers pass over it.
const leaderCall = "@due"

// inserting is told of jobs that are being inserted. It reports whether the leader is to be called: for those that fall
// due soon, unless this process looks after them itself.
func (s *dueService) inserting(jobs []*riverdriver.JobInsertFastParams) bool {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	soon := false
	for _, job := range jobs {
		if job.State == rivertype.JobStateScheduled && job.ScheduledAt != nil {
			s.at(*job.ScheduledAt)
			soon = soon || time.Until(*job.ScheduledAt) < s.pace.soon
		}
	}
	return soon && !running
}

// callLeader makes the leader look, if it is one of the clients of this driver.
func (s *Storage) callLeader(schema string) {
	for _, due := range s.dueServices() {
		due.mu.Lock()
		if due.leads && (schema == "" || due.schema == schema) {
			due.look = time.Time{}
			due.nudge()
		}
		due.mu.Unlock()
	}
}

// looksAfterDue reports whether the leader is a client of this driver and its looks get through.
func (s *Storage) looksAfterDue(schema string) bool {
	for _, due := range s.dueServices() {
		due.mu.Lock()
		does := due.leads && due.schema == schema && time.Since(due.looked) < due.pace.soon
		due.mu.Unlock()
		if does {
			return true
		}
	}
	return false
}

// fleetOf returns the fleet of a client of this driver, or nil.
func (s *Storage) fleetOf(schema, clientID string) *fleet {
	for _, due := range s.dueServices() {
		f := due.pilot.fleet
		f.mu.Lock()
		same := f.clientID == clientID && f.home.schema == schema
		f.mu.Unlock()
		if same {
			return f
		}
	}
	return nil
}

func (s *Storage) dueServices() []*dueService {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dues
}

// expect calls for the jobs among rows that wait for their time.
func (s *dueService) expect(rows []*rivertype.JobRow) {
	for _, row := range rows {
		switch row.State {
		case rivertype.JobStateAvailable:
			s.at(row.ScheduledAt, row.Queue)
		case rivertype.JobStateRetryable, rivertype.JobStateScheduled:
			s.at(row.ScheduledAt)
		default:
		}
	}
}

// partingSoon is within what time a job falls due of which a process tells before it goes.
const partingSoon = time.Second

// ended looks after jobs that were handed back or wait for another attempt: at their moment, or, in a process that stops
// and will not be there at that moment, at once for those that are as good as due.
func (p *Pilot) ended(ctx context.Context, x *Executor, schema string, rows []*rivertype.JobRow) {
	p.due.expect(rows)
	p.due.mu.Lock()
	running := p.due.running
	p.due.mu.Unlock()
	if running {
		return
	}
	queues := make(map[string]struct{})
	for _, row := range rows {
		if row.State == rivertype.JobStateAvailable && time.Until(row.ScheduledAt) < partingSoon {
			queues[row.Queue] = struct{}{}
		}
	}
	p.due.part(ctx, x, schema, queues)
}

// part tells queues, because the process goes.
func (s *dueService) part(ctx context.Context, x *Executor, schema string, queues map[string]struct{}) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingSoon)
	defer cancel()
	if err := x.tellQueues(ctx, schema, slices.Sorted(maps.Keys(queues))...); err != nil {
		s.Logger.WarnContext(ctx, "tell of jobs that were handed back", slog.Any("error", err))
	}
}

// parting returns the queues of calls that are as good as due.
func (s *dueService) parting() map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false // from now on others tell at once
	queues := make(map[string]struct{})
	for moment, named := range s.calls {
		if moment.Sub(time.Now().Add(s.skew)) < partingSoon {
			maps.Copy(queues, named)
		}
	}
	return queues
}

// lead says whether this process is the leader.
func (s *dueService) lead(leads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leads, s.look, s.looked = leads, time.Time{}, time.Time{}
	s.nudge()
}

func (s *dueService) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Start begins the service, which goes on while a stopping client lets its last jobs end.
func (s *dueService) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := s.StartInit(context.WithoutCancel(ctx))
	if !shouldStart {
		return nil
	}
	s.setRunning(true)
	go func() {
		started()
		defer stopped()
		defer s.setRunning(false)
		if h, ok := s.pilot.fleet.where(ctx); ok {
			s.run(ctx, h)
		}
	}()
	return nil
}

func (s *dueService) setRunning(running bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.looked = running, time.Time{}
	clear(s.calls)
}

func (s *dueService) run(ctx context.Context, h home) {
	s.mu.Lock()
	s.schema = h.schema
	s.mu.Unlock()
	x := &Executor{db: h.db, storage: s.pilot.storage}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, queues, now := s.next(time.Now())
		if now {
			s.promote(ctx, x, h.schema, queues)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			s.part(ctx, x, h.schema, s.parting())
			return
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// next says how long to wait, or that it is time to look and which queues to tell.
func (s *dueService) next(now time.Time) (wait time.Duration, queues []string, look bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pause := s.holdOff.Sub(now); pause > 0 {
		return pause, nil, false
	}
	wait = time.Hour
	if s.leads {
		wait = s.look.Sub(now)
	}
	tell := make(map[string]struct{})
	for moment, named := range s.calls {
		until := moment.Sub(now.Add(s.skew))
		wait = min(wait, until)
		if until <= 0 {
			maps.Copy(tell, named)
			delete(s.calls, moment)
		}
	}
	return wait, slices.Sorted(maps.Keys(tell)), wait <= 0
}

// promote looks once.
func (s *dueService) promote(ctx context.Context, x *Executor, schema string, queues []string) {
	lookCtx, cancel := context.WithTimeout(ctx, s.pace.patience)
	defer cancel()
	begun := time.Now()
	found, err := x.promote(lookCtx, schema, queues)
	ended := time.Now()

	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdOff = ended.Add(max(s.pace.gap, dueShare*found.took))
	if err != nil {
		s.look = ended.Add(s.pace.busy)
		s.holdOff = s.look
		if ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "look for due jobs", slog.Any("error", err))
		}
		return
	}
	// The clock was read at a moment between the two of ours. What is known of it holds while that agrees; otherwise it is
	// rather put a little late than early, when a look would find nothing.
	if least, most := found.clock.Sub(ended), found.clock.Sub(begun); s.skew < least || s.skew > most {
		s.skew = least
	}
	s.looked = ended
	if found.promoted > 0 || found.next >= 0 {
		s.lastDue = ended
	}
	pause := s.pace.quiet
	if ended.Sub(s.lastDue) < s.pace.calm {
		pause = s.pace.busy
	}
	switch {
	case found.promoted == dueBatch: // there may be more
		s.look, s.holdOff = ended, ended
		if !s.leads {
			s.calls[ended.Add(s.skew)] = make(map[string]struct{})
		}
	case found.next >= 0:
		s.look = ended.Add(min(pause, found.next))
	default:
		s.look = ended.Add(pause)
	}
}
