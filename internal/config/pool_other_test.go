//go:build !linux

package config_test

import (
	"net"
	"testing"
)

// requireKeepAlive: other systems have other names for it.
func requireKeepAlive(*testing.T, *net.TCPConn) {}
