package pilot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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
	// The scan begins watermarkJobs before the newest claimed job, or watermarkLag if that is less: jobs are inserted and
	// committed out of order. Those that come later than that are found by the probe. Each fetch walks over the dead
	// entries of what lies between: a second's worth of a fast queue's would cost a tenth of its rate.
	watermarkJobs = 1000
	watermarkLag  = time.Second
	// probePause is the shortest time between two probes of one queue. A slow probe is followed by a pause of
	// probeShare times its duration, so that probing takes at most 5% of one core.
	probePause = time.Second
	probeShare = 20
	// probeLimit is how many late jobs one probe brings at a priority. Where there are more, the scan goes back to them.
	probeLimit = 1000
)

// lowestPriority is River's: a job's priority is 1, the most urgent, to 4.
const lowestPriority = 4

// watermarks are where the fetch of one queue starts, by priority. They live in the producer's memory only: a restart
// begins with a full scan.
type watermarks struct {
	slowFront time.Duration

	mu        sync.Mutex
	mark      [lowestPriority + 1]position   // zero: nothing claimed at this priority yet
	claims    [lowestPriority + 1][]position // the last watermarkJobs that were claimed
	slow      bool
	late      lateIDs // for the next fetch
	claimed   bool    // since the last probe
	probing   bool
	nextProbe time.Time
	windows   windows
}

// lateIDs are the ids of jobs that probes found before the marks, by priority, in ascending order.
type lateIDs [lowestPriority + 1][]int64

// position is a job's place in its queue, among those of its priority.
type position struct {
	at time.Time
	id int64
}

func (p position) unset() bool { return p.at.IsZero() }

func (p position) after(q position) bool {
	if c := p.at.Compare(q.at); c != 0 {
		return c > 0
	}
	return p.id > q.id
}

func newWatermarks() *watermarks {
	return &watermarks{slowFront: slowFront, nextProbe: time.Now().Add(probePause)}
}

// watermarkStatements are a chain each, without and with late jobs, for the priorities that have a mark (bit 0 is the most
// urgent one): of each priority the late jobs that the probe found ($7), by primary key, then those from the priority's
// mark on (from $8), each link limited to what the ones before it left over. So a late job never jumps a priority.
// Priorities without a mark have had no job yet, so neighbours of them share a link, which begins at their front. Planning
// takes the longer the more links there are, and most queues use one priority.
//
// Locks as in the plain fetch: SKIP LOCKED, then an update by primary key of the ids that were locked.
var watermarkStatements = func() (all [2][1 << lowestPriority]statement) {
	for i, late := range []bool{false, true} {
		for marked := range all[i] {
			links, candidates := watermarkChain(marked, late)
			all[i][marked] = build("WITH "+links+string(claimBody), "CANDIDATES", candidates)
		}
	}
	return all
}()

// watermarkFetch returns the statement for what has a mark, and its parameters beyond those of every fetch.
func watermarkFetch(mark [lowestPriority + 1]position, late []int64) (fetch statement, more []any) {
	if late == nil {
		late = []int64{} // no null
	}
	more = []any{late}
	statements := &watermarkStatements[min(len(late), 1)]
	marked := 0
	for priority := 1; priority <= lowestPriority; priority++ {
		if !mark[priority].unset() {
			marked |= 1 << (priority - 1)
			more = append(more, mark[priority].at, mark[priority].id)
		}
	}
	if marked == 0 {
		return fetchStatement, nil
	}
	return statements[marked], more
}

// watermarkChain writes the links as CTEs and the query that reads them all, in their order.
func watermarkChain(marked int, late bool) (links, candidates string) {
	var (
		text  strings.Builder
		names []string
	)
	link := func(where string) {
		taken := ""
		if len(names) > 0 {
			taken = " - (SELECT count(*) FROM " + strings.Join(names, ") - (SELECT count(*) FROM ") + ")"
		}
		name := fmt.Sprintf("link%d", len(names)+1)
		fmt.Fprintf(&text, `%s AS (
	SELECT id FROM SCHEMA.river_job WHERE %s
	ORDER BY priority, scheduled_at, id LIMIT greatest((SELECT $2::int)%s, 0) FOR UPDATE SKIP LOCKED
), `, name, where, taken)
		names = append(names, name)
	}
	param := 8
	for priority := 1; priority <= lowestPriority; priority++ {
		has := func(p int) bool { return marked>>(p-1)&1 == 1 }
		if !has(priority) {
			first := priority
			for priority < lowestPriority && !has(priority+1) {
				priority++
			}
			link(fmt.Sprintf("%s AND priority BETWEEN %d AND %d", waitingInQueue, first, priority))
			continue
		}
		if late {
			// Conditions in a CASE lead to no index, so the ids are looked up by primary key. The planner expects to find none
			// of them, and would otherwise read all of the queue for those that match.
			link(fmt.Sprintf("id = ANY($7::bigint[]) AND CASE WHEN %s AND priority = %d THEN true ELSE false END", waitingInQueue, priority))
		}
		link(fmt.Sprintf("%s AND priority = %d AND (scheduled_at, id) >= ($%d::timestamptz, $%d::bigint) AND id <> ALL($7::bigint[])",
			waitingInQueue, priority, param, param+1))
		param += 2
	}
	return text.String(), "SELECT id FROM " + strings.Join(names, " UNION ALL SELECT id FROM ")
}

