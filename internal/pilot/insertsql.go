package pilot

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
)

// SQLDriver is a River driver for clients that insert in transactions of database/sql and do nothing else. Parameters
// travel as JSON text, which every driver under database/sql can send.
type SQLDriver struct {
	*riverpgxv5.Driver
	bell *bell
}

// NewSQLDriver returns a driver without a database of its own.
func NewSQLDriver() *SQLDriver { return &SQLDriver{Driver: riverpgxv5.New(nil), bell: newBell()} }

// UnwrapExecutor returns an executor on the transaction.
func (d *SQLDriver) UnwrapExecutor(tx *sql.Tx) riverdriver.ExecutorTx { return &sqlExecutor{tx: tx} }

// UnwrapTx returns the transaction of an executor.
func (d *SQLDriver) UnwrapTx(exec riverdriver.ExecutorTx) *sql.Tx {
	return exec.(*sqlExecutor).tx //nolint:forcetypeassert // River hands back what UnwrapExecutor gave
}

// PluginInit is part of River's plugin interface.
func (d *SQLDriver) PluginInit(*baseservice.Archetype) {}

// PluginPilot returns the pilot that inserts.
func (d *SQLDriver) PluginPilot() riverpilot.Pilot { return &sqlPilot{bell: d.bell} }

// sqlExecutor is a transaction of database/sql. River asks it for nothing but notifications, which the insert has sent.
type sqlExecutor struct {
	riverdriver.ExecutorTx // nil
	tx                     *sql.Tx
}

// NotifyMany does nothing: the statement that inserted the jobs has notified their queues.
func (*sqlExecutor) NotifyMany(context.Context, *riverdriver.NotifyManyParams) error { return nil }

type sqlPilot struct {
	riverpilot.StandardPilot
	bell *bell
}

// sqlJob is a job on its way into fromJSON.
type sqlJob struct {
	ID           *int64     `json:"id"`
	Args         string     `json:"args"`
	CreatedAt    *time.Time `json:"created_at"`
	Kind         string     `json:"kind"`
	MaxAttempts  int16      `json:"max_attempts"`
	Metadata     string     `json:"metadata"`
	Priority     int16      `json:"priority"`
	Queue        string     `json:"queue"`
	ScheduledAt  *time.Time `json:"scheduled_at"`
	State        string     `json:"state"`
	Tags         string     `json:"tags"`
	UniqueKey    *string    `json:"unique_key"`
	UniqueStates int32      `json:"unique_states"`
}

// fromJSON takes two arrays and the schema's name. The args stay text inside of the JSON, so that their bytes arrive.
var fromJSON = insertSource{
	jobs: `SELECT id, args, created_at, kind, max_attempts, metadata, priority, queue, scheduled_at, state, tags,
		decode(unique_key, 'hex') AS unique_key, unique_states
	FROM json_to_recordset($1::text::json) AS t (id bigint, args text, created_at timestamptz, kind text, max_attempts smallint,
		metadata text, priority smallint, queue text, scheduled_at timestamptz, state text, tags text, unique_key text, unique_states int)`,
	payloads: "json_array_elements_text($2::text::json)", schema: "$3",
}

var (
	insertPlainFromJSON  = insertStatement(fromJSON, "")
	insertUniqueFromJSON = insertStatement(fromJSON, joinUnique)
)

// JobInsertMany inserts jobs in the caller's transaction and notifies their queues.
func (p *sqlPilot) JobInsertMany(ctx context.Context, exec riverdriver.ExecutorTx, params *riverdriver.JobInsertFastManyParams) ([]*riverdriver.JobInsertFastResult, error) {
	tx := exec.(*sqlExecutor).tx //nolint:forcetypeassert // the driver has no other
	input := newInsertInput(params.Jobs)
	insert := insertPlainFromJSON
	if input.unique {
		insert = insertUniqueFromJSON
	}
	jobs, err := json.Marshal(input.records())
	if err != nil {
		return nil, fmt.Errorf("write %d jobs as JSON: %w", len(params.Jobs), err)
	}
	notes, err := json.Marshal(payloads(p.bell.ring(params.Jobs)))
	if err != nil {
		return nil, fmt.Errorf("write notifications as JSON: %w", err)
	}
	rows, err := tx.QueryContext(ctx, insert.in(params.Schema), string(jobs), string(notes), params.Schema)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	results := make([]*riverdriver.JobInsertFastResult, 0, len(params.Jobs))
	var back insertedBack
	for rows.Next() {
		if err := rows.Scan(back.fields()...); err != nil {
			return nil, fmt.Errorf("read inserted job: %w", err)
		}
		result, err := back.result(params.Jobs, input, len(results))
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, rows.Err()
}

// records turns the columns into records.
func (in *insertInput) records() []sqlJob {
	records := make([]sqlJob, len(in.ids))
	for i := range records {
		records[i] = sqlJob{
			ID: in.ids[i], Args: in.args[i], CreatedAt: in.createdAt[i], Kind: in.kinds[i], MaxAttempts: in.maxAttempts[i],
			Metadata: in.metadata[i], Priority: in.priorities[i], Queue: in.queues[i], ScheduledAt: in.scheduledAt[i],
			State: in.states[i], Tags: in.tags[i], UniqueStates: in.uniqueStates[i],
		}
		if len(in.uniqueKeys[i]) > 0 {
			key := hex.EncodeToString(in.uniqueKeys[i])
			records[i].UniqueKey = &key
		}
	}
	return records
}
