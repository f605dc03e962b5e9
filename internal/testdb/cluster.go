package testdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/migrations"
)

const (
	namePrefix = "towpath_test_"

	// templateLock is the advisory lock under which a template is built.
	templateLock = 0x746f7770_61746801
)

// cluster is a server as this process uses it.
type cluster struct {
	admin    *pgxpool.Pool // creates and drops; superuser on a private server
	adminURL string
	ownerURL string // the plain role that tests connect as
	owner    string
	private  bool // the server is ours and has fsync off

	templateOnce func() (string, error)
}

// template returns the name of the migrated database that clones are made from,
// built at most once a server.
func (c *cluster) template() (string, error) { return c.templateOnce() }

// connect finds or starts the run's server, once a process.
var connect = sync.OnceValues(func() (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*limit)
	defer cancel()
	c := &cluster{}
	if given := os.Getenv("TOWPATH_DATABASE_URL"); given != "" {
		c.adminURL, c.ownerURL = given, given
	} else {
		info, err := privateServer(ctx)
		if err != nil {
			return nil, err
		}
		c.adminURL, c.ownerURL, c.private = info.SuperSocketURL(), info.SocketURL(), true
	}
	config, err := pgxpool.ParseConfig(c.adminURL)
	if err != nil {
		return nil, fmt.Errorf("parse the test server's address: %w", err)
	}
	config.MaxConns = 4
	if c.admin, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, fmt.Errorf("open the test server: %w", err)
	}
	ownerConfig, err := pgx.ParseConfig(c.ownerURL)
	if err != nil {
		return nil, fmt.Errorf("parse the test server's address: %w", err)
	}
	c.owner = ownerConfig.User
	c.templateOnce = sync.OnceValues(c.buildTemplate)
	if c.private {
		return c, c.admin.Ping(ctx)
	}
	return c, c.sweep(ctx)
})

// createDatabase makes a database as the role that tests use owns it.
func (c *cluster) createDatabase(ctx context.Context, name, template string) error {
	statement := "CREATE DATABASE " + quote(name) + " OWNER " + quote(c.owner) + " TEMPLATE " + quote(template)
	if c.private {
		// It takes a checkpoint, which costs little without fsync, and half the
		// time of the default.
		statement += " STRATEGY file_copy"
	}
	if _, err := c.admin.Exec(ctx, statement); err != nil {
		return fmt.Errorf("create the test database %q: %w", name, err)
	}
	return nil
}

// dropDatabase drops a database and ends whatever sessions it has left.
func (c *cluster) dropDatabase(ctx context.Context, name string) error {
	if _, err := c.admin.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop the test database %q: %w", name, err)
	}
	return nil
}

