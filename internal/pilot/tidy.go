package pilot

import (
	"context"
	"fmt"
	"time"

	"github.com/riverqueue/river/riverdriver"
)

// period is how long finished jobs of a state are kept. Zero is for ever.
type period time.Duration

// periods are how long finished jobs are kept.
type periods struct {
	known                           bool
	completed, cancelled, discarded period
}

// longest is the longest of the three.
func (p periods) longest() period {
	if p.completed == 0 || p.cancelled == 0 || p.discarded == 0 {
		return 0
	}
	return max(p.completed, p.cancelled, p.discarded)
}

// since is the moment before which jobs of a state are not kept. For ever, it is none.
func (p period) since() *time.Time {
	if p == 0 {
		return nil
	}
	t := time.Now().Add(-time.Duration(p))
	return &t
}

// riverSilence is how long a leader waits for River's cleaner to say how long River keeps jobs. It never does where River
// keeps all of them for ever.
const riverSilence = 2 * time.Minute

// ask remembers how long River keeps jobs, as its cleaner says each time it asks to delete.
func (u *upkeep) ask(params *riverdriver.JobDeleteBeforeParams) {
	of := func(deletes bool, horizon time.Time) period {
		if !deletes {
			return 0
		}
		return period(max(time.Since(horizon), 1))
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked = periods{
		known:     true,
		completed: of(params.CompletedDoDelete, params.CompletedFinalizedAtHorizon),
		cancelled: of(params.CancelledDoDelete, params.CancelledFinalizedAtHorizon),
		discarded: of(params.DiscardedDoDelete, params.DiscardedFinalizedAtHorizon),
	}
}

// keep returns how long jobs are kept: as configured, and River's way where nothing is.
func (u *upkeep) keep() periods {
	u.mu.Lock()
	defer u.mu.Unlock()
	result := u.asked
	result.known = result.known || time.Since(u.begun) > riverSilence
	configured := u.pilot.config.Retention
	for _, c := range []struct {
		own time.Duration
		to  *period
	}{{configured.Completed, &result.completed}, {configured.Cancelled, &result.cancelled}, {configured.Discarded, &result.discarded}} {
		if c.own > 0 {
			*c.to = period(c.own)
		}
	}
	result.known = result.known || configured.Completed > 0 && configured.Cancelled > 0 && configured.Discarded > 0
	return result
}

// deleteBeforeStatement takes finished jobs out of river_job whose time there is over by River's periods: unique keys are
// held no longer, whatever else becomes of the job. Those that our own retention ($10 to $12) still keeps go to history.
//
// SKIP LOCKED: whoever holds a row is about to change it, and the next pass sees what came of it.
var deleteBeforeStatement = build(`
WITH old AS (
	SELECT id FROM SCHEMA.river_job
	WHERE finalized_at IS NOT NULL AND finalized_at < greatest($2::timestamptz, $4::timestamptz, $6::timestamptz)
		AND (state = 'cancelled' AND $1::boolean AND finalized_at < $2 OR state = 'completed' AND $3::boolean AND finalized_at < $4
			OR state = 'discarded' AND $5::boolean AND finalized_at < $6)
		AND ($7::text[] IS NULL OR queue <> ALL($7)) AND ($8::text[] IS NULL OR queue = ANY($8))
	ORDER BY finalized_at, id LIMIT $9::int
	FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM SCHEMA.river_job WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING *
), archived AS (
	INSERT INTO SCHEMA.job_history (JOB_COLUMNS) SELECT JOB_COLUMNS FROM gone
	WHERE finalized_at >= CASE state WHEN 'cancelled' THEN $10::timestamptz WHEN 'completed' THEN $11::timestamptz ELSE $12::timestamptz END
)
SELECT count(*) FROM gone`, "JOB_COLUMNS", jobColumns)

// JobDeleteBefore implements River's pilot for its cleaner, which it tells how many rows left river_job.
func (p *Pilot) JobDeleteBefore(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobDeleteBeforeParams) (int, error) {
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		return p.StandardPilot.JobDeleteBefore(ctx, exec, params)
	}
	p.upkeep.ask(params)
	keep := p.config.Retention
	var n int
	err := x.db.QueryRow(ctx, deleteBeforeStatement.in(params.Schema), x.storage.unnamed(
		params.CancelledDoDelete, params.CancelledFinalizedAtHorizon, params.CompletedDoDelete, params.CompletedFinalizedAtHorizon,
		params.DiscardedDoDelete, params.DiscardedFinalizedAtHorizon, params.QueuesExcluded, params.QueuesIncluded, params.Max,
		period(keep.Cancelled).since(), period(keep.Completed).since(), period(keep.Discarded).since())...).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("delete old finished jobs: %w", riverError(err))
	}
	return n, nil
}

