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
		defaults: Options{Rounds: 1, Jobs: 100_000, Finished: 10_000_000, Waiting: 1_000_000},
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
// one contender's database while the next one runs.
func (r *run) large(ctx context.Context, s *system) (o *outcome, err error) {
	p := planFor(r.opts.Jobs)
	if p.total() > r.opts.Waiting {
		return nil, fmt.Errorf("work %d of %d waiting jobs: too few wait", p.total(), r.opts.Waiting)
	}
	if err := r.checkDisk(); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, p.total()); err != nil {
		return nil, err
	}
	small, err := r.work(ctx, s, p, true)
	if err != nil {
		return nil, err
	}
	r.progress.line("%s: small tables: %s", r.label, small.figures.brief(JobsPerSecond))
	if err := s.empty(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.empty(context.WithoutCancel(ctx))) }()
	r.progress.line("%s: generating %s finished and %s waiting jobs", r.label, whole(float64(r.opts.Finished)), whole(float64(r.opts.Waiting)))
	if err := s.fill(ctx, s.pool, r.opts.Finished, r.opts.Waiting); err != nil {
		return nil, err
	}
	if err := s.vacuum(ctx); err != nil {
		return nil, err
	}
	if err := r.server.checkpoint(ctx); err != nil {
		return nil, err
	}
	o, err = r.work(ctx, s, p, false)
	if err != nil {
		return nil, err
	}
	o.figures[AgainstSmall] = o.figures[JobsPerSecond] / small.figures[JobsPerSecond]
	return o, nil
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

// vacuum leaves all tables as they are after some quiet time.
func (s *system) vacuum(ctx context.Context) error {
	for _, table := range s.tables() {
		if _, err := s.pool.Exec(ctx, "VACUUM (ANALYZE) "+s.table(table)); err != nil {
			return fmt.Errorf("vacuum %s: %w", table, err)
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

// fillFinished generates completed jobs of the last twenty hours, in the order of time, which no retention removes yet.
func fillFinished(ctx context.Context, pool *pgxpool.Pool, table string, n int) error {
	for done := 0; done < n; done += fillStep {
		_, err := pool.Exec(ctx, `INSERT INTO `+table+` (id, args, attempt, attempted_at, attempted_by, created_at, finalized_at,
	kind, max_attempts, metadata, priority, queue, state, scheduled_at, tags)
SELECT 1000000000 + i, jsonb_build_object('n', i), 1, t, ARRAY['bench-past'], t - interval '1 s', t + interval '1 ms',
	CASE WHEN i % 2 = 0 THEN 'bench_plain' ELSE 'bench_other' END, 25, '{}', 1, 'default', 'completed', t - interval '1 s', '{}'
FROM (
	SELECT i, now() - interval '20 h' * (1 - i::double precision / $3) AS t FROM generate_series($1::bigint, $2::bigint) AS i
) AS past`, done+1, min(done+fillStep, n), float64(n))
		if err != nil {
			return fmt.Errorf("generate finished jobs: %w", err)
		}
	}
	return nil
}

// fillWaiting generates waiting jobs.
func fillWaiting(ctx context.Context, pool *pgxpool.Pool, schema string, n int) error {
	for done := 0; done < n; done += fillStep {
		_, err := pool.Exec(ctx, `INSERT INTO `+schema+`.river_job (args, created_at, kind, max_attempts, metadata, priority, queue,
	state, scheduled_at, tags)
SELECT jsonb_build_object('n', i), now(), CASE WHEN i % 2 = 0 THEN 'bench_plain' ELSE 'bench_other' END, 25, '{}', 1, 'default',
	'available', now() - interval '1 min' + interval '1 us' * i, '{}'
FROM generate_series($1::bigint, $2::bigint) AS i`, done, min(done+fillStep, n)-1)
		if err != nil {
			return fmt.Errorf("generate waiting jobs: %w", err)
		}
	}
	return nil
}
