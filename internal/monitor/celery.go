package monitor

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The names and labels of celery-exporter, as it shows them with generic host names: our figures are the database's and
// belong to no host. The kind is Celery's task name.
var (
	descCelerySent      = celery("task_sent_total", "Jobs enqueued.", "name", "hostname", "queue_name")
	descCeleryReceived  = celery("task_received_total", "Attempts that a worker fetched.", "name", "hostname", "queue_name")
	descCeleryStarted   = celery("task_started_total", "Attempts that started.", "name", "hostname", "queue_name")
	descCelerySucceeded = celery("task_succeeded_total", "Jobs that succeeded.", "name", "hostname", "queue_name")
	descCeleryFailed    = celery("task_failed_total", "Jobs that failed for good.", "name", "hostname", "exception", "queue_name")
	descCeleryRejected  = celery("task_rejected_total", "Attempts that handed their job back: snoozed or interrupted.", "name", "hostname", "queue_name")
	descCeleryRevoked   = celery("task_revoked_total", "Jobs that were cancelled.", "name", "hostname", "queue_name")
	descCeleryRetried   = celery("task_retried_total", "Attempts that failed and are tried again.", "name", "hostname", "queue_name")
	descCeleryRuntime   = celery("task_runtime", "How long jobs ran that succeeded, in seconds.", "name", "hostname", "queue_name")
	descCeleryLength    = celery("queue_length", "Jobs that may start now.", "queue_name")
	descCeleryWorkers   = celery("active_worker_count", "Processes that work the queue.", "queue_name")
	descCelerySlots     = celery("active_process_count", "Slots of the queue over all processes.", "queue_name")
	descCeleryUp        = celery("worker_up", "Whether the process has given a sign of life lately.", "hostname")
)

// genericHost stands for a host, by the exporter's own word.
const genericHost = "generic"

func celery(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("celery_"+name, help, labels, nil)
}

func describeCelery(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descCelerySent, descCeleryReceived, descCeleryStarted, descCelerySucceeded, descCeleryFailed, descCeleryRejected, descCeleryRevoked,
		descCeleryRetried, descCeleryRuntime, descCeleryLength, descCeleryWorkers, descCelerySlots, descCeleryUp,
	} {
		out <- d
	}
}

func (r *reading) collectCelery(e emitter) {
	_, ran := histograms(r.durations)
	for _, l := range r.lifecycle {
		for _, event := range []struct {
			desc *prometheus.Desc
			n    int64
		}{
			{descCelerySent, l.Received},
			{descCeleryReceived, l.Started},
			{descCeleryStarted, l.Started},
			{descCelerySucceeded, l.Succeeded},
			{descCeleryRejected, l.Snoozed + l.Interrupted},
			{descCeleryRevoked, l.Cancelled},
			{descCeleryRetried, l.Retried},
		} {
			e.counter(event.desc, float64(event.n), l.Kind, genericHost, l.Queue)
		}
		e.counter(descCeleryFailed, float64(l.Discarded), l.Kind, genericHost, "", l.Queue)
		ran[series{l.Queue, l.Kind, "completed"}].emit(e, descCeleryRuntime, l.Kind, genericHost, l.Queue)
	}
	for _, q := range r.queues {
		e.gauge(descCeleryLength, float64(q.Available), q.Queue)
		e.gauge(descCeleryWorkers, float64(q.Processes), q.Queue)
		e.gauge(descCelerySlots, float64(q.Slots), q.Queue)
	}
}
