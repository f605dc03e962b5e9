package pilot

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// A fetch costs Postgres nearly as much for ten jobs as for a hundred, and River asks for as many as there are free slots.
// With few slots and short jobs that is a few each time. So a queue that empties its slots many times within aheadTime,
// and whose last fetch was full, fetches for the slots that will be free by then too, and hands those jobs to River from
// memory. Until then they are this client's: running in the database, held, handed back when it stops. While they are
// worked the next ones are fetched already, so that the slots never wait for Postgres.
//
// What this costs is bounded by twice that time: a job waits for that long beside an idle process, or behind one of lower
// priority. Jobs that do not get their slot within aheadKeep, since the queue was paused or others turned out to be long,
// go back to where they came from.
const (
	// aheadTime is for how much of work jobs are fetched ahead.
	aheadTime = 60 * time.Millisecond
	// aheadTurns is how often a slot has to become free within aheadTime for it to be worth it.
	aheadTurns = 2
	// aheadMost bounds what is fetched ahead.
	aheadMost = 2000
	// aheadKeep is how long a job waits for its slot, aheadPause how long nothing is fetched ahead once one did not get it.
	aheadKeep  = 250 * time.Millisecond
	aheadPause = 2 * time.Second
)

// ahead are jobs of one queue that this client has claimed and not yet begun.
type ahead struct {
	cooldown time.Duration // least time between the begins of two claims

	mu       sync.Mutex
	begun    time.Time     // when the last claim began
	jobs     []aheadJob    // in the order in which they begin
	claiming chan struct{} // closed at the end of the claim under way; nil when none is
	closed   bool

	rate    float64 // slots that become free a second
	freed   int     // since counted
	counted time.Time
	target  int       // how many were wanted last
	off     time.Time // nothing is fetched ahead before that
	timer   *time.Timer
	leaving sync.WaitGroup // jobs that are being handed back
}

type aheadJob struct {
	row       *rivertype.JobRow
	decodeErr error
	since     time.Time
}

// release counts a slot that became free.
func (a *ahead) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.freed++
}

// want returns how many jobs to fetch beyond those for the free slots.
func (a *ahead) want(slots int, full bool) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if elapsed := now.Sub(a.counted); elapsed >= time.Millisecond {
		rate := float64(a.freed) / elapsed.Seconds()
		if elapsed < time.Second {
			rate = (rate + a.rate) / 2
		}
		a.rate, a.freed, a.counted = rate, 0, now
	}
	n := int(a.rate * aheadTime.Seconds())
	if !full || a.closed || n < aheadTurns*slots || now.Before(a.off) {
		n = 0
	}
	a.target = min(n, aheadMost)
	return a.target
}

// size is how many jobs were wanted last.
func (a *ahead) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.target
}

// take returns jobs whose turn it is, and how many are left.
func (a *ahead) take(n int) (jobs []aheadJob, left int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n = min(n, len(a.jobs))
	jobs = a.cut(n)
	return jobs, len(a.jobs)
}

// cut takes the first jobs out. The caller holds the lock.
func (a *ahead) cut(n int) []aheadJob {
	jobs := a.jobs[:n:n]
	if a.jobs = a.jobs[n:]; len(a.jobs) == 0 {
		a.jobs = nil // and keeps none of them alive
	}
	return jobs
}

// put adds claimed jobs. Those of a queue that was closed meanwhile are not taken.
func (a *ahead) put(jobs []aheadJob, overdue func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.jobs = append(a.jobs, jobs...)
	if a.timer == nil && len(a.jobs) > 0 {
		a.timer = time.AfterFunc(aheadKeep, overdue)
	}
	return true
}

// overdue returns the jobs that have waited too long, and arranges the next look at the others. Where there are some, the
// caller says leaving.Done once they are handed back.
func (a *ahead) overdue(overdue func()) []aheadJob {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = nil
	now := time.Now()
	n := 0
	for n < len(a.jobs) && now.Sub(a.jobs[n].since) >= aheadKeep {
		n++
	}
	late := a.cut(n)
	if n > 0 {
		a.off = now.Add(aheadPause)
		a.leaving.Add(1)
	}
	if len(a.jobs) > 0 && !a.closed {
		a.timer = time.AfterFunc(aheadKeep-now.Sub(a.jobs[0].since), overdue)
	}
	return late
}

// waiting is how many jobs wait for a slot.
func (a *ahead) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.jobs)
}

// claim begins a claim, of which there is one at a time. Where one is under way already, it returns the channel that is
// closed at its end, and no function.
func (a *ahead) claim() (end func(), under <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.claiming != nil {
		return nil, a.claiming
	}
	done := make(chan struct{})
	a.claiming = done
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.claiming = nil
		close(done)
	}, nil
}

