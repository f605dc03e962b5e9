package pilot

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
)

// Start begins the beats. They go on while a stopping client lets its last jobs end: the context of the start is
// cancelled at the beginning of that, Stop is called at its end.
func (f *fleet) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := f.StartInit(context.WithoutCancel(ctx))
	if !shouldStart {
		return nil
	}
	go func() {
		started()
		defer stopped()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { f.attend(ctx) })
		defer f.lifeline.close()
		f.beatForEver(ctx)
	}()
	return nil
}

func (f *fleet) beatForEver(ctx context.Context) {
	timer := time.NewTimer(f.pace.beat)
	defer timer.Stop()
	var failing bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake: // a first registration, or one after a restart: look around at once
		case <-timer.C:
			if wait := f.carriedFor(); wait > 0 {
				timer.Reset(wait)
				continue
			}
		}
		timer.Reset(f.pace.beat)
		seen, err := f.beat(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !failing {
				f.Logger.WarnContext(ctx, "beat of the process is not getting through", slog.Any("error", err))
			}
		case failing:
			f.Logger.InfoContext(ctx, "beat of the process is getting through again")
		}
		failing = err != nil
		if err == nil {
			f.report(seen)
		}
	}
}

// report hands what a beat brought to the duties. They may be busy with what an earlier one brought, and the newest
// counts.
func (f *fleet) report(seen sighting) {
	for {
		select {
		case f.duty <- seen:
			return
		default:
		}
		select {
		case <-f.duty:
		default:
		}
	}
}

// beatPart is the sign of life of a process, and peerColumns what it reads of all of them, in one statement. It touches the
// process's own row and waits for nobody but an observer who is about to declare it dead. The rows are read as they were
// before.
const (
	beatPart = `mine AS (
	UPDATE SCHEMA.process
	SET beat = beat + 1, beat_at = clock_timestamp(), running = $2::int, queues = coalesce($3::text::jsonb, queues),
		clock_ahead = $5::timestamptz - clock_timestamp()
	WHERE epoch = $1::bigint AND dead_at IS NULL AND stopped_at IS NULL
	RETURNING epoch
)`
	peerColumns = `p.epoch, p.client_id, p.beat, p.dead_at IS NOT NULL OR p.stopped_at IS NOT NULL,
	coalesce(p.dead_at IS NOT NULL OR p.stopped_at < clock_timestamp() - make_interval(secs => $4::double precision), false),
	EXISTS (SELECT FROM mine)`
)

var beatStatement = build(`
WITH BEAT
SELECT PEERS FROM SCHEMA.process p`, "BEAT", beatPart, "PEERS", peerColumns)

// reelectStatement is River's, which extends a leadership that has not run out, and a beat. It locks the leader's row and
// the process's own, in whatever order: nobody else takes both.
var reelectStatement = build(`
WITH term AS (
	UPDATE SCHEMA.river_leader SET expires_at = coalesce($8::timestamptz, now()) + make_interval(secs => $9::double precision)
	WHERE leader_id = $6::text AND elected_at = $7::timestamptz AND expires_at >= coalesce($8, now())
	RETURNING elected_at, expires_at, leader_id
), BEAT
SELECT t.elected_at, t.expires_at, t.leader_id, PEERS
FROM SCHEMA.process p LEFT JOIN term t ON true`, "BEAT", beatPart, "PEERS", peerColumns)

// sign is a beat that is on its way.
type sign struct {
	fleet  *fleet
	epoch  int64
	queues *string // if the row does not show them yet
	begun  time.Time
	peers  []peer
	alive  bool // the row was still that of a live process
}

// begin begins a beat. There is none to give while the process has no row.
func (f *fleet) begin() (s *sign, h home, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s = &sign{fleet: f, epoch: f.epoch, begun: f.now()}
	if s.epoch == 0 {
		return s, f.home, false
	}
	if f.changed {
		slots := f.slots()
		s.queues = &slots
		f.changed = false
	}
	return s, f.home, true
}

