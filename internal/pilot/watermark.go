package pilot

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// A transaction that somebody leaves open keeps vacuum from removing the index entries of jobs that were fetched since.
// They lie at the front of the queue, where each fetch begins, so River's fetch grows slower for as long as that
// transaction stays. A watermark lets the fetch begin near the place where it last took jobs instead, and a probe
// beside the fetch looks at what lies before it: jobs that were committed late, came back or had been scheduled long
// ago. The probe also measures whether the front has grown slow at all; while it has not, the fetch is River's.
const (
	// slowFront is the time in the server from which on the front counts as slow.
	slowFront = 5 * time.Millisecond
	// watermarkLag is how far behind the newest claimed job the scan begins: jobs are inserted and committed out of order.
	watermarkLag = time.Second
	// probePause is the shortest time between two probes of one queue. A slow probe is followed by a pause of
	// probeShare times its duration, so that probing takes at most 5% of one core.
	probePause = time.Second
	probeShare = 20
	// probeLimit is how many late jobs one probe brings at a priority.
	probeLimit = 1000
)

// lowestPriority is River's: a job's priority is 1, the most urgent, to 4.
const lowestPriority = 4

// watermarks are where the fetch of one queue starts, by priority. They live in the producer's memory only: a restart
// begins with a full scan.
type watermarks struct {
	slowFront time.Duration

	mu        sync.Mutex
	mark      [lowestPriority + 1]time.Time // zero: nothing claimed at this priority yet
	slow      bool
	late      []int64
	claimed   bool // since the last probe
	probing   bool
	nextProbe time.Time
}

func newWatermarks() *watermarks {
	return &watermarks{slowFront: slowFront, nextProbe: time.Now().Add(probePause)}
}

// watermarkStatement is a chain: of each priority the late jobs that the probe found ($7), by primary key, then those
// from the priority's mark on ($8 to $11), each link limited to what the ones before it left over. So a late job never
// jumps a priority.
//
// Locks as in the plain fetch: SKIP LOCKED, then an update by primary key of the ids that were locked.
var watermarkStatement = build("WITH "+watermarkLinks()+string(claimBody), "CANDIDATES", watermarkCandidates())

// watermarkLinks writes the chain as CTEs late1, behind1, late2, behind2 and so on.
func watermarkLinks() string {
	var links strings.Builder
	taken := ""
	for priority := 1; priority <= lowestPriority; priority++ {
		link := func(name, waiting, where string) {
			fmt.Fprintf(&links, `%s%d AS (
	SELECT id FROM SCHEMA.river_job WHERE %s AND priority = %d AND %s
	ORDER BY priority, scheduled_at, id LIMIT greatest((SELECT $2::int)%s, 0) FOR UPDATE SKIP LOCKED
), `, name, priority, waiting, priority, where, taken)
			taken += fmt.Sprintf(" - (SELECT count(*) FROM %s%d)", name, priority)
		}
		// Compared as text, the state leads to no index: the ids are looked up by primary key.
		link("late", strings.Replace(waitingInQueue, "state =", "state::text =", 1), "id = ANY($7::bigint[])")
		link("behind", waitingInQueue, fmt.Sprintf("scheduled_at >= $%d::timestamptz AND id <> ALL($7::bigint[])", 7+priority))
	}
	return links.String()
}

func watermarkCandidates() string {
	var parts []string
	for priority := 1; priority <= lowestPriority; priority++ {
		parts = append(parts, fmt.Sprintf("SELECT id FROM late%d UNION ALL SELECT id FROM behind%d", priority, priority))
	}
	return strings.Join(parts, " UNION ALL ")
}

// probeStatement reads the ids before the marks and the time that this took in the server. It locks nothing. Jobs of kinds
// that the client does not work ($7) are left out: they stay where they are, and would hide what lies behind them.
var probeStatement = build(`
SELECT coalesce(array_agg(id), '{}'), extract(epoch FROM clock_timestamp() - statement_timestamp())::double precision
FROM (BEFORE1 UNION ALL BEFORE2 UNION ALL BEFORE3 UNION ALL BEFORE4) AS late`,
	"BEFORE1", beforeMark("1", "$3"), "BEFORE2", beforeMark("2", "$4"), "BEFORE3", beforeMark("3", "$5"), "BEFORE4", beforeMark("4", "$6"))

