package pilot

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
	"github.com/riverqueue/river/rivertype"
)

// pace is how fast a fleet lives and when it gives somebody up.
type pace struct {
	beat        time.Duration // between two beats of a process
	beatTimeout time.Duration // for one beat; short enough for the next one to come in time
	silence     time.Duration // a beat that stands still for so long is a dead process
	forget      time.Duration // an observer whose own beats had such a gap begins anew
	fetch       time.Duration // without a good beat for so long a process stops fetching
	stopped     time.Duration // what a stopped process left running after so long is lost
	orphan      time.Duration // between two looks for jobs of ours that we do not hold, and the age of such a job at least
	sweep       time.Duration // the longest time between two looks at a process that has ended
}

// The order matters: a process stops fetching (15 s) before anybody gives it up (20 s), and whoever was away itself for
// longer than a beat or two (10 s) judges nobody by what it saw before.
var defaultPace = pace{
	beat: 5 * time.Second, beatTimeout: 4 * time.Second, silence: 20 * time.Second, forget: 10 * time.Second,
	fetch: 15 * time.Second, stopped: 20 * time.Second, orphan: 30 * time.Second, sweep: 10 * time.Minute,
}

// home is where the statements of a client's services run.
type home struct {
	db     querier
	schema string
}

// fleet keeps this process's row alive and watches over the others'.
//
// Each start of a client has a row with a beat that grows. Observers compare a beat with the one they saw before, never
// clocks. One that stands still makes its row a tombstone (dead_at), by compare-and-set on the beat, so that a sign of
// life that comes in between wins. The jobs of a tombstone are rescued by whoever sees it. A process that finds its own
// row a tombstone registers anew: the new row is a new epoch under the same client id, and a job belongs to the epoch
// that it was fetched in.
type fleet struct {
	baseservice.BaseService
	startstop.BaseStartStop
	pilot    *Pilot
	kinds    []string
	lifeline lifeline
	now      func() time.Time
	pace     pace

	enrolment sync.Mutex    // one at a time registers or leaves
	ready     chan struct{} // closed by the first registration
	wake      chan struct{}
	duty      chan sighting

	fetchFailed atomic.Pointer[time.Time] // when a fetch failed whose effect is unknown, until a duty has seen it

	mu       sync.Mutex
	home     home
	clientID string
	epoch    int64 // 0 while the process has no row
	since    time.Time
	queues   map[string]struct{}
	changed  bool // the row does not show the queues yet
	outcast  bool // the row was found dead or gone and there is no new one yet
	lastBeat time.Time
	carried  bool // by a reelection
	watch    watch

	duties
}

func newFleet(p *Pilot) *fleet {
	return &fleet{
		pilot: p, lifeline: lifeline{pool: p.pool}, now: time.Now, pace: defaultPace,
		ready: make(chan struct{}), wake: make(chan struct{}, 1), duty: make(chan sighting, 1),
		queues: make(map[string]struct{}), duties: newDuties(),
	}
}

func (f *fleet) init(archetype *baseservice.Archetype, workers []*rivertype.WorkerMetadata) {
	baseservice.Init(archetype, f)
	f.kinds = make([]string, 0, len(workers))
	for _, worker := range workers {
		f.kinds = append(f.kinds, worker.Kind)
	}
	slices.Sort(f.kinds)
}

const enrolStatement statement = `
INSERT INTO SCHEMA.process (client_id, host, pid, version, roles, queues, kinds, may_lead, max_conns, clock_ahead)
VALUES ($1::text, $2::text, $3::int, $4::text, $5::text[], $6::text::jsonb, $7::text[], $8::boolean, $9::int,
	$10::timestamptz - clock_timestamp())
RETURNING epoch, started_at`

// register makes sure, before a queue is first fetched from, that this process has its row.
func (f *fleet) register(ctx context.Context, db querier, schema, clientID, queue string) error {
	f.enrolment.Lock()
	defer f.enrolment.Unlock()
	f.mu.Lock()
	f.home, f.clientID = home{db, schema}, clientID
	f.queues[queue] = struct{}{}
	f.changed = true
	enrolled := f.epoch != 0
	f.mu.Unlock()
	if !enrolled {
		if err := f.enrol(ctx); err != nil {
			f.mu.Lock()
			delete(f.queues, queue)
			f.mu.Unlock()
			return err
		}
	}
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
	f.nudge()
	return nil
}

