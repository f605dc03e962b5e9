package config

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// How soon a dead connection is noticed: an idle one by keepalives after 15 s + 3 × 5 s, one with data under way by
// the kernel's user timeout, which otherwise is a quarter of an hour. A failover is over in less.
const (
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3
	userTimeout       = 30 * time.Second
	connectTimeout    = 10 * time.Second

	// pingAfter is for how long a connection has to be idle to be asked whether it is alive before it is used.
	pingAfter = 20 * time.Second
)

// OpenPool opens the pool that every command and role uses; nothing else in this module makes one. The application's
// name, shown in pg_stat_activity, is used unless the connection string sets one. The pool connects when it is first
// used; the caller closes it.
func (c *Config) OpenPool(ctx context.Context, application string) (*pgxpool.Pool, error) {
	if err := c.RequireDatabase(); err != nil {
		return nil, err
	}
	pool, err := pgxpool.ParseConfig(c.Database.URL)
	if err != nil {
		return nil, fmt.Errorf("parse TOWPATH_DATABASE_URL: %w", err)
	}
	pool.MaxConns = c.maxConns(pool.MaxConns)
	// Connections made at the same moment, after a failover for example, are not renewed at the same moment.
	pool.MaxConnLifetimeJitter = pool.MaxConnLifetime / 10

	// An idle process uses a connection every second or so; pgx would ask each time first whether it is alive.
	pool.ShouldPing = func(_ context.Context, params pgxpool.ShouldPingParams) bool { return params.IdleDuration > pingAfter }

	params := pool.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = application
	}
	if pool.ConnConfig.ConnectTimeout == 0 {
		pool.ConnConfig.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount,
		},
		Control: setUserTimeout,
	}
	pool.ConnConfig.DialFunc = dialer.DialContext
	opened, err := pgxpool.NewWithConfig(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	return opened, nil
}

// maxConns is the size of the pool: as set, else the connection string's own, else by the number of CPUs.
func (c *Config) maxConns(fromString int32) int32 {
	switch {
	case c.Database.MaxConns > 0:
		return int32(c.Database.MaxConns)
	case strings.Contains(c.Database.URL, "pool_max_conns"):
		return fromString
	default:
		return int32(min(max(4*runtime.GOMAXPROCS(0), 10), 40))
	}
}