func beforeMark(priority, mark string) string {
	return `
	(SELECT id FROM SCHEMA.river_job WHERE state = 'available' AND queue = $1::text AND priority = ` + priority + `
		AND ($7::text[] IS NULL OR kind = ANY($7::text[])) AND scheduled_at < ` + mark + `::timestamptz ORDER BY priority, scheduled_at, id LIMIT (SELECT $2::int))`
}

// fetch claims jobs, from the front or from the watermark.
func (s *producer) fetch(ctx context.Context, x *Executor, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	w := s.marks
	w.mu.Lock()
	slow, mark, late := w.slow, w.mark, w.late
	w.late = nil
	w.mu.Unlock()

	var (
		result *riverdriver.JobGetAvailableResult
		err    error
	)
	if slow {
		if late == nil {
			late = []int64{}
		}
		result, err = x.claim(ctx, watermarkStatement, params, late, mark[1], mark[2], mark[3], mark[4])
	} else {
		result, err = x.claim(ctx, fetchStatement, params)
	}
	if err != nil {
		return nil, err
	}
	if w.advance(result.Jobs, late, params.MaxToLock) {
		s.probes.Go(func() { s.probe(x, params) })
	}
	if len(result.Jobs) < params.MaxToLock { // otherwise River looks again as soon as a slot is free
		s.lookAgain(x.storage, params.Schema, params.Queue, len(result.Jobs))
	}
	return result, nil
}

// advance moves the marks behind the claimed jobs and reports whether it is time for a probe. Late ids that a full
// fetch had no room for are kept for the next one; those that it took no longer match there.
func (w *watermarks) advance(jobs []*rivertype.JobRow, late []int64, limit int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(jobs) >= limit && w.late == nil {
		w.late = late
	}
	for _, job := range jobs {
		if m := job.ScheduledAt.Add(-watermarkLag); m.After(w.mark[job.Priority]) {
			w.mark[job.Priority] = m
		}
	}
	w.claimed = w.claimed || len(jobs) > 0
	// With nothing claimed there is nothing new before the marks that a full scan would not find; in watermark mode the
	// probe has to go on all the same, since only it sees what comes late.
	if w.probing || !(w.claimed || w.slow) || time.Now().Before(w.nextProbe) {
		return false
	}
	w.probing, w.claimed = true, false
	return true
}

// probe looks at what lies before the marks and decides how the next fetches go.
func (s *producer) probe(x *Executor, params *riverdriver.JobGetAvailableParams) {
	ctx, cancel := context.WithTimeout(s.life, fetchTimeout)
	defer cancel()
	w := s.marks
	late, took, err := w.look(ctx, x, params)

	w.mu.Lock()
	defer w.mu.Unlock()
	w.probing = false
	w.nextProbe = time.Now().Add(max(probePause, probeShare*took))
	if s.life.Err() != nil {
		return
	}
	if err != nil {
		s.pilot.fleet.Logger.WarnContext(ctx, "probe of the queue's front did not succeed",
			slog.String("queue", params.Queue), slog.Any("error", err))
		return
	}
	w.slow = took >= w.slowFront
	if w.slow {
		w.late = late
	}
}

// look reads what lies before the marks. Where nothing was claimed yet at a priority, everything lies before.
func (w *watermarks) look(ctx context.Context, x *Executor, params *riverdriver.JobGetAvailableParams) (late []int64, took time.Duration, err error) {
	w.mu.Lock()
	mark := w.mark
	w.mu.Unlock()
	for i := range mark {
		if mark[i].IsZero() {
			mark[i] = time.Now()
		}
	}
	var seconds float64
	err = x.db.QueryRow(ctx, probeStatement.in(params.Schema), x.storage.unnamed(
		params.Queue, probeLimit, mark[1], mark[2], mark[3], mark[4], params.Kind)...).Scan(&late, &seconds)
	return late, time.Duration(seconds * float64(time.Second)), riverError(err)
}
