package pgdev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// newClusterPrefix names a cluster in the making. It becomes `data` when it
	// is whole, so that an interrupted initdb is never taken for a cluster.
	newClusterPrefix = "data.new-"

	// maxLog is the size from which the server's log is put aside at a start.
	maxLog = 16 << 20

	// launchTries bounds how often a start that another process got in the way
	// of (a port taken, an old server's last backend) is repeated.
	launchTries = 20
)

// createCluster runs initdb unless the directory has a cluster.
func (s *Server) createCluster(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(s.dataDir(), "PG_VERSION")); err == nil {
		return nil
	}
	fmt.Fprintf(s.opts.Progress, "Creating a private Postgres %s in %s\n", s.Version, s.Dir)
	fresh, err := os.MkdirTemp(s.Dir, newClusterPrefix)
	if err != nil {
		return fmt.Errorf("create a cluster in %s: %w", s.Dir, err)
	}
	defer os.RemoveAll(fresh)
	if err := s.account.own(fresh); err != nil {
		return err
	}
	// The socket trusts whoever reaches it, which its directory limits to one
	// user; 127.0.0.1, which every user of the machine reaches, asks for a
	// password. The C locale sorts alike everywhere.
	args := []string{
		"--pgdata=" + fresh, "--username=" + superuser, "--encoding=UTF8", "--no-locale",
		"--auth-local=trust", "--auth-host=scram-sha-256",
	}
	if s.opts.Fast {
		args = append(args, "--no-sync")
	}
	out := &strings.Builder{}
	cmd := exec.CommandContext(ctx, filepath.Join(s.BinDir, "initdb"), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", cleanEnv(), out, out
	cmd.SysProcAttr = s.account.attr()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	if err := s.guard.send("group", cmd.Process.Pid); err != nil {
		return err
	}
	waitErr := cmd.Wait()
	if err := s.guard.send("group", 0); err != nil {
		return err
	}
	if waitErr != nil {
		return fmt.Errorf("create a cluster in %s: initdb: %w\n%s", s.Dir, errors.Join(waitErr, ctx.Err()), indent(out.String()))
	}
	if err := os.Rename(fresh, s.dataDir()); err != nil {
		return fmt.Errorf("create a cluster in %s: %w", s.Dir, err)
	}
	return nil
}

// settings are the server's parameters, ours over the caller's over the
// defaults of the mode.
func (s *Server) settings() map[string]string {
	all := map[string]string{
		"max_connections": "200", "timezone": "UTC", "log_timezone": "UTC", "log_line_prefix": "%m [%p] %d ",
		"tcp_keepalives_idle": "60", "tcp_keepalives_interval": "10",
	}
	if s.opts.Fast {
		maps.Copy(all, map[string]string{
			"fsync": "off", "full_page_writes": "off",
			"wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB", "checkpoint_timeout": "1h",
		})
	}
	maps.Copy(all, s.opts.Settings)
	maps.Copy(all, map[string]string{
		"listen_addresses": "127.0.0.1", "port": strconv.Itoa(s.Port), "logging_collector": "off",
		// Quoted, because the parameter is a list.
		"unix_socket_directories": `"` + s.SocketDir + `"`, "unix_socket_permissions": "0700",
	})
	return all
}

