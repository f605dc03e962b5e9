// Package monitor shows what happens to the tools that watch it.
//
// A Monitor is what a process has for it, whatever its roles:
//
//   - a Prometheus collector, which reads the database when it is scraped;
//   - the same figures under the names of Celery's exporter, on request;
//   - a StatsD emitter, which is told of each attempt and, in the process that speaks for the database, sends the depth of
//     the queues.
//
// # Who speaks for the database
//
// What is true of the database is shown by one process, so that sums over processes are right: the leader, if it is asked
// at all; otherwise the first of those that are asked, until it is not asked any more for two minutes. That is a lease in
// the database. What is true of a process each shows by itself.
//
// # What it costs
//
// Counters are read as the database keeps them: sums of a few rows for each queue and kind. Jobs are never counted for
// a scrape but where they are few. Scrapes within a second share one reading, and a database that is away costs a scrape
// at most five seconds; it still shows what the process knows, and towpath_scrape_error 1.
package monitor

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/store"
)

const (
	// readLimit bounds a reading. Prometheus waits ten seconds for a scrape unless told otherwise.
	readLimit = 5 * time.Second
	// readEvery bounds how often the database is read, however many ask.
	readEvery = time.Second
	// healthEvery is how often the health of Postgres is looked at: it changes slowly and asks for the size of many files.
	healthEvery = 30 * time.Second
	// maxProbeSeries bounds the series of probes that are shown, in the order of the probes' names. One probe has up to a
	// hundred.
	maxProbeSeries = 2000
	// leaseLasts is how long a process speaks for the database after it was last asked.
	leaseLasts = 2 * time.Minute
	// beatLimit is the age of a process's beat beyond which it has stopped fetching.
	beatLimit = 15 * time.Second
)

// Config says what a monitor shows. All but Celery is needed.
type Config struct {
	Pool     *pgxpool.Pool
	ID       string // of this process, as in towpath.process if it is there
	MaxKinds int    // kinds, and queues, that nobody has registered, shown by name
	Celery   bool   // the names of Celery's exporter as well
	Logger   *slog.Logger
}

// Worker is what a monitor wants to know of a process that works queues.
type Worker interface {
	// Slots returns how many jobs each queue may run at once here.
	Slots() map[string]int
	// Busy returns how many of them are taken.
	Busy() map[string]int
}

// Monitor is safe for use by several goroutines.
type Monitor struct {
	config Config
	leads  atomic.Bool
	worker atomic.Pointer[Worker]
	statsd atomic.Pointer[StatsD]

	mu       sync.Mutex
	latest   *reading
	at       time.Time
	healthAt time.Time
	health   health
	beatAt   time.Time // when the process last gave a sign of life, by our clock
	failing  bool
	names    *names
	highest  map[[2]string]float64 // of the jobs received, by queue and kind
}

// New returns a monitor that has read nothing yet.
func New(config Config) *Monitor {
	return &Monitor{config: config, names: newNames(config.MaxKinds), highest: make(map[[2]string]float64)}
}

// Watch has the monitor show a process that works queues.
func (m *Monitor) Watch(worker Worker) {
	m.mu.Lock()
	m.beatAt = time.Now() // it could not have started without one
	m.mu.Unlock()
	m.worker.Store(&worker)
}

// WatchStatsD has the monitor show what an emitter drops.
func (m *Monitor) WatchStatsD(statsd *StatsD) { m.statsd.Store(statsd) }

// Lead is to be called while this process leads, see jobs.Config.Lead.
func (m *Monitor) Lead(ctx context.Context) {
	m.leads.Store(true)
	<-ctx.Done()
	m.leads.Store(false)
}

// health is what of Postgres can hold the queue up.
type health struct {
	tables []store.TableHealth
	server store.ServerHealthRow
}

// reading is the state of the database at one moment.
type reading struct {
	speaks bool  // whether this process is the one to show it
	err    error // why there is nothing else
	took   time.Duration

	known     []store.KnownKind
	lifecycle []store.Lifecycle
	durations []store.Durations
	queues    []store.QueueFigures
	schedules []store.ScheduleFigures
	alerts    []store.AlertFigures
	probes    []store.ProbeFigures

	probeSeries []store.ProbeSeries
	health      health
}

