//go:build !linux

package config

import "syscall"

// setUserTimeout is Linux's alone; elsewhere keepalives have to do.
func setUserTimeout(string, string, syscall.RawConn) error { return nil }