// launch starts the server and returns when the role and the database are
// there to be used.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for try := 1; ; try++ {
		err := s.launchOnce(ctx)
		var passing *passingError
		if err == nil || !errors.As(err, &passing) || try == launchTries {
			return err
		}
		if passing.port {
			s.Port = 0
			continue
		}
		select {
		case <-time.After(250 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *Server) launchOnce(ctx context.Context) error {
	if s.Port == 0 || !portFree(s.Port) {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.Port = port
	}
	logFile, begin, err := openLog(filepath.Join(s.Dir, "postgres.log"))
	if err != nil {
		return err
	}
	defer logFile.Close()

	args := []string{"-D", s.dataDir()}
	settings := s.settings()
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	// The context is the start's, the server outlives it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(s.BinDir, "postgres"), args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", cleanEnv(), logFile, logFile
	cmd.SysProcAttr = s.account.attr()
	if err := s.guard.send("server", postmasterPID(s.dataDir())); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	s.PID = cmd.Process.Pid
	exited := make(chan struct{})
	s.exited = exited
	go func() {
		// The state says nothing that the log does not say better.
		_ = cmd.Wait()
		close(exited)
	}()
	if err := s.awaitReady(ctx); err != nil {
		s.shutdown(ctx)
		return explain(fmt.Errorf("start Postgres %s in %s: %w", s.Version, s.Dir, err), readLog(logFile.Name(), begin))
	}
	return nil
}

var errEnded = errors.New("the server ended")

// awaitReady polls until the server takes connections and has our role and
// database. The socket appears before the server is ready, and crash recovery
// refuses connections, so every error but the server's end means: again.
func (s *Server) awaitReady(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.SuperSocketURL())
		if err == nil {
			return errors.Join(s.bootstrap(ctx, conn), conn.Close(ctx))
		}
		select {
		case <-tick.C:
		case <-s.exited:
			return errEnded
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", ctx.Err(), err)
		}
	}
}

// bootstrap creates the plain owner and its database. Each step looks first,
// so a start that was interrupted half way is completed by the next.
func (s *Server) bootstrap(ctx context.Context, conn *pgx.Conn) error {
	var hasRole, hasDatabase bool
	err := conn.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1),
		       EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)`, role).Scan(&hasRole, &hasDatabase)
	if err != nil {
		return fmt.Errorf("look for the role %q: %w", role, err)
	}
	statements := []string{}
	if !hasRole {
		statements = append(statements, `CREATE ROLE `+role)
	}
	// Its rights are set each time: an older build may have made it with fewer. Passwords are letters and digits of our
	// own making. The schema of the role's name is Towpath's, where tables of an application have no business.
	statements = append(statements,
		`ALTER ROLE `+role+` LOGIN CREATEDB CREATEROLE`,
		`ALTER ROLE `+role+` SET search_path = public`,
		`ALTER ROLE `+role+` PASSWORD '`+s.Password+`'`,
		`ALTER ROLE `+superuser+` PASSWORD '`+s.SuperPassword+`'`)
	if !hasDatabase {
		statements = append(statements, `CREATE DATABASE `+role+` OWNER `+role)
	}
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("set up the role and database %q: %w", role, err)
		}
	}
	return nil
}

// passingError marks a start that may succeed when it is tried again.
type passingError struct {
	error

	port bool // somebody else took the port
}

func (e *passingError) Unwrap() error { return e.error }

// explain adds the end of the server's log to an error and tells a passing
// cause from others.
func explain(err error, log string) error {
	if strings.TrimSpace(log) != "" {
		lines := strings.Split(strings.TrimSpace(log), "\n")
		err = fmt.Errorf("%w; its log ends:\n%s", err, indent(strings.Join(lines[max(0, len(lines)-10):], "\n")))
	}
	switch {
	case strings.Contains(log, "could not bind IPv4 address"), strings.Contains(log, "could not create any TCP/IP sockets"):
		return &passingError{error: err, port: true}
	case strings.Contains(log, "pre-existing shared memory block"):
		// The last backends of a server that was killed notice within moments.
		return &passingError{error: err}
	}
	return err
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
}

// openLog opens the server's log for appending and returns where it ends now.
func openLog(path string) (*os.File, int64, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, 0, fmt.Errorf("put the server's log aside: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the server's log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("open the server's log: %w", err)
	}
	return file, info.Size(), nil
}

// readLog returns what the server has written since begin, or nothing: it only
// ever illustrates another error.
func readLog(path string, begin int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	if _, err := file.Seek(begin, io.SeekStart); err != nil {
		return ""
	}
	raw, err := io.ReadAll(io.LimitReader(file, 1<<20))
	if err != nil {
		slog.Debug("server log unreadable", slog.String("path", path), slog.Any("error", err))
	}
	return string(raw)
}

// freePort returns a port of 127.0.0.1 that was free a moment ago.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer listener.Close()
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: unexpected address %s", listener.Addr())
	}
	return address.Port, nil
}

func portFree(port int) bool {
	listener, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port)) //nolint:noctx // closed at once
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

func newPassword() string { return rand.Text() }
