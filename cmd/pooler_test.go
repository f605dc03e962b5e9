package cmd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// pgbouncer starts PgBouncer in transaction mode before the database and returns the address of the same database behind
// it. It has fewer connections to the server than its clients make, so that transactions of one client meet many of them.
func pgbouncer(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test needs PgBouncer: apt-get install pgbouncer")
		}
		t.Skip("this test needs PgBouncer: apt-get install pgbouncer")
	}
	// Short, because the path of a socket must be.
	dir, err := os.MkdirTemp("", "bouncer") //nolint:usetesting // t.TempDir is too long for that
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777)) //nolint:gosec // PgBouncer runs as another user than root
	server := pool.Config().ConnConfig
	password := ""
	if server.Password != "" {
		password = "password='" + server.Password + "'"
	}
	ini := fmt.Sprintf(`[databases]
* = host='%s' port=%d user='%s' %s
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = %s
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
`, server.Host, server.Port, server.User, password, dir)
	file := filepath.Join(dir, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(file, []byte(ini), 0o644)) //nolint:gosec // it is read by another user
	args := []string{file}
	if os.Geteuid() == 0 {
		args = []string{"-u", unprivileged(t), file}
	}
	var said bytes.Buffer
	command := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)
	command.Stdout, command.Stderr = &said, &said
	require.NoError(t, command.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("pgbouncer said:\n%s", said.String())
		}
	})
	address := fmt.Sprintf("postgres:///%s?host=%s&port=6432&user=%s", server.Database, url.QueryEscape(dir), server.User)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), address+"&default_query_exec_mode=exec")
		return err == nil && conn.Close(t.Context()) == nil
	}, testLimit, 20*time.Millisecond, "pgbouncer answers")
	return address
}

// unprivileged returns a user for a program that does not run as root.
func unprivileged(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"postgres", "nobody"} {
		if _, err := user.Lookup(name); err == nil {
			return name
		}
	}
	t.Fatal("there is neither a user postgres nor a user nobody")
	return ""
}

// open returns a pool on an address.
func open(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// quickArgs is a job that does nothing, with a text that a pooler's modes could spoil.
type quickArgs struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

func (quickArgs) Kind() string { return "quick" }

// workThrough enqueues through a pool in every way that there is, works it all, and demands that each job is worked.
func workThrough(t *testing.T, direct, pool *pgxpool.Pool, client jobs.Config) {
	t.Helper()
	ctx := t.Context()
	const text = "Zoë's \"jobs\" \\ \U0001F600"
	runs := make(chan int, 100)
	bundle := workers.NewBundle()
	workers.Add(bundle, river.WorkFunc(func(ctx context.Context, job *river.Job[quickArgs]) error {
		if job.Args.Text != text {
			return workers.Permanent(fmt.Errorf("text %q", job.Args.Text))
		}
		if err := river.RecordOutput(ctx, job.Args.N); err != nil {
			return err
		}
		if job.Args.N == 1 && job.Attempt == 1 {
			return errors.New("tries again")
		}
		runs <- job.Args.N
		return nil
	}))
	client.RetryPolicy = soonAgain{}
	client.FetchPollInterval = 100 * time.Millisecond
	runner, err := workers.New(workers.Config{Pool: pool, Client: client}, bundle)
	require.NoError(t, err)
	require.NoError(t, runner.Start(ctx))
	stopped := false
	defer func() {
		if !stopped {
			_ = runner.Stop()
		}
	}()

	var ids []int64
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	one, err := runner.Client().InsertTx(ctx, tx, quickArgs{1, text}, &river.InsertOpts{Tags: []string{"red", "blue"}})
	require.NoError(t, err)
	unique := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
	many, err := runner.Client().InsertManyTx(ctx, tx, []river.InsertManyParams{
		{Args: quickArgs{2, text}, InsertOpts: unique}, {Args: quickArgs{3, text}},
	})
	require.NoError(t, err)
	again, err := runner.Client().InsertTx(ctx, tx, quickArgs{2, text}, unique)
	require.NoError(t, err)
	require.True(t, again.UniqueSkippedAsDuplicate)
	ids = append(ids, one.Job.ID, many[0].Job.ID, many[1].Job.ID)
	var id int64
	require.NoError(t, tx.QueryRow(ctx, `SELECT id FROM towpath.enqueue('quick', json_build_object('n', 4, 'text', $1::text))`, text).Scan(&id))
	ids = append(ids, id)
	rows, err := tx.Query(ctx, `SELECT id FROM towpath.enqueue_many(json_build_array(
		json_build_object('kind', 'quick', 'args', json_build_object('n', 5, 'text', $1::text)),
		json_build_object('kind', 'quick', 'args', json_build_object('n', 6, 'text', $1::text), 'tags', '{abc}'::text[])))`, text)
	require.NoError(t, err)
	more, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	require.NoError(t, err)
	ids = append(ids, more...)
	require.NoError(t, tx.Commit(ctx))

	awaited, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	seen := map[int]bool{}
	for n, id := range ids {
		result, err := runner.Client().Await(awaited, id)
		require.NoError(t, err)
		require.Equal(t, rivertype.JobStateCompleted, result.State)
		require.JSONEq(t, fmt.Sprint(n+1), string(result.Output))
		seen[<-runs] = true
	}
	require.Len(t, seen, 6)
	require.Empty(t, runs, "each job once")
	stopped = true
	require.NoError(t, runner.Stop())
	var started, completed int
	require.NoError(t, direct.QueryRow(ctx, `SELECT coalesce(sum(n) FILTER (WHERE event = 'started'), 0), coalesce(sum(n) FILTER (WHERE event = 'completed'), 0)
		FROM towpath.counters WHERE kind = 'quick'`).Scan(&started, &completed))
	require.Equal(t, []int{7, 6}, []int{started, completed}, "one of them tried twice")
}

type soonAgain struct{}

func (soonAgain) NextRetry(*rivertype.JobRow) time.Time { return time.Now().Add(10 * time.Millisecond) }

// command runs a program to its end and returns what it printed.
func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err)
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = append(os.Environ(), append([]string{"TOWPATH_LISTEN=127.0.0.1:0", "TOWPATH_LOG_FORMAT=json"}, env...)...)
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	require.NoError(t, c.Run(), "%s %v: %s", name, args, &stderr)
	return stdout.String()
}