// buildTemplate returns the template's name after building it if need be. The
// name says what is in it, and a database bears the name only when it is whole:
// it is migrated under another one. The lock makes all but one of the test
// binaries that start together wait for the first.
func (c *cluster) buildTemplate() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*limit)
	defer cancel()
	fingerprint, err := migrationsFingerprint()
	if err != nil {
		return "", err
	}
	name := namePrefix + "template_" + fingerprint
	conn, err := c.admin.Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("open the test server: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_lock($1)`, int64(templateLock)); err != nil {
		return "", fmt.Errorf("wait for the template's lock: %w", err)
	}
	defer func() { _, _ = conn.Exec(ctx, `SELECT pg_catalog.pg_advisory_unlock($1)`, int64(templateLock)) }()

	var exists bool
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)`, name).Scan(&exists)
	if err != nil {
		return "", fmt.Errorf("look for the template %q: %w", name, err)
	}
	if exists {
		return name, nil
	}
	return name, c.migrateInto(ctx, name)
}

func (c *cluster) migrateInto(ctx context.Context, name string) error {
	draft := databaseName()
	if err := c.createDatabase(ctx, draft, "template1"); err != nil {
		return err
	}
	pool, err := newPool(ctx, withDatabase(c.ownerURL, draft))
	if err != nil {
		return err
	}
	err = migrate.Up(ctx, pool)
	pool.Close()
	if err == nil {
		_, err = c.admin.Exec(ctx, "ALTER DATABASE "+quote(draft)+" RENAME TO "+quote(name))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("migrate the template %q: %w", name, err), c.dropDatabase(ctx, draft))
	}
	return nil
}

// migrationsFingerprint tells one state of the migrations from another: our
// files, and the version of River, which brings its own.
func migrationsFingerprint() (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(migrations.FS(), "migration", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := fs.ReadFile(migrations.FS(), path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(raw), raw)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the migrations: %w", err)
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			if strings.HasPrefix(module.Path, "github.com/riverqueue/river") {
				fmt.Fprintln(sum, module.Path, module.Version)
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// databaseName returns a name that no other test process uses, and that tells
// a later run on this machine which process made it.
func databaseName() string {
	return machinePrefix() + strconv.Itoa(os.Getpid()) + "_" + strconv.FormatInt(serial.Add(1), 10)
}

func machinePrefix() string {
	// Without a host name, all such machines share the prefix of the empty one.
	host, _ := os.Hostname()
	sum := sha256.Sum256([]byte(host))
	return namePrefix + hex.EncodeToString(sum[:3]) + "_"
}

// sweep drops, on a server that outlives us, the databases of test processes of
// this machine that are gone.
func (c *cluster) sweep(ctx context.Context) error {
	rows, err := c.admin.Query(ctx, `SELECT datname FROM pg_catalog.pg_database WHERE pg_catalog.starts_with(datname, $1)`, machinePrefix())
	if err != nil {
		return fmt.Errorf("look for databases of earlier tests: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for databases of earlier tests: %w", err)
	}
	for _, name := range names {
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, machinePrefix()), "_")
		number, err := strconv.Atoi(pid)
		if err != nil || number <= 0 || !errors.Is(syscall.Kill(number, 0), syscall.ESRCH) {
			continue
		}
		var denied *pgconn.PgError
		if err := c.dropDatabase(ctx, name); err != nil && !errors.As(err, &denied) {
			return err
		}
	}
	return nil
}

// privateServer finds or starts the server that the test binaries of one
// `go test` share.
func privateServer(ctx context.Context) (*pgdev.Info, error) {
	base, err := baseDir()
	if err != nil {
		return nil, err
	}
	// One at a time, so that the others find what the first has started.
	lock, err := os.OpenFile(filepath.Join(base, "start.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the test servers' directory: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock the test servers' directory: %w", err)
	}
	run := runPID()
	dir := filepath.Join(base, strconv.Itoa(run))
	info, err := pgdev.Find(dir)
	if err == nil || !errors.Is(err, pgdev.ErrNotRunning) {
		return info, err
	}
	if err := removeOld(ctx, base); err != nil {
		return nil, err
	}
	started, err := pgdev.Start(ctx, pgdev.Options{
		Dir: dir, Ephemeral: true, Fast: true, Until: run,
		ArchiveURL: os.Getenv("TOWPATH_POSTGRES_ARCHIVE_URL"), Progress: os.Stderr,
		Settings: map[string]string{"max_connections": "400", "max_locks_per_transaction": "256", "max_prepared_transactions": "20"},
	})
	if err != nil {
		return nil, err
	}
	return &started.Info, nil
}

// runPID is the process whose end is the end of the run: the `go` command that
// runs us among others, or this process when something else does.
func runPID() int {
	parent := os.Getppid()
	program, _, _ := strings.Cut(pgdev.Command(parent), " ")
	if filepath.Base(program) == "go" {
		return parent
	}
	return os.Getpid()
}

// baseDir holds the test servers of this user.
func baseDir() (string, error) {
	temp, err := pgdev.TempBase()
	if err != nil {
		return "", err
	}
	base := filepath.Join(temp, "towpath-test-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(base, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("create the test servers' directory: %w", err)
	}
	// The name can be guessed and the directory above is everybody's.
	info, err := os.Lstat(base)
	if err != nil {
		return "", fmt.Errorf("check the test servers' directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Getuid() {
		return "", fmt.Errorf("check the test servers' directory: %s is not a directory of ours", base)
	}
	return base, os.Chmod(base, 0o711)
}

// removeOld removes what runs have left that ended together with their
// watchdog, as when a whole container is killed.
func removeOld(ctx context.Context, base string) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return fmt.Errorf("look for old test servers: %w", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := pgdev.Remove(ctx, filepath.Join(base, entry.Name())); err != nil && !errors.Is(err, pgdev.ErrInUse) {
			return fmt.Errorf("remove an old test server: %w", err)
		}
	}
	return nil
}

// withDatabase returns the connection string with another database.
func withDatabase(address, name string) string {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme == "" {
		// Keywords and values; of two equal ones the last counts.
		return address + " dbname=" + name
	}
	parsed.Path = "/" + name
	return parsed.String()
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
