package monitor

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/towpath/towpath/internal/store"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("towpath_"+name, help, labels, nil)
}

// What is true of the database, shown by one process.
var (
	descEvents = describe("job_events_total", "Lifecycle events of jobs since the beginning, as the database has counted them.", "queue", "kind", "event")
	descRan    = describe("job_duration_seconds", "How long attempts ran, by how they ended.", "queue", "kind", "outcome")
	descWaited = describe("job_wait_seconds", "How long jobs waited from being due to the start of an attempt.", "queue", "kind")

	descJobs   = describe("queue_jobs", "Unfinished jobs; above a thousand as of the last count.", "queue", "state")
	descOldest = describe("queue_oldest_available_age_seconds", "How long the first available job has been due.", "queue")
	descPaused = describe("queue_paused", "Whether the queue is paused.", "queue")

	descStatus      = describe("schedule_status", "1 in order, 0 late within its grace, -1 missed, failed or too long.", "schedule")
	descNextRun     = describe("schedule_next_run_timestamp_seconds", "When the schedule runs next.", "schedule")
	descLastStart   = describe("schedule_last_start_timestamp_seconds", "When its last run started.", "schedule")
	descLastSuccess = describe("schedule_last_success_timestamp_seconds", "When a run last succeeded.", "schedule")
	descLastTook    = describe("schedule_last_duration_seconds", "How long the last run took that succeeded.", "schedule")

	descAlerts      = describe("alerts", "Alerts that are pending or firing, by rule.", "rule", "state")
	descProbeValue  = describe("probe_value", "A series of a probe, as its last run gave it; not while the probe is empty, failed, stale or paused.", "probe", "series")
	descProbeStatus = describe("probe_status", "1 in order, 0 not run yet, -1 beyond a limit, empty, failed or stale.", "probe")
	descProbeRun    = describe("probe_last_run_timestamp_seconds", "When the probe's last run began that has ended.", "probe")

	descDead   = describe("postgres_dead_tuples", "Dead rows of a table, as Postgres estimates them.", "table")
	descBytes  = describe("postgres_table_bytes", "Size of a table with its indexes and partitions.", "table")
	descTxAge  = describe("postgres_oldest_transaction_age_seconds", "Age of the oldest open transaction in this database.")
	descNotify = describe("postgres_notification_queue_usage_ratio", "How full the server's queue of notifications is, from 0 to 1.")
)

// What is true of a process, shown by each.
var (
	descUp      = describe("worker_up", "Whether the process has given a sign of life lately and fetches jobs.", "process")
	descSlots   = describe("worker_slots", "Slots of the process, by whether they are taken.", "process", "queue", "state")
	descLeader  = describe("leader", "Whether the process is the leader.", "process")
	descError   = describe("scrape_error", "Whether the database could not be read for this scrape.")
	descTook    = describe("scrape_duration_seconds", "How long reading the database for this scrape took.")
	descSpeaks  = describe("scrape_database", "Whether this process shows the figures of the database.")
	descDropped = describe("statsd_dropped_total", "Messages to StatsD that were dropped because they came too fast or it could not be reached.")
)

// Describe implements prometheus.Collector.
func (m *Monitor) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descEvents, descRan, descWaited, descJobs, descOldest, descPaused, descStatus, descNextRun, descLastStart, descLastSuccess, descLastTook, descAlerts,
		descProbeValue, descProbeStatus, descProbeRun,
		descDead, descBytes, descTxAge, descNotify, descUp, descSlots, descLeader, descError, descTook, descSpeaks, descDropped,
	} {
		out <- d
	}
	if m.config.Celery {
		describeCelery(out)
	}
}

// emitter makes metrics of one scrape.
type emitter chan<- prometheus.Metric

