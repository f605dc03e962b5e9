package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

const (
	// sqlSlack is what a job may take beside its statement.
	sqlSlack = 15 * time.Second
	// sqlKeepBytes bounds what is kept of a result.
	sqlKeepBytes = 256 << 10
	// inTransaction is the protocol's letter for a connection that is inside of a transaction.
	inTransaction = 'T'
)

// SQLOutput is the output of a job of the kind "sql".
type SQLOutput struct {
	Command   string              `json:"command"`       // what the server calls it, such as DELETE 12
	Affected  int64               `json:"rows_affected"` // rows that were written, or returned
	Columns   []string            `json:"columns,omitempty"`
	Rows      [][]json.RawMessage `json:"rows,omitempty"`
	Truncated bool                `json:"truncated"` // whether there were more rows than are kept
}

// sqlWorker runs a statement in a transaction, under a role, on a connection that is closed afterwards, so that nothing
// that the statement sets stays behind.
//
// Postgres lets every statement step back out of a role that was set, so roles keep people from mistakes. Against those
// who mean harm, the login itself must have no rights of its own: that is what url is for.
type sqlWorker struct {
	river.WorkerDefaults[jobs.SQLArgs]

	roles []string
	url   string // "" for the database of the jobs
}

func (w *sqlWorker) Timeout(job *river.Job[jobs.SQLArgs]) time.Duration {
	return job.Args.Timeout() + sqlSlack
}

func (w *sqlWorker) Work(ctx context.Context, job *river.Job[jobs.SQLArgs]) error {
	role, err := w.role(job.Args)
	if err != nil {
		return workers.Permanent(err)
	}
	// The end of ctx asks the server to stop; the connection has to live until it has answered.
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), job.Args.Timeout()+sqlSlack)
	defer cancel()
	begin, done, err := w.connect(lasting, ctx)
	if err != nil {
		return err
	}
	defer done()
	tx, err := begin.Begin(lasting)
	if err != nil {
		return fmt.Errorf("begin the statement's transaction: %w", err)
	}
	defer tx.Rollback(lasting)
	output, err := w.run(ctx, lasting, tx, role, job.Args)
	if err != nil {
		return explain(ctx, job.Args, err)
	}
	if err := river.RecordOutput(ctx, output); err != nil {
		return fmt.Errorf("keep the result: %w", err)
	}
	if w.url == "" && !job.Args.ReadOnly {
		// The statement and the job's end commit together: it happens exactly once.
		if _, err := workers.CompleteTx(ctx, tx, job); err != nil {
			return fmt.Errorf("complete job %d with its statement: %w", job.ID, err)
		}
	}
	if err := tx.Commit(lasting); err != nil {
		return fmt.Errorf("commit the statement: %w", err)
	}
	return nil
}

// role decides under which role a statement runs.
func (w *sqlWorker) role(args jobs.SQLArgs) (string, error) {
	if err := args.Check(); err != nil {
		return "", err
	}
	switch {
	case len(w.roles) == 0:
		return "", errors.New("this worker runs no statements; allow it roles with TOWPATH_SQL_ROLES, such as TOWPATH_SQL_ROLES=reporting")
	case args.Role == "" && len(w.roles) == 1:
		return w.roles[0], nil
	case args.Role == "":
		return "", fmt.Errorf("role is missing, and this worker allows several; give one of %s", strings.Join(w.roles, ", "))
	case !slices.Contains(w.roles, args.Role):
		return "", fmt.Errorf("role %q is not allowed; this worker allows %s (TOWPATH_SQL_ROLES)", args.Role, strings.Join(w.roles, ", "))
	}
	return args.Role, nil
}

// connect returns what the transaction is begun on, and what gives it back.
func (w *sqlWorker) connect(lasting, ctx context.Context) (workers.Beginner, func(), error) {
	if w.url != "" {
		conn, err := pgx.Connect(lasting, w.url)
		if err != nil {
			return nil, nil, fmt.Errorf("reach the database of TOWPATH_SQL_DATABASE_URL: %w", err)
		}
		return conn, func() { _ = conn.Close(lasting) }, nil
	}
	database := workers.Database(ctx)
	pool, ok := database.(*pgxpool.Pool)
	if !ok { // a test's transaction
		return database, func() {}, nil
	}
	conn, err := pool.Acquire(lasting)
	if err != nil {
		return nil, nil, fmt.Errorf("connect for the statement: %w", err)
	}
	return conn, func() {
		_ = conn.Conn().Close(lasting)
		conn.Release() // the pool sees that it is closed
	}, nil
}