// cool waits until a claim may begin.
func (a *ahead) cool(ctx context.Context) error {
	a.mu.Lock()
	rest := time.Until(a.begun.Add(a.cooldown))
	a.begun = time.Now().Add(max(rest, 0))
	a.mu.Unlock()
	if rest <= 0 {
		return nil
	}
	select {
	case <-time.After(rest):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close returns all that is left.
func (a *ahead) close() []aheadJob {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	jobs := a.jobs
	a.jobs = nil
	return jobs
}

// fetch brings jobs for as many slots as River has free: those that were claimed ahead, or else from the database.
func (s *producer) fetch(ctx context.Context, x *Executor, asked *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	slots := s.slots.total(asked.MaxToLock)
	for {
		if jobs, left := s.ahead.take(asked.MaxToLock); len(jobs) > 0 {
			s.refill(x, asked, slots, left)
			return s.begin(x, asked, jobs), nil
		}
		end, under := s.ahead.claim()
		if end != nil {
			jobs, err := s.claim(ctx, x, asked, slots, false)
			end()
			if err != nil {
				return nil, err
			}
			return s.begin(x, asked, jobs), nil
		}
		select {
		case <-under:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin gives jobs to River.
func (s *producer) begin(x *Executor, asked *riverdriver.JobGetAvailableParams, jobs []aheadJob) *riverdriver.JobGetAvailableResult {
	result := &riverdriver.JobGetAvailableResult{Jobs: make([]*rivertype.JobRow, len(jobs))}
	for i, job := range jobs {
		result.Jobs[i] = job.row
		if job.decodeErr != nil {
			if result.DecodeErrors == nil {
				result.DecodeErrors = make(map[int64]error)
			}
			result.DecodeErrors[job.row.ID] = job.decodeErr
		}
	}
	s.pilot.held.begin(result.Jobs)
	s.slots.take(len(jobs))
	// River looks again as soon as a slot is free only where it got what it had asked for.
	if len(jobs) != asked.MaxToLock && s.slots.queueIsFull() {
		x.storage.wake(asked.Schema, asked.Queue)
	}
	return result
}

// refill claims jobs ahead unless there are as many as were wanted, besides those that are fetched meanwhile.
func (s *producer) refill(x *Executor, asked *riverdriver.JobGetAvailableParams, slots, left int) {
	if left > s.ahead.size() {
		return
	}
	end, _ := s.ahead.claim()
	if end == nil {
		return
	}
	params := *asked
	s.services.Go(func() {
		defer end()
		// A claim that is cut off may have taken jobs all the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), fetchTimeout)
		defer cancel()
		if _, err := s.claim(ctx, x, &params, slots, true); err != nil {
			s.pilot.fleet.noteFailedFetch()
			s.pilot.fleet.Logger.WarnContext(ctx, "fetch jobs ahead", slog.String("queue", params.Queue), slog.Any("error", err))
		}
	})
}

// claim takes jobs from the database into the client's keeping. Those for the slots that are free are returned, unless
// only jobs for later are asked for; the others wait for their slots.
func (s *producer) claim(ctx context.Context, x *Executor, asked *riverdriver.JobGetAvailableParams, slots int, onlyAhead bool) ([]aheadJob, error) {
	filled, now, more := *asked, 0, 0
	wakes := x.storage.canWake(asked.Schema)
	if wakes {
		more = s.ahead.want(slots, s.slots.queueIsFull())
	}
	if onlyAhead && more == 0 {
		return nil, nil
	}
	if err := s.ahead.cool(ctx); err != nil {
		return nil, err
	}
	switch {
	case onlyAhead:
	case more == 0 && wakes:
		now = s.slots.fill(ctx, asked.MaxToLock)
	default:
		now = asked.MaxToLock
	}
	filled.MaxToLock = now + more
	result, err := s.look(ctx, x, &filled)
	if err != nil {
		return nil, err
	}
	got := len(result.Jobs)
	s.slots.note(got >= filled.MaxToLock)
	if got < filled.MaxToLock {
		s.lookAgain(x.storage, filled.Schema, filled.Queue, got)
	}
	s.pilot.hold(ctx, x, filled.Schema, result)
	since := time.Now()
	jobs := make([]aheadJob, len(result.Jobs))
	for i, row := range result.Jobs {
		jobs[i] = aheadJob{row: row, decodeErr: result.DecodeErrors[row.ID], since: since}
	}
	n := min(now, len(jobs))
	if later := jobs[n:]; !s.ahead.put(later, func() { s.giveUp(x, filled.Schema) }) {
		s.handBack(x, filled.Schema, later)
	}
	return jobs[:n:n], nil
}

// giveUp hands back the jobs that did not get their slot in time.
func (s *producer) giveUp(x *Executor, schema string) {
	if late := s.ahead.overdue(func() { s.giveUp(x, schema) }); len(late) > 0 {
		defer s.ahead.leaving.Done()
		s.handBack(x, schema, late)
	}
}

// handBack makes jobs available again that nobody has begun. What cannot be handed back stays running until the fleet
// finds that nobody holds it.
func (s *producer) handBack(x *Executor, schema string, jobs []aheadJob) {
	if len(jobs) == 0 {
		return
	}
	endings := make([]ending, len(jobs))
	ids := make([]int64, len(jobs))
	for i, job := range jobs {
		ids[i] = job.row.ID
		endings[i] = unbegun(job.row.ID, job.row.Attempt, job.row.AttemptedAt)
	}
	s.pilot.held.forget(ids)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.life), fetchTimeout)
	defer cancel()
	_, err := x.settleSafely(ctx, schema, nil, endings)
	if err == nil {
		err = x.tellQueues(ctx, schema, jobs[0].row.Queue)
	}
	if err != nil {
		s.pilot.fleet.Logger.WarnContext(ctx, "hand back jobs that got no slot", slog.Int("jobs", len(jobs)), slog.Any("error", err))
	}
}
