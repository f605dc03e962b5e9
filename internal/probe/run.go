package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/towpath/towpath/internal/store"
)

const (
	// runSlack is what a run may take beside its statement: to connect, and to be cancelled.
	runSlack = 15 * time.Second
	// cancelPatience is how long a server may take to stop a statement before its connection is closed.
	cancelPatience = 5 * time.Second
	// maxBytes bounds what is read of a result.
	maxBytes = 4 << 20
	// inTransaction is the protocol's letter for a connection that is inside of a transaction.
	inTransaction = 'T'
)

// Run runs a probe once, and says how that ended.
func (r *Runner) Run(ctx context.Context, d *Definition) store.ProbeEnd {
	begun := time.Now()
	end := r.run(ctx, d)
	end.Took = time.Since(begun)
	return end
}

func (r *Runner) run(ctx context.Context, d *Definition) store.ProbeEnd {
	role, err := r.role(d)
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout()+runSlack)
	defer cancel()
	conn, err := r.connect(ctx)
	if err != nil {
		return failed(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	s := &session{conn: conn.PgConn(), role: role}
	if err := s.begin(ctx, d.timeout()); err != nil {
		return failed(err)
	}
	end, err := s.ask(ctx, d)
	if err != nil {
		return failed(s.explain(d, err))
	}
	return end
}

// role decides under which role a probe runs; "" for the login itself.
func (r *Runner) role(d *Definition) (string, error) {
	allowed := r.config.Roles
	switch {
	case d.Role == "" && len(allowed) > 0:
		return allowed[0], nil
	case d.Role != "" && !slices.Contains(allowed, d.Role):
		if len(allowed) == 0 {
			return "", fmt.Errorf("role %q is not allowed; this leader allows none (TOWPATH_PROBES_ROLES)", d.Role)
		}
		return "", fmt.Errorf("role %q is not allowed; this leader allows %s (TOWPATH_PROBES_ROLES)", d.Role, strings.Join(allowed, ", "))
	}
	return d.Role, nil
}

func (r *Runner) connect(ctx context.Context) (*pgx.Conn, error) {
	config := r.config.Pool.Config().ConnConfig.Copy()
	place := "the database"
	if r.config.URL != "" {
		var err error
		place = "the database of TOWPATH_PROBES_DATABASE_URL"
		if config, err = pgx.ParseConfig(r.config.URL); err != nil {
			return nil, fmt.Errorf("read TOWPATH_PROBES_DATABASE_URL: %w", err)
		}
	}
	// The end of the context asks the server to stop.
	config.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: cancelPatience}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", place, err)
	}
	return conn, nil
}

// session is the connection of one run.
type session struct {
	conn *pgconn.PgConn
	role string
}

// begin begins a transaction that only reads and takes on the role. A statement can step out of a role that was set, but
// not out of a function that belongs to the role: there Postgres refuses to set another. The function is temporary, so it
// needs no place and goes with the transaction, which is never committed.
func (s *session) begin(ctx context.Context, timeout time.Duration) error {
	setup := "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; "
	if s.role == "" {
		setup = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
	} else {
		role := pgx.Identifier{s.role}.Sanitize()
		setup += `CREATE FUNCTION pg_temp.towpath_probe(query text) RETURNS SETOF pg_catalog.json LANGUAGE plpgsql SECURITY DEFINER
			AS 'BEGIN RETURN QUERY EXECUTE query; END'; ALTER FUNCTION pg_temp.towpath_probe(text) OWNER TO ` + role + `; SET LOCAL ROLE ` + role + `; `
	}
	setup += fmt.Sprintf(`SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = %d`, max(timeout.Milliseconds(), 1))
	_, err := s.conn.Exec(ctx, setup).ReadAll()
	if err == nil {
		return nil
	}
	if s.role == "" {
		return fmt.Errorf("begin the probe's transaction: %w", err)
	}
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && pgErr.Code == "25006":
		return fmt.Errorf("probes cannot take on a role on a replica; set TOWPATH_PROBES_ROLES=none and a login in TOWPATH_PROBES_DATABASE_URL that may read and no more (%s)", pgErr.Message)
	case ok && pgErr.Code == "42704":
		return fmt.Errorf("the role %s, under which probes run, does not exist; as an administrator: CREATE ROLE %s; GRANT %s TO the login of the leader, or name another one in TOWPATH_PROBES_ROLES", s.role, s.role, s.role)
	case ok && pgErr.Code == "42501" && strings.Contains(pgErr.Message, "temporary"):
		return fmt.Errorf("%s; probes need a temporary function: GRANT TEMPORARY ON DATABASE to the login of the leader and to %s", pgErr.Message, s.role)
	case ok && pgErr.Code == "42501":
		return fmt.Errorf("the login of the leader may not take on the role %s; as an administrator: GRANT %s TO it, and GRANT TEMPORARY ON DATABASE to %s if that was taken away (%s)", s.role, s.role, s.role, pgErr.Message)
	}
	return fmt.Errorf("take on role %q: %w", s.role, err)
}

