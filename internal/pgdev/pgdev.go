// Package pgdev runs a private Postgres for development, for the sample
// application and for tests, on a machine that may have nothing but Go.
//
// # Contract
//
// Start finds Postgres binaries of version 15 or newer, or fetches them once
// (see Locate), creates a database cluster in a directory when there is none,
// and starts it on a unix socket and on a free port of 127.0.0.1. The database
// `towpath` belongs to the role `towpath`, which may create databases and roles
// and is no superuser: what works here works as a plain owner elsewhere.
//
// A directory belongs to one instance at a time. A lock that the kernel
// releases guards it, so there is no stale lock, and whatever an earlier
// instance left (a running server, a stale postmaster.pid, half a cluster) is
// cleared away by the next Start.
//
// Nothing outlives the process that called Start, however that process ends: a
// watchdog in a session of its own sees our end of a pipe close and shuts the
// server down. The server has a session of its own as well, so Ctrl-C reaches
// us alone and Postgres stops when we tell it to.
//
// Started by root, Postgres runs as the user `postgres`, else as `nobody`,
// since it refuses to run as root; the directory must be one which that user
// can reach. Unix systems only.
//
// Layout of a directory: `lock` (the owner's pid), `state.json` (how to reach
// the instance, readable by its owner alone), `data` (the cluster),
// `socket`, `postgres.log`.
package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// MinMajor is the oldest major version of Postgres that Start accepts.
	MinMajor = 15

	// role names the plain owner role and its database.
	role = "towpath"

	// superuser is the cluster's first role.
	superuser = "postgres"

	// startTimeout bounds the server's own start, which includes crash recovery.
	startTimeout = 3 * time.Minute

	// fastTimeout and immediateTimeout are how long a shutdown may take before
	// the next harsher one: fast, then immediate, then SIGKILL.
	fastTimeout      = 20 * time.Second
	immediateTimeout = 5 * time.Second
)

// Options say where and how a private Postgres runs. The zero value is a
// durable instance in DefaultDir.
type Options struct {
	// Dir is the directory of the instance, created when it does not exist; ""
	// means DefaultDir, or a new temporary directory when Ephemeral is set.
	// Start refuses a directory with contents that are not its own.
	Dir string

	// Ephemeral deletes Dir when the server stops, and whatever it holds when
	// the server starts.
	Ephemeral bool

	// Fast gives up what protects against a crash of the machine, for speed: for
	// tests. A killed server still loses no commit.
	Fast bool

	// Settings are parameters as in postgresql.conf. They last for this start
	// only. Where the server listens is not theirs to say.
	Settings map[string]string

	// ArchiveURL is where Postgres is fetched from when no binaries are
	// installed: the root of a Maven repository, or the address of one archive
	// when it ends in ".jar". A file with the suffix ".sha256" must lie beside
	// the archive. "" means DefaultArchiveURL.
	ArchiveURL string

	// Until, a process id, makes the server outlive this process and end with
	// that one instead. Zero means that it ends with this process.
	Until int

	// Progress receives lines for people, and a bar while a download runs when
	// it is a terminal. Nil discards them.
	Progress io.Writer

	// Logger defaults to one that discards.
	Logger *slog.Logger

	// searched replaces the places that hold binaries, for tests.
	searched *places
}

// A Server is a running private Postgres that this process started. Its
// methods may be called from one goroutine at a time, Stop and Done from any.
type Server struct {
	Info

	opts    Options
	account *account
	install Installation
	lock    *dirLock
	guard   *watchdog
	log     *slog.Logger

	exited   chan struct{} // closed when the present postmaster has ended
	stopOnce sync.Once
	stopErr  error
}

// Start runs a private Postgres and returns when it accepts connections. The
// context bounds the start only; the server runs until Stop. Errors say which
// directory they are about: ErrInUse when another process has it, a version
// error when its cluster was made by another major version of Postgres.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Progress == nil {
		opts.Progress = io.Discard
	}
	if opts.searched == nil {
		opts.searched = defaultPlaces()
	}
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := prepareDir(opts, acct)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, account: acct, log: opts.Logger, exited: make(chan struct{})}
	close(s.exited)
	s.Dir = dir
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	return s, nil
}

