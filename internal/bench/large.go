package bench

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// largeRowBytes is what a generated job takes on disk, with its indexes, where it takes most; largeLogBytes is room for
// the write-ahead log.
const (
	largeRowBytes = 700
	largeLogBytes = 5 << 30
)

func largeScenario() scenario {
	return scenario{
		name: "large", about: "work from a table with millions of waiting jobs, over millions of finished ones",
		defaults: Options{Rounds: 1, Jobs: 300_000, Finished: 10_000_000, Waiting: 1_000_000},
		cases: []benchCase{{
			headline:   JobsPerSecond,
			contenders: []variant{towpathVariant(), riverVariant()},
			run: func(ctx context.Context, r *run, c contender) (*outcome, error) {
				return r.large(ctx, c.(*system)) //nolint:forcetypeassert // no peer takes part
			},
		}},
	}
}

// large measures the small tables first and the large ones after them, and leaves none behind: vacuum would go on in
// one contender's database while the next one runs. The two differ in size alone: the stretch that is measured is as long
// in both, and what waits behind it in the large ones is worked off too, so that every job can be accounted for.
func (r *run) large(ctx context.Context, s *system) (o *outcome, err error) {
	p := planFor(r.opts.Jobs)
	if p.total() > r.opts.Waiting {
		return nil, fmt.Errorf("work %d of %d waiting jobs: too few wait", p.total(), r.opts.Waiting)
	}
	if err := r.checkDisk(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.empty(context.WithoutCancel(ctx))) }()
	small, err := r.backlog(ctx, s, p, 0)
	if err != nil {
		return nil, fmt.Errorf("work from small tables: %w", err)
	}
	r.progress.line("%s: small tables: %s, %s, %s", r.label, small.figures.brief(JobsPerSecond), small.figures.brief(PostgresCPU), small.figures.brief(WALPerJob))
	p.rest = r.opts.Waiting - p.warm - p.measured
	r.progress.line("%s: generating %s finished and %s waiting jobs", r.label, whole(float64(r.opts.Finished)), whole(float64(r.opts.Waiting)))
	o, err = r.backlog(ctx, s, p, r.opts.Finished)
	if err != nil {
		return nil, fmt.Errorf("work from large tables: %w", err)
	}
	o.figures[AgainstSmall] = o.figures[JobsPerSecond] / small.figures[JobsPerSecond]
	return o, nil
}

// backlog fills the tables and measures the work on what waits in them.
func (r *run) backlog(ctx context.Context, s *system, p plan, finished int) (*outcome, error) {
	if err := r.fill(ctx, s, finished, p.total()); err != nil {
		return nil, err
	}
	return r.work(ctx, s, p, finished)
}

// fill empties the tables and brings the first waiting jobs of the mix and so many finished ones into them. They are left
// as after some quiet time, so that neither vacuum nor a checkpoint of what was generated falls into what is measured.
func (r *run) fill(ctx context.Context, s *system, finished, waiting int) error {
	if err := s.empty(ctx); err != nil {
		return err
	}
	before, err := s.skipIDs(ctx, finished)
	if err != nil {
		return err
	}
	if err := s.insertMix(ctx, waiting); err != nil {
		return err
	}
	if err := fillFinished(ctx, s.pool, s.finished(), before, finished); err != nil {
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return r.server.checkpoint(ctx)
}

// checkDisk looks whether the server's disk has room for the largest contender, if it is a disk of this machine.
func (r *run) checkDisk() error {
	need := uint64(r.opts.Finished+r.opts.Waiting)*largeRowBytes + largeLogBytes //nolint:gosec // both were checked
	dir := r.server.dataDir(r.meter.postmaster)
	if dir == "" {
		if r.opts.SkipDiskCheck {
			return nil
		}
		return fmt.Errorf("look for free disk: the server's data is not to be seen from here; make sure that it has "+
			"%d GB free and skip the check", need>>30)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("look for free disk in %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < need { //nolint:gosec // its type differs between systems
		return fmt.Errorf("look for free disk in %s: %d GB are free and %d GB needed; lower the number of jobs", dir, free>>30, need>>30)
	}
	return nil
}

// settle does for all tables what autovacuum and the fleet do in time. What a fleet does seldom, for it takes long, would
// else come in a stretch of seconds that has just begun.
func (s *system) settle(ctx context.Context) error {
	for _, table := range s.tables() {
		if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE) "+s.table(table)); err != nil {
			return fmt.Errorf("vacuum %s: %w", table, err)
		}
	}
	for _, chore := range s.chores() {
		if _, err := s.pool.Exec(ctx, chore); err != nil {
			return fmt.Errorf("do a fleet's chore: %w", err)
		}
	}
	return nil
}

// checkpoint writes out what was generated, so that this does not happen while a contender is measured. Where the role
// may not ask for it, it happens when it happens.
func (s *server) checkpoint(ctx context.Context) error {
	url := s.url
	if s.private != nil {
		url = s.private.SuperURL()
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	_, err = conn.Exec(ctx, "CHECKPOINT")
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42501" {
		err = nil
	}
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	return nil
}

// fillStep is how many rows one statement generates.
const fillStep = 250_000

// pastWorker is who worked the generated jobs, by which they are told from those of a round.
func pastWorker() []string { return []string{"bench-past"} }

// skipIDs leaves out n ids, for jobs that were inserted before all others, and returns the one before them.
func (s *system) skipIDs(ctx context.Context, n int) (before int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT setval(seq, nextval(seq) + $2) - $2 FROM pg_get_serial_sequence($1, 'id') AS seq`, s.table("river_job"), n).Scan(&before)
	if err != nil {
		return 0, fmt.Errorf("leave out %d ids: %w", n, err)
	}
	return before, nil
}

// fillFinished generates completed jobs of the last twenty hours, in the order of time, which no retention removes yet.
// Their ids follow one, and are those of older jobs than what is inserted otherwise: so new entries of indexes come where
// they come in a table that has grown.
func fillFinished(ctx context.Context, pool *pgxpool.Pool, table string, before int64, n int) error {
	for done := 0; done < n; done += fillStep {
		_, err := pool.Exec(ctx, `INSERT INTO `+table+` (id, args, attempt, attempted_at, attempted_by, created_at, finalized_at,
	kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
SELECT $5 + i, jsonb_build_object('n', i), 1, t, $4::text[], t - interval '1 s', t + interval '1 ms',
	CASE WHEN i % 2 = 0 THEN 'bench_plain' ELSE 'bench_other' END, 25, '{}', 1, 'default', 'completed', t - interval '1 s', '{}'
FROM (
	SELECT i, now() - interval '20 h' * (1 - i::double precision / $3) AS t FROM generate_series($1::bigint, $2::bigint) AS i
) AS past`, done+1, min(done+fillStep, n), float64(n), pastWorker(), before)
		if err != nil {
			return fmt.Errorf("generate finished jobs: %w", err)
		}
	}
	return nil
}