// run runs the statement and leaves the transaction with the login's own role and settings.
func (w *sqlWorker) run(ctx, lasting context.Context, tx pgx.Tx, role string, args jobs.SQLArgs) (*SQLOutput, error) {
	conn := tx.Conn().PgConn()
	stop := context.AfterFunc(ctx, func() { _ = conn.CancelRequest(lasting) })
	defer stop()
	setup := fmt.Sprintf(`SET LOCAL statement_timeout = %d; SET LOCAL ROLE %s`, args.Timeout().Milliseconds(), pgx.Identifier{role}.Sanitize())
	if args.ReadOnly {
		setup = `SET TRANSACTION READ ONLY; ` + setup
	}
	if _, err := conn.Exec(lasting, setup).ReadAll(); err != nil {
		return nil, fmt.Errorf("take on role %q: %w", role, err)
	}
	reader := conn.ExecParams(lasting, args.Statement, nil, nil, nil, nil)
	output, err := readResult(reader, args.KeepRows)
	if err != nil {
		return nil, err
	}
	stop() // what follows is ours
	if conn.TxStatus() != inTransaction {
		return nil, workers.Permanent(errors.New("the statement ended its transaction; leave BEGIN, COMMIT and ROLLBACK out, each job is a transaction of its own"))
	}
	if _, err := conn.Exec(lasting, `RESET ROLE; RESET ALL`).ReadAll(); err != nil {
		return nil, fmt.Errorf("leave role %q: %w", role, err)
	}
	return output, nil
}

// readResult keeps the first rows of a result and counts the rest.
func readResult(reader *pgconn.ResultReader, keepRows int) (*SQLOutput, error) {
	switch {
	case keepRows == 0:
		keepRows = jobs.SQLRowsDefault
	case keepRows < 0:
		keepRows = 0
	}
	output := &SQLOutput{}
	fields := reader.FieldDescriptions()
	for _, field := range fields {
		output.Columns = append(output.Columns, clean(field.Name))
	}
	size := 0
	for reader.NextRow() {
		if len(output.Rows) >= keepRows || size > sqlKeepBytes {
			output.Truncated = true
			continue
		}
		row := make([]json.RawMessage, len(fields))
		for i, value := range reader.Values() {
			row[i] = jsonOf(fields[i].DataTypeOID, value)
			size += len(row[i])
		}
		output.Rows = append(output.Rows, row)
	}
	tag, err := reader.Close()
	if err != nil {
		return nil, err //nolint:wrapcheck // explain words it
	}
	output.Command, output.Affected = tag.String(), tag.RowsAffected()
	return output, nil
}

// cellMax bounds one value of a result that is kept.
const cellMax = 16 << 10

// jsonOf turns a value in Postgres' text form into JSON: numbers and booleans as such, JSON as it is, else a string.
func jsonOf(oid uint32, value []byte) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	switch oid {
	case pgtype.BoolOID:
		if string(value) == "t" {
			return json.RawMessage("true")
		}
		return json.RawMessage("false")
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID, pgtype.JSONOID, pgtype.JSONBOID:
		if len(value) <= cellMax && json.Valid(value) { // not NaN or Infinity
			return slices.Clone(value)
		}
	}
	text := string(value)
	if len(text) > cellMax {
		text = strings.ToValidUTF8(text[:cellMax], "") + "…"
	}
	encoded, _ := json.Marshal(clean(text)) // of a string
	return encoded
}

// explain words the end of a statement that failed, and tells what no retry mends.
func explain(ctx context.Context, args jobs.SQLArgs, err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	const (
		cancelled = "57014"
		syntax    = "42" // or a name or a right that is missing
		feature   = "0A"
		state     = "25" // of the transaction: it may not write, or not do this inside of one
	)
	if pgErr.Code == cancelled {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the statement ran into its time limit of %s; set timeout_seconds: %w", args.Timeout(), err)
	}
	switch pgErr.Code[:min(len(pgErr.Code), 2)] {
	case syntax, feature, state:
		return workers.Permanent(err)
	}
	return err
}
