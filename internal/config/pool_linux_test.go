package config_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func requireKeepAlive(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	option := func(level, name int) (value int) {
		require.NoError(t, raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }))
		require.NoError(t, err)
		return value
	}
	require.Equal(t, 1, option(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
	require.Equal(t, 15, option(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
	require.Equal(t, 5, option(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL))
	require.Equal(t, 3, option(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))
	require.Equal(t, 30_000, option(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT))
}
