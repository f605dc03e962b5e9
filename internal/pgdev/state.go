package pgdev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// ErrNotRunning is wrapped by Find's error when no instance uses a directory.
var ErrNotRunning = errors.New("no private Postgres is running")

// Info tells how to reach a running instance.
type Info struct {
	// Dir is the instance's directory, absolute.
	Dir string `json:"dir"`
	// Version is the server's own version, such as "15.4"; Major its first part.
	Version string `json:"version"`
	Major   int    `json:"major"`
	// BinDir holds the server's binaries.
	BinDir string `json:"bin_dir"`
	// PID is the postmaster's process id, OwnerPID that of the process with
	// which the instance ends.
	PID      int `json:"pid"`
	OwnerPID int `json:"owner_pid"`
	// Port is where the server listens on 127.0.0.1; the socket in SocketDir
	// carries the same number.
	Port      int    `json:"port"`
	SocketDir string `json:"socket_dir"`
	// Password and SuperPassword are those of the roles `towpath` and
	// `postgres` on 127.0.0.1. The socket asks for none: it lies in a directory
	// that is closed to other users.
	Password      string `json:"password"`
	SuperPassword string `json:"super_password"`
}

// URL is the connection string of the role `towpath`, owner of the database
// `towpath` and no superuser, through 127.0.0.1.
func (i Info) URL() string { return i.tcpURL(role, i.Password, role) }

// SuperURL is the superuser's connection string to the database `postgres`,
// through 127.0.0.1.
func (i Info) SuperURL() string { return i.tcpURL(superuser, i.SuperPassword, superuser) }

// SocketURL is URL through the unix socket, which is quicker and works for the
// instance's owner (and root) alone.
func (i Info) SocketURL() string { return i.socketURL(role, role) }

// SuperSocketURL is SuperURL through the unix socket.
func (i Info) SuperSocketURL() string { return i.socketURL(superuser, superuser) }

func (i Info) tcpURL(user, password, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(user, password),
		Host: "127.0.0.1:" + strconv.Itoa(i.Port), Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (i Info) socketURL(user, database string) string {
	query := url.Values{"host": {i.SocketDir}, "port": {strconv.Itoa(i.Port)}}
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: query.Encode()}
	// An empty host is written as "postgres://towpath@/towpath".
	return u.String()
}

// Find returns the instance that runs in dir, "" meaning DefaultDir. The error
// wraps ErrNotRunning when none does and then says how to start one.
func Find(dir string) (*Info, error) {
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return nil, err
		}
	}
	path, err := realPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notRunning(dir)
	}
	if err != nil {
		return nil, err
	}
	info, err := readState(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notRunning(dir)
	case err != nil:
		return nil, err
	case !postmasterAlive(filepath.Join(path, "data"), info.PID):
		return nil, notRunning(dir)
	}
	return info, nil
}

func notRunning(dir string) error {
	return fmt.Errorf("%w in %s; `towpath dev` starts one (`towpath dev --data DIR` elsewhere), "+
		"or set TOWPATH_DATABASE_URL to use another Postgres", ErrNotRunning, dir)
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

func readState(dir string) (*Info, error) {
	raw, err := os.ReadFile(statePath(dir))
	if err != nil {
		return nil, fmt.Errorf("read the private Postgres's state: %w", err)
	}
	var info Info
	if err := json.Unmarshal(raw, &info); err != nil {
		return nil, fmt.Errorf("read the private Postgres's state in %s: %w", statePath(dir), err)
	}
	return &info, nil
}

// write publishes the state in one step, so that a reader sees all of it or the
// state before.
func (i Info) write() error {
	raw, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the private Postgres's state: %w", err)
	}
	next := statePath(i.Dir) + ".new"
	if err := os.WriteFile(next, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the private Postgres's state: %w", err)
	}
	if err := os.Rename(next, statePath(i.Dir)); err != nil {
		return fmt.Errorf("write the private Postgres's state: %w", err)
	}
	return nil
}

// reuseState keeps an earlier start's passwords and port, so that an address
// that somebody wrote down goes on working.
func (s *Server) reuseState() error {
	earlier, err := readState(s.Dir)
	if err == nil {
		s.Port, s.Password, s.SuperPassword = earlier.Port, earlier.Password, earlier.SuperPassword
	}
	// A state that cannot be read costs the old address and nothing else: both
	// passwords are set anew at every start.
	for _, password := range []*string{&s.Password, &s.SuperPassword} {
		if *password == "" {
			*password = newPassword()
		}
	}
	if s.SocketDir, err = s.socketDir(); err != nil {
		return err
	}
	return nil
}

// maxSocketDir leaves room for "/.s.PGSQL.65535" and ".lock" in the 104 bytes
// that macOS gives a socket's path (Linux: 108).
const maxSocketDir = 80

// socketDir makes the directory of the unix socket, in the instance's own
// directory unless that path is too long for a socket.
func (s *Server) socketDir() (string, error) {
	path := filepath.Join(s.Dir, "socket")
	if len(path) > maxSocketDir {
		short, err := os.MkdirTemp("/tmp", "towpath-")
		if err != nil {
			return "", fmt.Errorf("create a directory for the Postgres socket: %w", err)
		}
		path = short
	} else if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("create a directory for the Postgres socket: %w", err)
	}
	if err := s.account.own(path); err != nil {
		return "", err
	}
	if err := s.guard.sendPath("socket", path); err != nil {
		return "", err
	}
	return path, nil
}

// alive tells whether a process exists. One that we may not signal exists too.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