// probeStatement reads the ids before the marks that are due from $12 to $13 (null is no bound), and the time that this took
// in the server. It locks nothing. Jobs of kinds that the client does not work ($3) are left out: they stay where they are,
// and would hide what lies behind them.
var probeStatement = build(`
SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(scheduled_at), '{}'), coalesce(array_agg(priority), '{}'),
	extract(epoch FROM clock_timestamp() - statement_timestamp())::double precision
FROM (BEFORE1 UNION ALL BEFORE2 UNION ALL BEFORE3 UNION ALL BEFORE4) AS late`,
	"BEFORE1", beforeMark(1), "BEFORE2", beforeMark(2), "BEFORE3", beforeMark(3), "BEFORE4", beforeMark(4))

func beforeMark(priority int) string {
	return fmt.Sprintf(`
	(SELECT id, scheduled_at, priority FROM SCHEMA.river_job WHERE state = 'available' AND queue = $1::text AND priority = %d
		AND ($3::text[] IS NULL OR kind = ANY($3::text[])) AND (scheduled_at, id) < ($%d::timestamptz, $%d::bigint)
		AND scheduled_at >= coalesce($12::timestamptz, '-infinity') AND scheduled_at < coalesce($13::timestamptz, 'infinity')
	ORDER BY priority, scheduled_at, id LIMIT (SELECT $2::int))`, priority, 2*priority+2, 2*priority+3)
}

// look claims jobs, from the front or from the watermark.
func (s *producer) look(ctx context.Context, x *Executor, params *riverdriver.JobGetAvailableParams) (*riverdriver.JobGetAvailableResult, error) {
	w := s.marks
	w.mu.Lock()
	slow, mark, late := w.slow, w.mark, w.late
	w.late = lateIDs{}
	w.mu.Unlock()

	fetch, more := fetchStatement, []any(nil)
	if slow {
		fetch, more = watermarkFetch(mark, slices.Concat(late[:]...))
	}
	result, err := x.claim(ctx, fetch, params, more...)
	if err != nil {
		w.keep(late)
		return nil, err
	}
	if len(result.Jobs) >= params.MaxToLock {
		w.keep(noRoom(late, result.Jobs))
	}
	if w.advance(result.Jobs) {
		s.services.Go(func() { s.probe(x, params) })
	}
	return result, nil
}

// noRoom returns the late ids that a full fetch had no room for. Where it took a job that comes behind the late ones of a
// priority, those that it did not take are somebody else's by now.
func noRoom(late lateIDs, jobs []*rivertype.JobRow) lateIDs {
	for priority, ids := range late {
		if len(ids) == 0 {
			continue
		}
		var taken []int64
		beyond := slices.ContainsFunc(jobs, func(job *rivertype.JobRow) bool {
			_, isLate := slices.BinarySearch(ids, job.ID)
			if isLate {
				taken = append(taken, job.ID)
			}
			return job.Priority > priority || job.Priority == priority && !isLate
		})
		if beyond {
			late[priority] = nil
			continue
		}
		slices.Sort(taken)
		late[priority] = slices.DeleteFunc(slices.Clone(ids), func(id int64) bool { _, took := slices.BinarySearch(taken, id); return took })
	}
	return late
}

// keep keeps late ids for the next fetch.
func (w *watermarks) keep(late lateIDs) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for priority, ids := range late {
		w.addLate(priority, ids)
	}
}

// addLate adds late ids that are not there yet. The caller holds the lock.
func (w *watermarks) addLate(priority int, ids []int64) {
	all := append(slices.Clip(ids), w.late[priority]...)
	slices.Sort(all)
	w.late[priority] = slices.Compact(all)
}