// start takes the directory, then everything that happens in it.
func (s *Server) start(ctx context.Context) (err error) {
	owner := os.Getpid()
	if s.opts.Until != 0 {
		owner = s.opts.Until
	}
	if s.lock, err = acquire(ctx, s.Dir, owner); err != nil {
		return err
	}
	s.OwnerPID = owner
	if err := clearLeftovers(ctx, s.Dir, s.opts.Ephemeral); err != nil {
		return err
	}
	if s.install, err = locate(ctx, locateRequest{
		places: s.opts.searched, archiveURL: s.opts.ArchiveURL, account: s.account,
		dataDir: s.dataDir(), progress: s.opts.Progress, log: s.log,
	}); err != nil {
		return err
	}
	s.Version, s.Major, s.BinDir = s.install.Version, s.install.Major, s.install.BinDir
	if s.guard, err = startWatchdog(ctx, s.Dir, s.opts.Ephemeral, s.lock); err != nil {
		return err
	}
	if err := s.createCluster(ctx); err != nil {
		return err
	}
	if err := s.reuseState(); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return err
	}
	return s.handOver()
}

// handOver publishes the running server and, with Options.Until, gives its life
// into the watchdog's hands.
func (s *Server) handOver() error {
	if err := s.Info.write(); err != nil {
		return err
	}
	if s.opts.Until != 0 {
		if err := s.guard.send("until", s.opts.Until); err != nil {
			return err
		}
	}
	s.log.Info("postgres started", slog.String("dir", s.Dir), slog.String("version", s.Version),
		slog.Int("pid", s.PID), slog.Int("port", s.Port))
	return nil
}

// Done is closed when the server has ended, whether told to or not.
func (s *Server) Done() <-chan struct{} { return s.exited }

// Stop shuts the server down: open sessions are ended and transactions rolled
// back. It returns when nothing of the server runs any more, and with Ephemeral
// when its directory is gone. A context that ends early makes the shutdown
// harsher, it does not leave the server running. Further calls return the first
// one's result.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		s.shutdown(ctx)
		s.stopErr = s.abandon()
		s.log.Info("postgres stopped", slog.String("dir", s.Dir), slog.Int("pid", s.PID))
	})
	return s.stopErr
}

// Restart starts Postgres again in the same place, at the same addresses: after
// it was killed, or to shut it down in between. A server with Options.Until
// cannot be restarted: its watchdog takes the end of the server for the end.
func (s *Server) Restart(ctx context.Context) error {
	if s.opts.Until != 0 {
		return fmt.Errorf("restart the private Postgres in %s: it runs until process %d ends", s.Dir, s.opts.Until)
	}
	s.shutdown(ctx)
	if err := endOrphan(ctx, s.dataDir()); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return err
	}
	return s.Info.write()
}

// shutdown ends the postmaster, in the gentlest way that works.
func (s *Server) shutdown(ctx context.Context) {
	steps := []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGINT, fastTimeout}, {syscall.SIGQUIT, immediateTimeout}, {syscall.SIGKILL, time.Minute}}
	for i, step := range steps {
		select {
		case <-s.exited:
			return
		default:
		}
		if s.PID <= 1 {
			return
		}
		// The process is our child and not reaped yet, so its id is still its own.
		_ = syscall.Kill(s.PID, step.signal)
		timer := time.NewTimer(step.wait)
		cut := ctx.Done()
		if i > 0 {
			cut = nil
		}
		select {
		case <-s.exited:
		case <-timer.C:
		case <-cut:
		}
		timer.Stop()
	}
}

// abandon lets go of the directory: what Start has taken so far, in reverse.
func (s *Server) abandon() error {
	s.shutdown(context.Background())
	if s.guard != nil {
		s.guard.dismiss()
	}
	if s.lock == nil {
		return nil
	}
	if s.SocketDir != "" && filepath.Dir(s.SocketDir) != s.Dir {
		_ = os.RemoveAll(s.SocketDir)
	}
	var err error
	if s.opts.Ephemeral {
		err = removeDir(s.Dir)
	}
	s.lock.release()
	return err
}

func (s *Server) dataDir() string { return filepath.Join(s.Dir, "data") }

// Psql returns the path of psql: the one beside the server's binaries if it is
// there (fetched archives have none), else the newest that is installed. An
// empty binDir asks for the newest installed one.
func Psql(binDir string) (string, error) {
	candidates := []string{}
	if binDir != "" {
		candidates = append(candidates, filepath.Join(binDir, "psql"))
	}
	if path, err := exec.LookPath("psql"); err == nil {
		candidates = append(candidates, path)
	}
	for _, dir := range defaultPlaces().dirs(context.Background()) {
		candidates = append(candidates, filepath.Join(dir, "psql"))
	}
	for _, path := range candidates {
		if isExecutable(path) {
			return path, nil
		}
	}
	return "", errors.New("find psql: not on PATH nor beside a Postgres server; install the Postgres client, " +
		"or give the address that `towpath pg url` prints to a client you have")
}