// Clients, workers, SQL functions and commands work behind PgBouncer in transaction mode, in the two modes of pgx that
// prepare nothing in a session.
func TestBehindPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "cache_describe"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			direct := testdb.Pool(t)
			address := pgbouncer(t, direct) + "&default_query_exec_mode=" + mode
			workThrough(t, direct, open(t, address), jobs.Config{Config: river.Config{PollOnly: true}})

			env := []string{"TOWPATH_DATABASE_URL=" + address, "TOWPATH_DATABASE_NOTIFY=off"}
			require.Contains(t, command(t, env, "towpath", "migrate", "up"), "schema towpath: current")
			command(t, env, "shop", "migrate", "up")
			id := strings.TrimSpace(command(t, env, "shop", "nap", "1"))
			command(t, env, "shop", "worker", "--drain")
			require.Contains(t, command(t, env, "towpath", "jobs", "list", "--state", "completed", "--kind", "nap"), "completed")
			require.Contains(t, command(t, env, "towpath", "jobs", "show", id), "completed")
		})
	}
}

// deafProxy returns the address of a database behind a proxy that answers LISTEN with an error, as some poolers and some
// databases that speak the protocol do. refused counts how often.
func deafProxy(t *testing.T, pool *pgxpool.Pool, refused *atomic.Int64) string {
	t.Helper()
	server := pool.Config().ConnConfig
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			front, err := listener.Accept()
			if err != nil {
				return
			}
			kind, at := pgconn.NetworkAddress(server.Host, server.Port)
			back, err := (&net.Dialer{}).DialContext(context.WithoutCancel(t.Context()), kind, at)
			if err != nil {
				_ = front.Close()
				continue
			}
			go func() { _, _ = io.Copy(front, back); _ = front.Close() }()
			go func() { _ = forward(front, back, refused); _ = back.Close() }()
		}
	}()
	address := listener.Addr().(*net.TCPAddr) //nolint:forcetypeassert // as asked for
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", server.User, url.QueryEscape(server.Password), address.Port, server.Database)
}

// forward passes on what a client sends, but for LISTEN, which it answers itself: the server is silent meanwhile, since
// a client that begins a statement has had the answer to its last one.
func forward(front, back net.Conn, refused *atomic.Int64) error {
	read := func(header int) (head, body []byte, err error) {
		head = make([]byte, header+4)
		if _, err = io.ReadFull(front, head); err != nil {
			return nil, nil, err
		}
		body = make([]byte, binary.BigEndian.Uint32(head[header:])-4)
		_, err = io.ReadFull(front, body)
		return head, body, err
	}
	head, body, err := read(0) // the startup message has no type
	for ; err == nil; head, body, err = read(1) {
		if head[0] == 'Q' && bytes.HasPrefix(bytes.ToUpper(bytes.TrimSpace(body)), []byte("LISTEN")) {
			refused.Add(1)
			answer := &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: "0A000", Message: "LISTEN is not supported"}
			buf, err := answer.Encode(nil)
			if err == nil {
				buf, err = (&pgproto3.ReadyForQuery{TxStatus: 'I'}).Encode(buf)
			}
			if err == nil {
				_, err = front.Write(buf)
			}
			if err != nil {
				return err
			}
			continue
		}
		if _, err := back.Write(append(head, body...)); err != nil {
			return err
		}
	}
	return err
}

// Where nobody can listen, everything is as correct, and as prompt as the polls.
func TestWhereListenIsRefused(t *testing.T) {
	t.Parallel()
	direct := testdb.Pool(t)
	var refused atomic.Int64
	address := deafProxy(t, direct, &refused)
	workThrough(t, direct, open(t, address), jobs.Config{})
	require.NotZero(t, refused.Load(), "the client tried to listen")

	env := []string{"TOWPATH_DATABASE_URL=" + address}
	command(t, env, "shop", "migrate", "up")
	id := strings.TrimSpace(command(t, env, "shop", "nap", "1"))
	command(t, env, "shop", "worker", "--drain")
	require.Contains(t, command(t, env, "towpath", "jobs", "show", id), "completed")
}