// advance moves the marks behind the claimed jobs and reports whether it is time for a probe.
func (w *watermarks) advance(jobs []*rivertype.JobRow) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.move(jobs)
	w.claimed = w.claimed || len(jobs) > 0
	// With nothing claimed there is nothing new before the marks that a full scan would not find; in watermark mode the
	// probe has to go on all the same, since only it sees what comes late.
	if w.probing || !(w.claimed || w.slow) || time.Now().Before(w.nextProbe) {
		return false
	}
	w.probing, w.claimed = true, false
	return true
}

// move moves the marks behind claimed jobs, and never back.
func (w *watermarks) move(jobs []*rivertype.JobRow) {
	for _, job := range jobs {
		claims := append(w.claims[job.Priority], position{job.ScheduledAt, job.ID})
		mark := position{at: job.ScheduledAt.Add(-watermarkLag)}
		if len(claims) > watermarkJobs {
			if first := claims[0]; first.after(mark) {
				mark = first
			}
			claims = claims[1:]
		}
		w.claims[job.Priority] = claims
		if mark.after(w.mark[job.Priority]) {
			w.mark[job.Priority] = mark
		}
	}
}

// probe looks at what lies before the marks, or at a part of it, and decides how the next fetches go.
func (s *producer) probe(x *Executor, params *riverdriver.JobGetAvailableParams) {
	ctx, cancel := context.WithTimeout(s.life, fetchTimeout)
	defer cancel()
	w := s.marks
	w.mu.Lock()
	from, to := w.windows.window(w.newest())
	w.mu.Unlock()
	begun := time.Now()
	late, took, err := w.look(ctx, x, params, from, to)
	outOfTime := ranOutOfTime(err)
	if outOfTime {
		took = time.Since(begun)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	w.probing = false
	w.nextProbe = time.Now().Add(max(probePause, probeShare*took))
	if s.life.Err() != nil {
		return
	}
	if outOfTime {
		w.slow = true
		w.windows.failed(from)
		return
	}
	if err != nil {
		s.pilot.fleet.Logger.WarnContext(ctx, "probe of the queue's front did not succeed",
			slog.String("queue", params.Queue), slog.Any("error", err))
		return
	}
	if whole, over := w.windows.passed(from, took); over {
		w.slow = whole >= w.slowFront
	} else {
		w.slow = true
	}
	if w.slow {
		w.take(late)
	}
}

// ranOutOfTime reports whether a statement was cut off for taking too long, by us or by a setting of the role.
func ranOutOfTime(err error) bool {
	var pgErr *pgconn.PgError
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &pgErr) && pgErr.Code == "57014"
}

// newest is the due time of the newest mark, or now without one. The caller holds the lock.
func (w *watermarks) newest() time.Time {
	var newest time.Time
	for _, m := range w.mark {
		if m.at.After(newest) {
			newest = m.at
		}
	}
	if newest.IsZero() {
		return time.Now()
	}
	return newest
}

// lateJobs are those that a probe found before the marks, the earliest first at each priority.
type lateJobs struct {
	ids        []int64
	at         []time.Time
	priorities []int16
}

// look reads what lies before the marks and is due from one time to another. Where nothing was claimed yet at a priority,
// everything lies before.
func (w *watermarks) look(ctx context.Context, x *Executor, params *riverdriver.JobGetAvailableParams, from, to *time.Time) (late lateJobs, took time.Duration, err error) {
	w.mu.Lock()
	mark := w.mark
	w.mu.Unlock()
	args := []any{params.Queue, probeLimit, params.Kind}
	for _, m := range mark[1:] {
		if m.unset() {
			m.at = time.Now()
		}
		args = append(args, m.at, m.id)
	}
	args = append(args, from, to)
	var seconds float64
	err = x.db.QueryRow(ctx, probeStatement.in(params.Schema), x.storage.unnamed(args...)...).
		Scan(&late.ids, &late.at, &late.priorities, &seconds)
	return late, time.Duration(seconds * float64(time.Second)), riverError(err)
}

// take takes late jobs for the next fetch, beside those that earlier looks found. Where there are more of a priority than a
// probe brings, the scan goes back to the first of them instead. The caller holds the lock.
func (w *watermarks) take(late lateJobs) {
	var found [lowestPriority + 1][]int64
	var first [lowestPriority + 1]position
	for i, priority := range late.priorities {
		if found[priority] = append(found[priority], late.ids[i]); len(found[priority]) == 1 {
			first[priority] = position{late.at[i], late.ids[i]}
		}
	}
	for priority, ids := range found {
		switch {
		case len(ids) == 0 || w.mark[priority].unset(): // without a mark the scan begins before them anyway
		case len(ids)+len(w.late[priority]) >= probeLimit:
			w.mark[priority], w.claims[priority] = first[priority], nil
		default:
			w.addLate(priority, ids)
		}
	}
}
