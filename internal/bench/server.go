package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/pgdev"
)

const (
	// stopLimit bounds what clears up after a run.
	stopLimit = 2 * time.Minute

	// adminConns serve the meter and whoever creates databases; the contenders have pools of their own.
	adminConns = 3
)

// privateSettings are those of a small production server: every commit is durable, as the defaults have it, and the
// log is long enough that no checkpoint falls into each round.
func privateSettings() map[string]string {
	return map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
		"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min", "max_connections": "300",
	}
}

// server is the Postgres that all contenders share.
type server struct {
	url     string
	admin   *pgxpool.Pool
	private *pgdev.Server // nil where the server is somebody else's
	version string
	// parameters are those that decide about durability and memory.
	parameters map[string]string
	run        string // tells this run's databases from another's
}

// openServer connects to the configured server, or starts a private one.
func openServer(ctx context.Context, opts Options, p *progress) (*server, error) {
	s := &server{url: opts.Config.Database.URL, run: strings.ToLower(rand.Text()[:6])}
	if s.url == "" {
		p.line("starting a private Postgres with durable settings")
		var err error
		s.private, err = pgdev.Start(ctx, pgdev.Options{
			Ephemeral: true, Settings: privateSettings(), ArchiveURL: opts.Config.Postgres.ArchiveURL, Progress: p.out,
		})
		if err != nil {
			return nil, err
		}
		s.url = s.private.URL()
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *server) connect(ctx context.Context) error {
	cfg, err := pgxpool.ParseConfig(s.url)
	if err != nil {
		return fmt.Errorf("parse TOWPATH_DATABASE_URL: %w", err)
	}
	cfg.MaxConns = adminConns
	if s.admin, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return fmt.Errorf("open database pool: %w", err)
	}
	if err := s.admin.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&s.version); err != nil {
		return fmt.Errorf("reach the database server: %w", err)
	}
	return s.readParameters(ctx)
}

func (s *server) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	if s.admin != nil {
		s.admin.Close()
	}
	if s.private != nil {
		return s.private.Stop(ctx)
	}
	return nil
}

func (s *server) readParameters(ctx context.Context) error {
	rows, err := s.admin.Query(ctx, `SELECT name, current_setting(name) FROM pg_catalog.pg_settings WHERE name = ANY($1)`,
		[]string{"fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_level"})
	if err != nil {
		return fmt.Errorf("read the server's settings: %w", err)
	}
	s.parameters = map[string]string{}
	var name, value string
	if _, err := pgx.ForEachRow(rows, []any{&name, &value}, func() error { s.parameters[name] = value; return nil }); err != nil {
		return fmt.Errorf("read the server's settings: %w", err)
	}
	return nil
}

// create makes a database for one contender and returns its connection string.
func (s *server) create(ctx context.Context, key string) (*database, error) {
	db := &database{server: s, name: fmt.Sprintf("towpath_bench_%s_%s_%s", key, s.run, strings.ToLower(rand.Text()[:4]))}
	_, err := s.admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{db.name}.Sanitize())
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42501" {
		return nil, fmt.Errorf("create database %q: %w; every contender has one of its own: let the role create databases "+
			"(ALTER ROLE … CREATEDB), or unset TOWPATH_DATABASE_URL for a private Postgres", db.name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("create database %q: %w", db.name, err)
	}
	db.url, err = withDatabase(s.url, db.name)
	return db, err
}

// database is one contender's.
type database struct {
	server    *server
	name, url string
}

func (d *database) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	drop := "DROP DATABASE IF EXISTS " + pgx.Identifier{d.name}.Sanitize()
	_, err := d.server.admin.Exec(ctx, drop)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "55006" { // somebody is in it; force, which fails where that is autovacuum
		_, err = d.server.admin.Exec(ctx, drop+" WITH (FORCE)")
	}
	if err != nil {
		return fmt.Errorf("drop database %q: %w", d.name, err)
	}
	return nil
}

// withDatabase points a connection string, a URL or keywords, at another database.
func withDatabase(connString, name string) (string, error) {
	if !strings.HasPrefix(connString, "postgres://") && !strings.HasPrefix(connString, "postgresql://") {
		return connString + " dbname=" + name, nil // of a keyword that is there twice the last one counts
	}
	u, err := url.Parse(connString)
	if err != nil {
		return "", fmt.Errorf("point the connection string at database %q: %w", name, err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

// dataDir is where the server keeps its data, or "" when that cannot be seen from here.
func (s *server) dataDir(postmaster int) string {
	if s.private != nil {
		return filepath.Join(s.private.Dir, "data")
	}
	if postmaster == 0 {
		return ""
	}
	// Postgres works in its data directory.
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", postmaster))
	if err != nil {
		return ""
	}
	return dir
}