// look returns a reading that is at most readEvery old. Those who ask meanwhile wait for the same one.
func (m *Monitor) look() *reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest != nil && time.Since(m.at) < readEvery {
		return m.latest
	}
	// The outcome is for all who ask, so it depends on none of them.
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	begun := time.Now()
	r := new(reading)
	r.err = m.read(ctx, r)
	r.took = time.Since(begun)
	m.tell(ctx, r.err)
	m.latest, m.at = r, time.Now()
	return r
}

// tell logs a change, so that a scrape every few seconds does not fill the log.
func (m *Monitor) tell(ctx context.Context, err error) {
	switch {
	case err != nil && !m.failing:
		m.config.Logger.WarnContext(ctx, "metrics cannot be read; the process's own are shown alone", slog.Any("error", err))
	case err == nil && m.failing:
		m.config.Logger.InfoContext(ctx, "metrics can be read again")
	}
	m.failing = err != nil
}

func (m *Monitor) read(ctx context.Context, r *reading) error {
	if m.worker.Load() != nil {
		ago, alive, err := store.ProcessBeat(ctx, m.config.Pool, m.config.ID)
		switch {
		case err != nil:
			return err
		case alive:
			m.beatAt = time.Now().Add(-ago)
		default:
			m.beatAt = time.Time{}
		}
	}
	var err error
	if r.speaks, err = store.TakeLease(ctx, m.config.Pool, "metrics", m.config.ID, leaseLasts); err != nil || !r.speaks {
		return err
	}
	// In one snapshot, so that the figures fit each other.
	return pgx.BeginTxFunc(ctx, m.config.Pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return m.readAll(ctx, tx, r)
	})
}

func (m *Monitor) readAll(ctx context.Context, tx pgx.Tx, r *reading) (err error) {
	if r.known, err = store.KnownKinds(ctx, tx); err != nil {
		return err
	}
	if r.lifecycle, err = store.Lifecycles(ctx, tx); err != nil {
		return err
	}
	if r.durations, err = store.AttemptDurations(ctx, tx); err != nil {
		return err
	}
	if r.queues, err = store.QueuesNow(ctx, tx); err != nil {
		return err
	}
	if r.schedules, err = store.SchedulesNow(ctx, tx); err != nil {
		return err
	}
	if r.alerts, err = store.AlertsNow(ctx, tx); err != nil {
		return err
	}
	if r.probes, err = store.ProbesNow(ctx, tx); err != nil {
		return err
	}
	if r.probeSeries, err = store.ProbeSeriesNow(ctx, tx, maxProbeSeries); err != nil {
		return err
	}
	if time.Since(m.healthAt) >= healthEvery {
		if m.health.tables, err = store.TablesHealth(ctx, tx); err != nil {
			return err
		}
		if m.health.server, err = store.ServerHealth(ctx, tx); err != nil {
			return err
		}
		m.healthAt = time.Now()
	}
	r.health = m.health
	m.bound(r)
	return nil
}

// bound gives every series its name: what nobody has registered is shown under its own name as far as there is room.
func (m *Monitor) bound(r *reading) {
	for _, k := range r.known {
		m.names.register(k)
	}
	for i := range r.queues {
		if r.queues[i].Processes > 0 {
			m.names.queues.register(r.queues[i].Queue)
		}
	}
	r.lifecycle = boundLifecycle(r.lifecycle, m.names)
	for i := range r.lifecycle {
		// Counted at different moments by different ways, it may come a little lower than before; a counter must not.
		l := &r.lifecycle[i]
		key := [2]string{l.Queue, l.Kind}
		m.highest[key] = max(m.highest[key], float64(l.Received))
		l.Received = int64(m.highest[key])
	}
	r.durations = boundDurations(r.durations, m.names)
	r.queues = boundQueues(r.queues, m.names)
}

// up reports whether the process has given a sign of life lately enough to go on fetching.
func (m *Monitor) up() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.beatAt) < beatLimit
}