// args are those of beatPart and peerColumns.
func (s *sign) args(more ...any) []any {
	f := s.fleet
	return append([]any{s.epoch, f.pilot.atWork(), s.queues, f.pace.stopped.Seconds(), time.Now()}, more...)
}

// collect reads a row of peerColumns, after other columns.
func (s *sign) collect(before ...any) func(row pgx.CollectableRow) (peer, error) {
	return func(row pgx.CollectableRow) (p peer, err error) {
		return p, row.Scan(append(before, &p.epoch, &p.clientID, &p.beat, &p.ended, &p.lost, &s.alive)...)
	}
}

// failed notes that the beat may not have got through.
func (s *sign) failed() {
	f := s.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = f.changed || s.queues != nil
}

// given notes that the beat got through, by a reelection or for itself, and returns what it saw.
func (s *sign) given(carried bool) sighting {
	f := s.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastBeat, f.carried = s.begun, carried
	return f.watch.look(s.begun, f.pace, s.peers, f.epoch, f.clientID)
}

// beat gives a sign of life and returns what it saw. An outcast registers anew.
func (f *fleet) beat(ctx context.Context) (sighting, error) {
	s, h, ok := f.begin()
	if !ok {
		return sighting{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.pace.beatTimeout)
	defer cancel()
	err := f.lifeline.run(ctx, h.db, func(db querier) error {
		rows, err := db.Query(ctx, beatStatement.in(h.schema), s.args()...)
		if err != nil {
			return err
		}
		s.peers, err = pgx.CollectRows(rows, s.collect())
		return err
	})
	if err != nil {
		s.failed()
		return sighting{}, fmt.Errorf("beat of process %q: %w", f.clientID, riverError(err))
	}
	if !s.alive {
		return sighting{}, f.enrolAgain(ctx, s.epoch)
	}
	return s.given(false), nil
}

// LeaderAttemptReelect extends a leadership, as River's does, and gives the sign of life of its process by the way: a
// leader does both every five seconds, and each statement has a commit. Beats that are carried so keep those of beatForEver
// away as long as they come.
func (x *Executor) LeaderAttemptReelect(ctx context.Context, params *riverdriver.LeaderReelectParams) (*riverdriver.Leader, error) {
	f := x.storage.fleetOf(params.Schema, params.LeaderID)
	if f == nil {
		return x.Executor.LeaderAttemptReelect(ctx, params)
	}
	s, _, ok := f.begin()
	if !ok {
		return x.Executor.LeaderAttemptReelect(ctx, params)
	}
	var term struct {
		electedAt, expiresAt *time.Time
		leaderID             *string
	}
	rows, err := x.db.Query(ctx, reelectStatement.in(params.Schema), s.args(params.LeaderID, params.ElectedAt, params.Now, params.TTL.Seconds())...)
	if err == nil {
		s.peers, err = pgx.CollectRows(rows, s.collect(&term.electedAt, &term.expiresAt, &term.leaderID))
	}
	switch {
	case err != nil:
		s.failed()
		return nil, riverError(err)
	case len(s.peers) == 0: // nor was there a row to show the leadership in
		s.failed()
		return x.Executor.LeaderAttemptReelect(ctx, params)
	case s.alive:
		f.report(s.given(true))
	default: // the next beat finds that out too, and registers anew
		s.failed()
		f.nudge()
	}
	if term.leaderID == nil {
		return nil, riverError(pgx.ErrNoRows)
	}
	return &riverdriver.Leader{ElectedAt: term.electedAt.UTC(), ExpiresAt: term.expiresAt.UTC(), LeaderID: *term.leaderID}, nil
}

// carriedFor is for how long nothing else need be sent, since reelections carry the beats: they are given a fifth more than
// the time between two beats.
func (f *fleet) carriedFor() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.carried {
		return 0
	}
	return f.pace.beat + f.pace.beat/5 - atMost(f.lastBeat, f.now())
}