// nudge makes the process beat at once.
func (f *fleet) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// enrol inserts a new row. The caller holds enrolment.
func (f *fleet) enrol(ctx context.Context) error {
	f.mu.Lock()
	h, clientID, queues := f.home, f.clientID, f.slots()
	f.mu.Unlock()
	process := f.pilot.config.Process
	if process.Host == "" {
		process.Host, _ = os.Hostname() // the column is for people, and empty will do
	}
	if process.PID == 0 {
		process.PID = os.Getpid()
	}
	roles := process.Roles
	if roles == nil {
		roles = []string{}
	}
	var (
		begun = f.now()
		epoch int64
		since time.Time
	)
	err := h.db.QueryRow(ctx, enrolStatement.in(h.schema), clientID, process.Host, process.PID, process.Version, roles, queues,
		f.kinds, !process.NeverLeads, f.connections(), time.Now()).Scan(&epoch, &since)
	if err != nil {
		return fmt.Errorf("register process %q: %w", clientID, riverError(err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch, f.since, f.lastBeat, f.changed, f.outcast = epoch, since, begun, false, false
	return nil
}

// connections is how many the pool opens at most.
func (f *fleet) connections() int32 {
	if f.pilot.pool == nil {
		return 0
	}
	return f.pilot.pool.Config().MaxConns
}

// slots is the JSON of the queues and their slots. The caller holds mu.
func (f *fleet) slots() string {
	slots := make(map[string]int, len(f.queues))
	for queue := range f.queues {
		slots[queue] = f.pilot.config.Process.Slots[queue]
	}
	raw, _ := json.Marshal(slots) // names and numbers always encode
	return string(raw)
}

const leaveStatement statement = `
UPDATE SCHEMA.process SET stopped_at = clock_timestamp(), beat_at = clock_timestamp(), running = $2::int
WHERE epoch = $1::bigint AND dead_at IS NULL`

// unregister takes a queue off the row, and with the last one marks the row stopped. Jobs whose finish is still on its
// way out have until pace.stopped after that.
func (f *fleet) unregister(ctx context.Context, queue string) error {
	f.enrolment.Lock()
	defer f.enrolment.Unlock()
	f.mu.Lock()
	_, known := f.queues[queue]
	last := known && len(f.queues) == 1
	h, epoch := f.home, f.epoch
	f.mu.Unlock()
	if last && epoch != 0 {
		if _, err := h.db.Exec(ctx, leaveStatement.in(h.schema), epoch, f.pilot.atWork()); err != nil {
			return fmt.Errorf("mark process %q stopped: %w", f.clientID, riverError(err))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.queues, queue)
	f.changed = true
	if last {
		f.epoch, f.outcast, f.watch = 0, false, watch{}
	}
	return nil
}

// mayFetch reports whether the process still counts as alive, by its own last good beat. A process that was paused must
// not fetch before it knows what became of it meanwhile.
func (f *fleet) mayFetch() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outcast {
		return false
	}
	return f.epoch == 0 || atMost(f.lastBeat, f.now()) < f.pace.fetch
}

// noteFailedFetch notes that a fetch failed, which may have claimed jobs all the same.
func (f *fleet) noteFailedFetch() {
	now := f.now()
	f.fetchFailed.Store(&now)
}

// where returns the place of this client's statements once it is known.
func (f *fleet) where(ctx context.Context) (home, bool) {
	select {
	case <-ctx.Done():
		return home{}, false
	case <-f.ready:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.home, true
}

// enrolAgain gives a process that was declared dead a new epoch. What it fetched in the old one is no longer its own; it
// may fetch anew.
func (f *fleet) enrolAgain(ctx context.Context, epoch int64) error {
	f.enrolment.Lock()
	defer f.enrolment.Unlock()
	f.mu.Lock()
	if f.epoch != epoch { // it stopped meanwhile
		f.mu.Unlock()
		return nil
	}
	f.outcast, f.watch = true, watch{}
	f.mu.Unlock()
	if err := f.enrol(ctx); err != nil {
		return err
	}
	f.Logger.WarnContext(ctx, "process was declared dead while it was away and has begun a new epoch",
		slog.Int64("old_epoch", epoch), slog.Int64("epoch", f.epoch))
	return nil
}
