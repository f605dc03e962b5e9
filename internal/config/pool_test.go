package config_test

import (
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/testdb"
)

func TestOpenPool(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{}
	_, err := cfg.OpenPool(t.Context(), "towpath test")
	require.ErrorContains(t, err, "TOWPATH_DATABASE_URL: not set")

	cfg.Database.URL = testdb.URL(t)
	pool, err := cfg.OpenPool(t.Context(), "towpath test")
	require.NoError(t, err)
	defer pool.Close()
	var application string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT current_setting('application_name')`).Scan(&application))
	require.Equal(t, "towpath test", application)
	require.Equal(t, int32(min(max(4*runtime.GOMAXPROCS(0), 10), 40)), pool.Config().MaxConns)
}

func TestPoolFollowsTheConnectionString(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{Database: config.Database{URL: "postgres://u@127.0.0.1:1/d?pool_max_conns=7&application_name=mine&connect_timeout=3"}}
	pool, err := cfg.OpenPool(t.Context(), "towpath test")
	require.NoError(t, err)
	defer pool.Close()
	require.Equal(t, int32(7), pool.Config().MaxConns)
	require.Equal(t, "mine", pool.Config().ConnConfig.RuntimeParams["application_name"])
	require.InDelta(t, 3, pool.Config().ConnConfig.ConnectTimeout.Seconds(), 0)

	cfg.Database.MaxConns = 5
	pool, err = cfg.OpenPool(t.Context(), "towpath test")
	require.NoError(t, err)
	defer pool.Close()
	require.Equal(t, int32(5), pool.Config().MaxConns)
}

// A connection whose other end vanishes is noticed, busy or idle.
func TestPoolKeepsConnectionsAlive(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	cfg := &config.Config{Database: config.Database{URL: "postgres://u@" + listener.Addr().String() + "/d"}}
	pool, err := cfg.OpenPool(t.Context(), "towpath test")
	require.NoError(t, err)
	defer pool.Close()
	conn, err := pool.Config().ConnConfig.DialFunc(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	requireKeepAlive(t, conn.(*net.TCPConn))
}