// ask runs what the probe asks for.
func (s *session) ask(ctx context.Context, d *Definition) (store.ProbeEnd, error) {
	columns, err := s.describe(ctx, d, d.Query)
	if err != nil {
		return store.ProbeEnd{}, err
	}
	if d.CompareWith != "" {
		return s.compare(ctx, d, columns)
	}
	// What is wrong with the columns is wrong with any rows.
	if _, _, err := split(columns, d.KeyColumns); err != nil {
		return store.ProbeEnd{}, err
	}
	rows, err := s.rows(ctx, fmt.Sprintf("SELECT pg_catalog.to_json(q) FROM (\n%s\n) AS q LIMIT %d", d.Query, maxRows+1))
	if err != nil {
		return store.ProbeEnd{}, err
	}
	values, err := seriesOf(columns, d.KeyColumns, rows)
	if err != nil {
		return store.ProbeEnd{}, err
	}
	if len(values) == 0 && !d.EmptyIsFine {
		detail := "the query returned nothing"
		if len(rows) > 0 {
			detail = "the query returned nothing but NULL"
		}
		return store.ProbeEnd{Outcome: Empty, Detail: detail}, nil
	}
	end := judge(d, values)
	end.Found = &store.ProbeFound{Values: values}
	return end, nil
}

func (s *session) compare(ctx context.Context, d *Definition, columns []column) (store.ProbeEnd, error) {
	others, err := s.describe(ctx, d, d.CompareWith)
	if err != nil {
		return store.ProbeEnd{}, fmt.Errorf("the query compared with: %w", err)
	}
	if err := sameColumns(columns, others); err != nil {
		return store.ProbeEnd{}, err
	}
	statement, err := comparison(d, columns)
	if err != nil {
		return store.ProbeEnd{}, err
	}
	rows, err := s.rows(ctx, statement)
	if err != nil {
		return store.ProbeEnd{}, err
	}
	result, err := readComparison(rows[0]) // of an aggregate, which has one row
	if err != nil {
		return store.ProbeEnd{}, err
	}
	return result.end(d), nil
}

// describe asks what a query returns. It shows that the text is one statement.
func (s *session) describe(ctx context.Context, d *Definition, query string) ([]column, error) {
	described, err := s.conn.Prepare(ctx, "", query, nil)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.Position > 0 {
		line, char := Place(query, int(pgErr.Position))
		return nil, fmt.Errorf("%s (line %d, character %d)", pgErr.Message, line, char)
	}
	if err != nil {
		return nil, s.explain(d, err)
	}
	return columnsOf(described.Fields)
}

// rows returns the rows of a statement with one column.
func (s *session) rows(ctx context.Context, statement string) ([][]byte, error) {
	var reader *pgconn.ResultReader
	if s.role == "" {
		reader = s.conn.ExecParams(ctx, statement, nil, nil, nil, nil)
	} else {
		reader = s.conn.ExecParams(ctx, "SELECT * FROM pg_temp.towpath_probe($1)", [][]byte{[]byte(statement)}, nil, nil, nil)
	}
	var rows [][]byte
	size := 0
	for reader.NextRow() {
		value := reader.Values()[0]
		if size += len(value); size > maxBytes {
			continue // to its end, which the row limit brings
		}
		rows = append(rows, slices.Clone(value))
	}
	if _, err := reader.Close(); err != nil {
		return nil, err
	}
	if size > maxBytes {
		return nil, fmt.Errorf("the query returned %d bytes, more than %d; select less", size, maxBytes)
	}
	if s.conn.TxStatus() != inTransaction {
		return nil, errors.New("the query ended its transaction")
	}
	return rows, nil
}

// explain says what an error of the database means for a probe.
func (s *session) explain(d *Definition, err error) error {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return err
	case pgErr.Code == "57014":
		return fmt.Errorf("the query took longer than its timeout, %s", d.timeout())
	case pgErr.Code == "42501" && s.role != "":
		return fmt.Errorf("%s; grant the role %s what the query needs", pgErr.Message, s.role)
	}
	return errors.New(pgErr.Message)
}

// Place turns a position in a query, from 1, into its line and the character there.
func Place(query string, position int) (line, char int) {
	before := []rune(query)
	before = before[:min(max(position-1, 0), len(before))]
	text := string(before)
	return strings.Count(text, "\n") + 1, len([]rune(text[strings.LastIndex(text, "\n")+1:])) + 1
}
