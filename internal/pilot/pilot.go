// Package pilot decides how jobs are inserted, fetched, finished, moved, counted and rescued. It is the one package
// that touches River's pilot and executor seam, which River does not promise to keep; its version is pinned and
// River's own test suite is run on it.
//
// The contract, beyond River's:
//
//   - A finished job leaves river_job for job_history in the statement that finishes it, unless its unique key still
//     has to be held. Reads by id and lists see both tables.
//   - A finish belongs to a fetch: it takes effect only while the row still carries the attempted_at of that fetch.
//   - Every change of a job's state appends to counter_delta in the same statement.
//   - A process beats; the running jobs of one that has gone silent return to the queue.
//
// All this needs the migration line "towpath" in the schema. Where it is missing, every method does what River does.
package pilot

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivershared/startstop"
	"github.com/riverqueue/river/rivertype"
)

// Pilot is the pilot of one River client.
type Pilot struct {
	riverpilot.StandardPilot

	bell     *bell
	config   Config
	finisher *finisher
	group    *group
	held     *held
	pool     *pgxpool.Pool
	storage  *Storage
	fleet    *fleet
	upkeep   *upkeep
	due      *dueService
	leading  *leading

	producerSeq atomic.Int64
	producers   sync.Map // number to *producer, of those that probe
}

// New returns the pilot for one client. The pool may be nil for a client that works no queue.
func New(pool *pgxpool.Pool, storage *Storage, config Config) *Pilot {
	p := &Pilot{bell: newBell(), config: config, held: newHeld(), pool: pool, storage: storage}
	storage.enlist(p.held)
	p.finisher = &finisher{pilot: p, filled: make(chan struct{}, 1)}
	p.group = newGroup(p)
	p.fleet = newFleet(p)
	p.upkeep = newUpkeep(p)
	p.due = newDueService(p)
	p.leading = &leading{lead: config.Lead}
	return p
}

// PilotInit receives the client's logger and clock and the kinds that it has workers for.
func (p *Pilot) PilotInit(archetype *baseservice.Archetype, params *riverpilot.PilotInitParams) {
	p.fleet.init(archetype, params.WorkerMetadata)
	p.upkeep.init(archetype)
	p.due.init(archetype)
	baseservice.Init(archetype, p.leading)
}

// PluginServices run in every client that works a queue.
func (p *Pilot) PluginServices() []startstop.Service {
	return []startstop.Service{p.fleet, p.due}
}

// PluginMaintenanceServices run on the leader.
func (p *Pilot) PluginMaintenanceServices() []startstop.Service {
	return []startstop.Service{p.upkeep, p.leading}
}

// ProducerInit is called once a queue, before its first fetch. It makes sure that the process has its row, so that no
// job is ever held by an owner that nobody watches.
func (p *Pilot) ProducerInit(ctx context.Context, exec riverdriver.Executor, params *riverpilot.ProducerInitParams) (int64, riverpilot.ProducerState, error) {
	id := p.producerSeq.Add(1)
	e := own(exec)
	if e == nil {
		return id, &producer{pilot: p}, nil
	}
	// What is found here holds for as long as the producer lives, so an error must not count as no.
	switch has, err := e.storage.look(ctx, e.db, params.Schema); {
	case err != nil:
		return 0, nil, err
	case !has:
		return id, &producer{pilot: p}, nil
	}
	if err := p.fleet.register(ctx, e.db, params.Schema, params.ClientID, params.Queue); err != nil {
		return 0, nil, err
	}
	s := &producer{
		pilot: p, marks: newWatermarks(), slots: slots{freed: make(chan struct{}, 1)},
		ahead: ahead{cooldown: p.config.Cooldown[params.Queue]},
	}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	p.producers.Store(id, s)
	return id, s, nil
}

// ProducerShutdown is called once a queue, when all its jobs have ended. Nothing of the queue's goes on after it.
func (p *Pilot) ProducerShutdown(ctx context.Context, exec riverdriver.Executor, params *riverpilot.ProducerShutdownParams) error {
	if s, ok := p.producers.LoadAndDelete(params.ProducerID); ok {
		s.(*producer).stop(own(exec), params.Schema)
	}
	return p.fleet.unregister(ctx, params.Queue)
}

// atWork is how many jobs the client has begun with and holds: those that were fetched ahead have no slot yet.
func (p *Pilot) atWork() int {
	n := p.held.count()
	p.producers.Range(func(_, s any) bool {
		n -= s.(*producer).ahead.waiting()
		return true
	})
	return max(n, 0)
}

// producer is what the pilot keeps for one queue of one client.
type producer struct {
	pilot *Pilot
	marks *watermarks // nil where the line is missing
	trail trail
	slots slots
	ahead ahead

	life     context.Context // of what runs beside the fetches
	end      context.CancelFunc
	services sync.WaitGroup
}

// stop ends what runs beside the fetches and hands back what was fetched ahead.
func (s *producer) stop(x *Executor, schema string) {
	jobs := s.ahead.close()
	s.end()
	s.services.Wait()
	s.ahead.leaving.Wait()
	s.handBack(x, schema, jobs)
}

// JobFinish is called when a job has given its slot back, before or after its finish was written.
func (s *producer) JobFinish(job *rivertype.JobRow) {
	freed := s.pilot.held.slotFreed(job.ID)
	s.slots.release(freed)
	if freed {
		s.ahead.release()
	}
}