func (e emitter) gauge(d *prometheus.Desc, value float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (e emitter) counter(d *prometheus.Desc, value float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

func bit(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// Collect implements prometheus.Collector.
func (m *Monitor) Collect(out chan<- prometheus.Metric) {
	r, e := m.look(), emitter(out)
	m.collectProcess(e)
	e.gauge(descError, bit(r.err != nil))
	e.gauge(descTook, r.took.Seconds())
	e.gauge(descSpeaks, bit(r.speaks))
	if r.err != nil || !r.speaks {
		return // what is old would lie
	}
	r.collectJobs(e)
	r.collectQueues(e)
	r.collectSchedules(e)
	r.collectAlerts(e)
	r.collectProbes(e)
	r.collectHealth(e)
	if m.config.Celery {
		r.collectCelery(e)
	}
}

func (m *Monitor) collectProcess(e emitter) {
	if statsd := m.statsd.Load(); statsd != nil {
		e.counter(descDropped, float64(statsd.Dropped()))
	}
	worker := m.worker.Load()
	if worker == nil {
		return
	}
	id := m.config.ID
	e.gauge(descUp, bit(m.up()), id)
	e.gauge(descLeader, bit(m.leads.Load()), id)
	if m.config.Celery {
		e.gauge(descCeleryUp, bit(m.up()), id)
	}
	busy := (*worker).Busy()
	for queue, slots := range (*worker).Slots() {
		taken := min(busy[queue], slots) // a stuck job has lost its slot
		e.gauge(descSlots, float64(taken), id, queue, "busy")
		e.gauge(descSlots, float64(slots-taken), id, queue, "free")
	}
}

func (r *reading) collectJobs(e emitter) {
	waited, ran := histograms(r.durations)
	for _, l := range r.lifecycle {
		for _, event := range []struct {
			name string
			n    int64
		}{
			{"received", l.Received},
			{"started", l.Started},
			{"succeeded", l.Succeeded},
			{"failed", l.Failed},
			{"retried", l.Retried},
			{"snoozed", l.Snoozed},
			{"interrupted", l.Interrupted},
			{"cancelled", l.Cancelled},
			{"discarded", l.Discarded},
			{"revived", l.Revived},
			{"deleted", l.Deleted},
			{"finished", l.Finished},
		} {
			e.counter(descEvents, float64(event.n), l.Queue, l.Kind, event.name)
		}
		waited[series{l.Queue, l.Kind, "started"}].emit(e, descWaited, l.Queue, l.Kind)
		for _, outcome := range outcomes {
			ran[series{l.Queue, l.Kind, outcome.event}].emit(e, descRan, l.Queue, l.Kind, outcome.name)
		}
	}
}

// outcomes are the ways in which an attempt ends: as the database counts them, and by the names that are shown.
var outcomes = []struct{ event, name string }{
	{"completed", "succeeded"},
	{"retried", "retried"},
	{"discarded", "discarded"},
	{"snoozed", "snoozed"},
	{"interrupted", "interrupted"},
	{"cancelled", "cancelled"},
}

func (r *reading) collectQueues(e emitter) {
	for _, q := range r.queues {
		for _, state := range []struct {
			name string
			n    int64
		}{{"available", q.Available}, {"scheduled", q.Scheduled}, {"retryable", q.Retryable}, {"running", q.Running}, {"pending", q.Pending}} {
			e.gauge(descJobs, float64(state.n), q.Queue, state.name)
		}
		e.gauge(descOldest, q.Oldest, q.Queue)
		e.gauge(descPaused, bit(q.Paused), q.Queue)
	}
}

func (r *reading) collectSchedules(e emitter) {
	stamp := func(d *prometheus.Desc, at *time.Time, schedule string) {
		if at != nil {
			e.gauge(d, float64(at.UnixMilli())/1000, schedule)
		}
	}
	for _, s := range r.schedules {
		if status, known := scheduleStatus(s.Status); known {
			e.gauge(descStatus, status, s.Name)
		}
		stamp(descNextRun, s.NextRun, s.Name)
		stamp(descLastStart, s.LastStart, s.Name)
		stamp(descLastSuccess, s.LastSuccess, s.Name)
		if s.LastDuration >= 0 {
			e.gauge(descLastTook, s.LastDuration, s.Name)
		}
	}
}

func (r *reading) collectAlerts(e emitter) {
	for _, a := range r.alerts {
		e.gauge(descAlerts, float64(a.Pending), a.Rule, "pending")
		e.gauge(descAlerts, float64(a.Firing), a.Rule, "firing")
	}
}

// scheduleStatus is the number for a word of towpath.schedules. A paused schedule, which nobody expects to run, has none.
func scheduleStatus(word string) (float64, bool) {
	switch word {
	case "ok":
		return 1, true
	case "late":
		return 0, true
	case "missed", "failed", "too_long":
		return -1, true
	default:
		return 0, false
	}
}

func (r *reading) collectProbes(e emitter) {
	for _, p := range r.probes {
		if status, known := probeStatus(p.Status); known {
			e.gauge(descProbeStatus, status, p.Name)
		}
		if p.LastRunAt != nil {
			e.gauge(descProbeRun, float64(p.LastRunAt.UnixMilli())/1000, p.Name)
		}
	}
	for _, s := range r.probeSeries {
		e.gauge(descProbeValue, s.Value, s.Probe, s.Series)
	}
}

// probeStatus is the number for a word of towpath.probes. A paused probe has none.
func probeStatus(word string) (float64, bool) {
	switch word {
	case "ok":
		return 1, true
	case "pending":
		return 0, true
	case "beyond", "empty", "failed", "stale":
		return -1, true
	default:
		return 0, false
	}
}

func (r *reading) collectHealth(e emitter) {
	for _, t := range r.health.tables {
		e.gauge(descDead, float64(t.DeadTuples), t.Name)
		e.gauge(descBytes, float64(t.Bytes), t.Name)
	}
	e.gauge(descTxAge, r.health.server.OldestTransaction)
	e.gauge(descNotify, r.health.server.NotifyUsage)
}

// shownBuckets are those of the database's buckets at whose upper bound a histogram is shown: 2^b milliseconds, from one
// millisecond to four and a half hours.
var shownBuckets = []int16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 22, 24}

// histogram sums up durations. A nil one is empty.
type histogram struct {
	n       uint64
	seconds float64
	buckets map[int16]uint64
}

type series struct{ queue, kind, event string }

// histograms makes one histogram of each queue, kind and event: of the waits before a start, and of the runs.
func histograms(durations []store.Durations) (waited, ran map[series]*histogram) {
	waited, ran = make(map[series]*histogram), make(map[series]*histogram)
	for _, d := range durations {
		of := ran
		if d.Event == "started" {
			of = waited
		}
		key := series{d.Queue, d.Kind, d.Event}
		h := of[key]
		if h == nil {
			h = &histogram{buckets: make(map[int16]uint64)}
			of[key] = h
		}
		h.add(d)
	}
	return waited, ran
}

func (h *histogram) add(d store.Durations) {
	n := uint64(max(d.N, 0)) //nolint:gosec // not negative
	h.n += n
	h.seconds += d.Seconds
	h.buckets[d.Bucket] += n
}

func (h *histogram) emit(e emitter, d *prometheus.Desc, labels ...string) {
	if h == nil {
		h = new(histogram)
	}
	below := make(map[float64]uint64, len(shownBuckets))
	for _, bound := range shownBuckets {
		var n uint64
		for bucket, in := range h.buckets {
			if bucket <= bound {
				n += in
			}
		}
		below[math.Ldexp(1, int(bound))/1000] = n
	}
	e <- prometheus.MustNewConstHistogram(d, h.n, h.seconds, below, labels...)
}