// tidyStatement moves finished jobs to history that need not stay in river_job: some were ended by hand, or when history
// would not take them. Those whose time is over ($2 to $4) are left to River's cleaner, since history would keep them
// from now on. Nothing is counted here; whoever ended a job has counted it.
var tidyStatement = build(`
WITH stray AS (
	SELECT j.id FROM SCHEMA.river_job j
	WHERE j.finalized_at IS NOT NULL AND ($1::double precision IS NULL OR j.finalized_at > now() - make_interval(secs => $1)) AND MAY_LEAVE
		AND j.finalized_at > coalesce(CASE j.state WHEN 'cancelled' THEN $2::timestamptz WHEN 'completed' THEN $3::timestamptz
			ELSE $4::timestamptz END, '-infinity')
	ORDER BY j.finalized_at DESC, j.id DESC LIMIT $5::int
	FOR UPDATE SKIP LOCKED
), gone AS (
	DELETE FROM SCHEMA.river_job WHERE id = ANY(ARRAY(SELECT id FROM stray)) RETURNING *
)
INSERT INTO SCHEMA.job_history (JOB_COLUMNS) SELECT JOB_COLUMNS FROM gone`,
	"JOB_COLUMNS", jobColumns, "MAY_LEAVE", mayLeave("j", "j.state"))

const (
	tidyPause = 30 * time.Second
	tidyBatch = 1000
	// tidyOverlap is how far a pass looks back before the last one: finalized_at is the clock of whoever wrote it. Every
	// tidyFully a pass looks at all finished rows.
	tidyOverlap = time.Minute
	tidyFully   = time.Hour
	// tidyRefused is the pause after history refused a row.
	tidyRefused = time.Hour
)

// tidyOnce moves one batch of rows that were finished less than window ago; zero is all.
func (x *Executor) tidyOnce(ctx context.Context, schema string, window time.Duration, keep periods) (int64, error) {
	var seconds *float64
	if window > 0 {
		s := window.Seconds()
		seconds = &s
	}
	tag, err := x.db.Exec(ctx, tidyStatement.in(schema), x.storage.unnamed(
		seconds, keep.cancelled.since(), keep.completed.since(), keep.discarded.since(), tidyBatch)...)
	return tag.RowsAffected(), riverError(err)
}

// tidy looks at the rows that were finished since the last pass, and now and then at all.
func (u *upkeep) tidy(ctx context.Context, x *Executor, schema string) (time.Duration, error) {
	keep := u.keep()
	if !keep.known || x.storage.keepsInPlace() {
		return tidyPause, nil
	}
	begun := time.Now()
	full := begun.Sub(u.tidiedFully) >= tidyFully
	var window time.Duration
	if !full {
		window = begun.Sub(u.tidied) + tidyOverlap
	}
	for {
		n, err := x.tidyOnce(ctx, schema, window, keep)
		if refusesHistory(err) {
			return tidyRefused, nil // the finishes say so each minute, and a person has to act
		}
		if err != nil {
			return 0, fmt.Errorf("move finished jobs to history: %w", err)
		}
		if n < tidyBatch {
			break
		}
	}
	u.tidied = begun
	if full {
		u.tidiedFully = begun
	}
	return max(tidyPause, upkeepShare*time.Since(begun)), nil
}
