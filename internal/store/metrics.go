package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Lifecycle is a row of towpath.lifecycle.
type Lifecycle = LifecyclesRow

// Lifecycles returns what has happened since the beginning, by queue and kind.
func Lifecycles(ctx context.Context, db DB) ([]Lifecycle, error) {
	all, err := queries.Lifecycles(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the lifecycle: %w", err)
	}
	return all, nil
}

// Durations is a bucket of a histogram: how many attempts of a queue and kind began (event started, after a wait) or ended
// (any other event, after a run) with a duration over 2^(Bucket-1) up to 2^Bucket milliseconds.
type Durations = AttemptDurationsRow

// AttemptDurations returns all buckets that hold something.
func AttemptDurations(ctx context.Context, db DB) ([]Durations, error) {
	all, err := queries.AttemptDurations(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the durations: %w", err)
	}
	return all, nil
}

// KnownKind is a kind and the queue that its jobs go to unless they say otherwise.
type KnownKind = KnownKindsRow

// KnownKinds returns the kinds that some process has or had a worker for.
func KnownKinds(ctx context.Context, db DB) ([]KnownKind, error) {
	all, err := queries.KnownKinds(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the known kinds: %w", err)
	}
	return all, nil
}

// AddKnownKinds notes kinds that there is a worker for.
func AddKnownKinds(ctx context.Context, db DB, known []KnownKind) error {
	var params AddKnownKindsParams
	for _, k := range known {
		params.Kinds, params.Queues = append(params.Kinds, k.Kind), append(params.Queues, k.Queue)
	}
	if err := queries.AddKnownKinds(ctx, db, params); err != nil {
		return fmt.Errorf("note the known kinds: %w", err)
	}
	return nil
}

// PutKindSchemas writes down the JSON schemas of kinds, as the caller has them.
func PutKindSchemas(ctx context.Context, db DB, schemas map[string]json.RawMessage) error {
	var params PutKindSchemasParams
	for kind, schema := range schemas {
		params.Kinds, params.Schemas = append(params.Kinds, kind), append(params.Schemas, string(schema))
	}
	if err := queries.PutKindSchemas(ctx, db, params); err != nil {
		return fmt.Errorf("note the schemas of kinds: %w", err)
	}
	return nil
}

// KindSchema is what the args of a kind have to look like.
type KindSchema = KindSchemasRow

// KindSchemas returns all that are known.
func KindSchemas(ctx context.Context, db DB) ([]KindSchema, error) {
	all, err := queries.KindSchemas(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the schemas of kinds: %w", err)
	}
	return all, nil
}

// CheckKind calls check_kind and reports whether that changed anything.
func CheckKind(ctx context.Context, db DB, kind string, checked bool) (changed bool, err error) {
	err = db.QueryRow(ctx, `SELECT towpath.check_kind($1::text, $2::boolean)`, kind, checked).Scan(&changed)
	if err != nil {
		return false, fmt.Errorf("check kind %q: %w", kind, err)
	}
	return changed, nil
}

// QueueFigures is what waits and runs in a queue; Oldest is how many seconds the first available job has been due.
type QueueFigures = QueuesNowRow

// QueuesNow returns the queues, sorted by name.
func QueuesNow(ctx context.Context, db DB) ([]QueueFigures, error) {
	all, err := queries.QueuesNow(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the queues: %w", err)
	}
	return all, nil
}

// ScheduleFigures is how a schedule stands. Times are nil, and LastDuration (in seconds) is below zero, where there is none.
type ScheduleFigures = ScheduleFiguresRow

// SchedulesNow returns the schedules, sorted by name.
func SchedulesNow(ctx context.Context, db DB) ([]ScheduleFigures, error) {
	all, err := queries.ScheduleFigures(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the schedules: %w", err)
	}
	return all, nil
}

// TableHealth is what a table costs, with its partitions.
type TableHealth = TablesHealthRow

// TablesHealth returns the tables that jobs pass through.
func TablesHealth(ctx context.Context, db DB) ([]TableHealth, error) {
	all, err := queries.TablesHealth(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read the health of the tables: %w", err)
	}
	return all, nil
}

// ServerHealth is what of the server can hold the queue up: the age of the oldest open transaction in this database, in
// seconds, and the share of the room for notifications that is taken. Of other roles' transactions it knows with the
// rights of pg_read_all_stats alone.
func ServerHealth(ctx context.Context, db DB) (ServerHealthRow, error) {
	health, err := queries.ServerHealth(ctx, db)
	if err != nil {
		return health, fmt.Errorf("read the health of the server: %w", err)
	}
	return health, nil
}

// TakeLease reports whether the holder, a client id, has the lease from now on. The leader gets it at once, others when it
// is free or has expired.
func TakeLease(ctx context.Context, db DB, name, holder string, lasts time.Duration) (bool, error) {
	has, err := queries.TakeLease(ctx, db, TakeLeaseParams{Name: name, Holder: holder, Seconds: lasts.Seconds()})
	if err != nil {
		return false, fmt.Errorf("take the lease %q: %w", name, err)
	}
	return has, nil
}
