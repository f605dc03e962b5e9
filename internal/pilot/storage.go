package pilot

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// querier is what a statement needs: a pool, or a transaction that belongs to somebody else.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// statement is SQL whose relations are written SCHEMA.name.
type statement string

// rendered keeps statements by schema, so that the hot ones are not built anew each time.
var rendered sync.Map

type renderKey struct {
	statement statement
	schema    string
}

// in returns the statement for a schema; an empty schema leaves names to the search path, as River does.
func (s statement) in(schema string) string {
	key := renderKey{s, schema}
	if sql, ok := rendered.Load(key); ok {
		return sql.(string) //nolint:forcetypeassert // only strings are stored
	}
	prefix := ""
	if schema != "" {
		prefix = pgx.Identifier{schema}.Sanitize() + "."
	}
	sql := strings.ReplaceAll(string(s), "SCHEMA.", prefix)
	rendered.Store(key, sql)
	return sql
}

// missTTL is how long a schema found without our line is taken to be without it. A migration applied under a running
// client is noticed after that time; until then the client does what River does, which both schemas bear.
const missTTL = 5 * time.Second

// Storage knows which schemas carry the migration line "towpath". One serves all executors of a driver; a nil one
// asks the database each time.
type Storage struct {
	mode         pgx.QueryExecMode
	canNotify    func() bool
	inPlaceUntil atomic.Int64 // Unix nanoseconds

	mu    sync.Mutex
	found map[string]bool
	asked map[string]time.Time
	helds []*held

	listeners []*Listener
	dues      []*dueService
}

// NewStorage returns a Storage that knows nothing yet. The mode is the pool's default; canNotify says whether the
// server has NOTIFY.
func NewStorage(mode pgx.QueryExecMode, canNotify func() bool) *Storage {
	return &Storage{mode: mode, canNotify: canNotify, found: make(map[string]bool), asked: make(map[string]time.Time)}
}

// notifies reports whether statements may notify. Without a driver nobody knows, and River takes it to be so.
func (s *Storage) notifies() bool { return s == nil || s.canNotify() }

// enlist adds the jobs that a client holds to those that the driver's executors can ask about.
func (s *Storage) enlist(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.helds = append(s.helds, h)
}

// tokens returns the tokens under which handlers of this driver's clients are at work on a job.
func (s *Storage) tokens(id int64) []time.Time {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var tokens []time.Time
	for _, h := range s.helds {
		if token := h.atWork(id); token != nil {
			tokens = append(tokens, *token)
		}
	}
	return tokens
}

// unnamed puts in front of a statement's arguments the mode in which it is planned anew each time with its values. A
// named statement may get a generic plan made while the table was tiny, which then walks over dead entries for ever. A
// mode that somebody chose for a pooler is left alone.
func (s *Storage) unnamed(args ...any) []any {
	if s != nil && (s.mode == pgx.QueryExecModeExec || s.mode == pgx.QueryExecModeSimpleProtocol) {
		return args
	}
	return append([]any{pgx.QueryExecModeCacheDescribe}, args...)
}

// prepares reports whether statements may be prepared on the pool's connections.
func (s *Storage) prepares() bool { return s != nil && s.mode == pgx.QueryExecModeCacheStatement }

// refusalPause is how long finishes keep their rows in river_job after history refused one.
const refusalPause = time.Minute

// keepInPlace notes that history refused a row.
func (s *Storage) keepInPlace() {
	if s != nil {
		s.inPlaceUntil.Store(time.Now().Add(refusalPause).UnixNano())
	}
}

// keepsInPlace reports whether finishes should not try history for now.
func (s *Storage) keepsInPlace() bool {
	return s != nil && time.Now().UnixNano() < s.inPlaceUntil.Load()
}

// has reports whether the schema carries the line. An error of the database counts as no, for this once: the statement
// that follows meets the same error and reports it.
func (s *Storage) has(ctx context.Context, db querier, schema string) bool {
	found, err := s.look(ctx, db, schema)
	return err == nil && found
}

// look is has for who cannot leave the error to others.
func (s *Storage) look(ctx context.Context, db querier, schema string) (bool, error) {
	if s == nil {
		return lookFor(ctx, db, schema)
	}
	s.mu.Lock()
	found, asked := s.found[schema], s.asked[schema]
	s.mu.Unlock()
	if found || time.Since(asked) < missTTL {
		return found, nil
	}
	found, err := lookFor(ctx, db, schema)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found[schema], s.asked[schema] = found, time.Now()
	return found, nil
}

// knows reports whether the schema was found to carry the line. It asks nobody.
func (s *Storage) knows(schema string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.found[schema]
}

func lookFor(ctx context.Context, db querier, schema string) (found bool, err error) {
	err = db.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", statement("SCHEMA.job_history").in(schema)).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for job_history in schema %q: %w", schema, riverError(err))
	}
	return found, nil
}
