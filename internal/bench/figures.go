package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// A Metric names a figure; it is the figure's key in JSON.
type Metric string

// The figures. Times are of the measured stretch alone, without warm-up. Which of them a benchmark has depends on what it
// measures and on what can be measured.
const (
	// JobsPerSecond counts jobs whose end is written in the database, or whose insert is committed.
	JobsPerSecond Metric = "jobs_per_s"
	// P50, P95 and P99 are percentiles of the latency that the benchmark is about, in milliseconds: from the call of
	// Insert to the start of the handler, or of one insert.
	P50 Metric = "p50_ms"
	P95 Metric = "p95_ms"
	P99 Metric = "p99_ms"
	// FinishP50 and FinishP95 are percentiles of the time from a handler's return until others see the
	// job as ended, in milliseconds.
	FinishP50 Metric = "finish_p50_ms"
	FinishP95 Metric = "finish_p95_ms"
	// DepthP50 and DepthMax are how many jobs were due and had not started, over the time of the measurement.
	DepthP50 Metric = "depth_p50"
	DepthMax Metric = "depth_max"
	// DrainSeconds is from the call that inserts a burst to its last job's end.
	DrainSeconds Metric = "drain_s"
	// FireSeconds is from a tick that all schedules share to the moment when the jobs of all of them are seen.
	FireSeconds Metric = "fire_s"
	// SlopePerMinute is the change of throughput in a minute, in percent of its mean.
	SlopePerMinute Metric = "slope_pct_per_min"
	// AgainstSmall is the throughput in parts of that with small tables.
	AgainstSmall Metric = "against_small"
	// PostgresCPU and GoCPU are microseconds of CPU time per job: of all the server's processes, and of the process that
	// inserts and works.
	PostgresCPU Metric = "pg_cpu_us_per_job"
	GoCPU       Metric = "go_cpu_us_per_job"
	NodeCPU     Metric = "node_cpu_us_per_job"
	// PostgresLoad and GoLoad are the same in percent of one core, for benchmarks without jobs. ConnectionLoad is the part of
	// PostgresLoad that the system's own connections take.
	PostgresLoad   Metric = "pg_cpu_pct"
	ConnectionLoad Metric = "pg_connections_cpu_pct"
	GoLoad         Metric = "go_cpu_pct"
	// WALPerJob is bytes of write-ahead log.
	WALPerJob Metric = "wal_bytes_per_job"
	// PeakMemory is the most memory that Go's runtime held of the system's while a contender in this process ran, in bytes:
	// without the binary, and after what earlier rounds left was given back. NodeMemory is the most that a peer's whole
	// process had resident, its start and the filling of its queue included. They are not of one measure, so that a ratio
	// between them would say nothing.
	PeakMemory Metric = "peak_memory_bytes"
	NodeMemory Metric = "node_peak_rss_bytes"
	// StatementsPerSecond and StatementsPerJob count round trips of the client, transaction commands included.
	StatementsPerSecond Metric = "statements_per_s"
	StatementsPerJob    Metric = "statements_per_job"
)

// look says how a metric is shown to people.
type look struct {
	metric Metric
	title  string
	format func(float64) string
}

// looks lists the metrics in the order of the tables.
func looks() []look {
	return []look{
		{JobsPerSecond, "jobs/s", whole},
		{P50, "p50 ms", short},
		{P95, "p95 ms", short},
		{P99, "p99 ms", short},
		{FinishP50, "finish p50 ms", short},
		{FinishP95, "finish p95 ms", short},
		{DepthP50, "queue depth p50", whole},
		{DepthMax, "queue depth max", whole},
		{DrainSeconds, "drain s", short},
		{FireSeconds, "fire s", short},
		{SlopePerMinute, "slope %/min", short},
		{AgainstSmall, "against small", short},
		{PostgresCPU, "Postgres µs/job", short},
		{GoCPU, "Go µs/job", short},
		{NodeCPU, "Node µs/job", short},
		{PostgresLoad, "Postgres % of a core", precise},
		{ConnectionLoad, "its connections %", precise},
		{GoLoad, "Go % of a core", precise},
		{WALPerJob, "WAL bytes/job", whole},
		{PeakMemory, "peak Go memory MB", megabytes},
		{NodeMemory, "peak Node RSS MB", megabytes},
		{StatementsPerSecond, "statements/s", short},
		{StatementsPerJob, "statements/job", precise},
	}
}

// lookOf returns how a metric is shown.
func lookOf(m Metric) look {
	all := looks()
	return all[slices.IndexFunc(all, func(l look) bool { return l.metric == m })]
}

// whole writes a number without fraction and with commas between the thousands.
func whole(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func megabytes(v float64) string { return short(v / 1e6) }

// short writes three significant digits or all whole ones.
func short(v float64) string {
	switch size := math.Abs(v); {
	case size >= 100:
		return whole(v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func precise(v float64) string { return fmt.Sprintf("%.3f", v) }

// Figures are the results of one round, or the medians of all.
type Figures map[Metric]float64

// brief says the headline for a progress line.
func (f Figures) brief(headline Metric) string {
	l := lookOf(headline)
	return fmt.Sprintf("%s %s", l.format(f[headline]), l.title)
}

// latencies adds percentiles in milliseconds.
func (f Figures) latencies(durations []time.Duration, at map[Metric]float64) {
	if len(durations) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(durations))
	for metric, p := range at {
		f[metric] = percentile(sorted, p).Seconds() * 1e3
	}
}

func startPercentiles() map[Metric]float64 { return map[Metric]float64{P50: 50, P95: 95, P99: 99} }

func finishPercentiles() map[Metric]float64 { return map[Metric]float64{FinishP50: 50, FinishP95: 95} }

// medians reduces rounds to one set of figures. A metric that some round lacks is left out.
func medians(rounds []*outcome) Figures {
	result := Figures{}
	if len(rounds) == 0 {
		return result
	}
	for metric := range rounds[0].figures {
		if values := column(rounds, metric); len(values) == len(rounds) {
			result[metric] = median(values)
		}
	}
	return result
}

// column returns one metric of all rounds that have it.
func column(rounds []*outcome, metric Metric) []float64 {
	values := make([]float64, 0, len(rounds))
	for _, round := range rounds {
		if v, ok := round.figures[metric]; ok {
			values = append(values, v)
		}
	}
	return values
}

// A Point of a series: the throughput of the ten seconds, or less, that ended at Seconds.
type Point struct {
	Seconds       float64 `json:"t_s"`
	JobsPerSecond float64 `json:"jobs_per_s"`
}
