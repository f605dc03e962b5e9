package pgdev_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
)

func TestStartGivesAPlainOwner(t *testing.T) {
	t.Parallel()
	server := start(t, pgdev.Options{Ephemeral: true, Settings: map[string]string{"max_connections": "37", "port": "1"}})

	require.GreaterOrEqual(t, server.Major, pgdev.MinMajor)
	for _, address := range []string{server.URL(), server.SocketURL()} {
		require.Equal(t, "towpath/towpath", query[string](t, address, `SELECT current_user || '/' || current_database()`))
	}
	require.Equal(t, "login createdb createrole", query[string](t, server.URL(), `
		SELECT concat_ws(' ', CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolcreatedb THEN 'createdb' END,
			CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolsuper THEN 'superuser' END,
			CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolbypassrls THEN 'bypassrls' END)
		FROM pg_roles WHERE rolname = current_user`))
	require.Equal(t, "towpath", query[string](t, server.URL(),
		`SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'towpath'`))
	require.Equal(t, "public", query[string](t, server.URL(), `SHOW search_path`), "an application's tables do not land in Towpath's schema")
	for _, address := range []string{server.SuperURL(), server.SuperSocketURL()} {
		require.True(t, query[bool](t, address, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`))
	}
	require.Equal(t, "37", query[string](t, server.URL(), `SHOW max_connections`))
	require.Equal(t, "127.0.0.1", query[string](t, server.URL(), `SHOW listen_addresses`))

	wrong, err := url.Parse(server.URL())
	require.NoError(t, err)
	wrong.User = url.UserPassword("towpath", "wrong")
	_, err = pgx.Connect(t.Context(), wrong.String())
	require.ErrorContains(t, err, "28P01", "127.0.0.1 asks for the password")

	for path, mode := range map[string]os.FileMode{"state.json": 0o600, "postgres.log": 0o600, "data": 0o700, "socket": 0o700} {
		info, err := os.Stat(filepath.Join(server.Dir, path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), "%s is closed to others", path)
	}
	info, err := os.Stat(filepath.Join(server.Dir, "data", "postmaster.pid"))
	require.NoError(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	if os.Geteuid() == 0 {
		require.NotZero(t, stat.Uid, "the server runs as an unprivileged user")
	} else {
		require.EqualValues(t, os.Geteuid(), stat.Uid)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	server := start(t, pgdev.Options{Ephemeral: true})
	watchdog := server.WatchdogPID()
	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Stop(t.Context()), "a second call is harmless")
	<-server.Done()
	require.False(t, running(server.PID))
	require.False(t, running(watchdog))
	require.NoDirExists(t, server.Dir)
}

// A context that is over makes the shutdown harsher. It never leaves a server.
func TestStopWithoutTimeStops(t *testing.T) {
	t.Parallel()
	server := start(t, pgdev.Options{Ephemeral: true})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, server.Stop(ended))
	require.False(t, running(server.PID))
}

func TestRootIsToldOfUnreachableDirectories(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root runs the server as somebody else")
	}
	closed := filepath.Join(t.TempDir(), "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	_, err := pgdev.Start(t.Context(), pgdev.Options{Dir: filepath.Join(closed, "pg")})
	require.ErrorContains(t, err, filepath.Join(closed, "pg"))
	require.ErrorContains(t, err, "choose another directory")
}

// Root stands for the administrator of a container; this is everybody else.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the other tests run as an ordinary user already")
	}
	home := newDir(t)
	require.NoError(t, os.Mkdir(home, 0o755))
	binary := filepath.Join(home, "helper")
	raw, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(binary, raw, 0o755))
	require.NoError(t, os.Chown(home, 65534, 65534))

	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), helperEnv + `={"Then":"signal"}`}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	h := awaitHelper(t, cmd)
	require.True(t, strings.HasPrefix(h.Dir, home), "it lives in the user's cache directory: %s", h.Dir)
	h.signal(t, syscall.SIGINT)
	require.Equal(t, "stopped in good order", h.end(t))
	require.False(t, running(h.PID))
}

func TestDataAndAddressPersist(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := start(t, pgdev.Options{Dir: dir})
	execute(t, first.URL(), `CREATE TABLE kept AS SELECT 7 AS n`)
	require.NoError(t, first.Stop(t.Context()))

	second := start(t, pgdev.Options{Dir: dir})
	require.Equal(t, first.URL(), second.URL())
	require.Equal(t, 7, query[int](t, first.URL(), `SELECT n FROM kept`))
}

func TestPortTakenMeanwhile(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	first := start(t, pgdev.Options{Dir: dir})
	require.NoError(t, first.Stop(t.Context()))
	listener := listen(t, fmt.Sprintf("127.0.0.1:%d", first.Port))
	defer listener.Close()

	second := start(t, pgdev.Options{Dir: dir})
	require.NotEqual(t, first.Port, second.Port)
	require.Equal(t, 1, query[int](t, second.URL(), `SELECT 1`))
}

func TestDirectoryBelongsToOneInstance(t *testing.T) {
	t.Parallel()
	server := start(t, pgdev.Options{Dir: newDir(t)})
	_, err := pgdev.Start(t.Context(), pgdev.Options{Dir: server.Dir})
	require.ErrorIs(t, err, pgdev.ErrInUse)
	require.ErrorContains(t, err, server.Dir)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
	require.ErrorIs(t, pgdev.Remove(t.Context(), server.Dir), pgdev.ErrInUse)
	require.Equal(t, 1, query[int](t, server.URL(), `SELECT 1`), "the first goes on")
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	_, err := pgdev.Find(dir)
	require.ErrorIs(t, err, pgdev.ErrNotRunning)
	require.ErrorContains(t, err, "towpath dev", "it says how to start one")

	server := start(t, pgdev.Options{Dir: dir})
	found, err := pgdev.Find(dir)
	require.NoError(t, err)
	require.Equal(t, server.Info, *found)

	require.NoError(t, server.Stop(t.Context()))
	_, err = pgdev.Find(dir)
	require.ErrorIs(t, err, pgdev.ErrNotRunning)
}

func TestForeignDirectoryIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	require.NoError(t, os.Mkdir(dir, 0o755))
	file := filepath.Join(dir, "thesis.txt")
	require.NoError(t, os.WriteFile(file, []byte("years of work"), 0o600))
	_, err := pgdev.Start(t.Context(), pgdev.Options{Dir: dir, Ephemeral: true})
	require.ErrorContains(t, err, "thesis.txt")
	require.Error(t, pgdev.Remove(t.Context(), dir))
	require.FileExists(t, file)
}

// A socket's path has some hundred bytes at most.
func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newDir(t), strings.Repeat("long/", 30))
	server := start(t, pgdev.Options{Dir: dir})
	require.Equal(t, 1, query[int](t, server.SocketURL(), `SELECT 1`))
	require.NoError(t, server.Stop(t.Context()))
	require.NoDirExists(t, server.SocketDir)
}

func TestOtherMajorVersion(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600))
	_, err := pgdev.Start(t.Context(), pgdev.Options{Dir: dir})
	require.ErrorContains(t, err, filepath.Join(dir, "data")+" was made by Postgres 9")
	for _, remedy := range []string{"only 1", "install Postgres 9", "--data", "pg_dump", "delete " + dir} {
		require.ErrorContains(t, err, remedy)
	}
	require.FileExists(t, filepath.Join(dir, "data", "PG_VERSION"))
}

func TestServerThatCannotStartExplains(t *testing.T) {
	t.Parallel()
	_, err := pgdev.Start(t.Context(), pgdev.Options{
		Ephemeral: true, Fast: true, Settings: map[string]string{"shared_buffers": "lots"},
	})
	require.ErrorContains(t, err, `invalid value for parameter "shared_buffers"`, "the error holds the end of the log")
}

func TestPsql(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "psql")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	found, err := pgdev.Psql(dir)
	require.NoError(t, err)
	require.Equal(t, path, found, "the server's own is preferred")
}
