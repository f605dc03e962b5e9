package pgdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is the user that Postgres runs as when we are root, who must not run
// it. A nil account means the present user; every method allows it.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount returns nil unless we are root.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is the account of the present user
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseInt(found.Uid, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("look up the user %q: %w", name, err)
		}
		gid, err := strconv.ParseInt(found.Gid, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("look up the user %q: %w", name, err)
		}
		// macOS writes nobody's id as -2.
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil //nolint:gosec // ids are 32 bits
	}
	return nil, errors.New("choose a user for Postgres: it does not run as root, and there is no user `postgres` nor `nobody`; " +
		"run as an ordinary user")
}

// attr starts a process as the account, in a session of its own: signals from
// the terminal are for us, and we pass on what we mean to.
func (a *account) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attr
}

// own gives a path to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to the user %q: %w", path, a.name, err)
	}
	return nil
}

// reaches tells whether the account can enter a directory. Asking the kernel as
// that user takes access lists and odd file systems into account.
func (a *account) reaches(dir string) bool {
	if a == nil {
		return true
	}
	_, err := a.output(context.Background(), "/bin/sh", "-c", `cd -- "$1"`, "sh", dir)
	return err == nil
}

// output runs a command as the account and returns what it printed.
func (a *account) output(ctx context.Context, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = cleanEnv()
	cmd.SysProcAttr = a.attr()
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil && text != "" {
		return text, fmt.Errorf("%w: %s", err, text)
	}
	return text, err
}

// cleanEnv is our environment without what would make Postgres's programs
// differ from one machine to the next: PG* variables and the locale.
func cleanEnv() []string {
	env := []string{"LC_ALL=C"}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "PG") || strings.HasPrefix(entry, "LC_") || strings.HasPrefix(entry, "LANG") {
			continue
		}
		env = append(env, entry)
	}
	return env
}

// Command returns the command line of a running process, its words separated by
// spaces, or "" when there is no such process.
func Command(pid int) string {
	if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return strings.TrimSpace(string(bytes.ReplaceAll(raw, []byte{0}, []byte{' '})))
	}
	var present *account
	out, err := present.output(context.Background(), "ps", "-o", "command=", "-p", strconv.Itoa(pid))
	if err != nil {
		return ""
	}
	return out
}

// postmasterPID reads the process id that the server of a data directory wrote,
// 0 when there is none.
func postmasterPID(data string) int {
	raw, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// postmasterAlive tells whether pid is the running server of a data directory.
// Process ids are reused, after a reboot and in containers above all, so the
// process must name the directory on its command line, as ours do.
func postmasterAlive(data string, pid int) bool {
	return pid > 1 && postmasterPID(data) == pid && alive(pid) && strings.Contains(Command(pid), data)
}

// endOrphan ends the server that a dead owner left running on a data directory,
// if one is. The caller holds the directory's lock, so the server belongs to
// nobody.
//
// A stale postmaster.pid stays, because the next server checks by it that no
// process of the old one has the shared memory still. Only where its process id
// has passed to some other program would that server take it for a live one.
func endOrphan(ctx context.Context, data string) error {
	pid := postmasterPID(data)
	began := time.Now()
	harshness := []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for step := 0; postmasterAlive(data, pid); {
		due := time.Duration(step) * immediateTimeout
		if step < len(harshness) && time.Since(began) >= due {
			if err := syscall.Kill(pid, harshness[step]); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end the Postgres (process %d) that an earlier run left in %s: %w", pid, data, err)
			}
			step++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("end the Postgres (process %d) that an earlier run left in %s: %w", pid, data, ctx.Err())
		}
	}
	if pid == 0 || !alive(pid) || strings.Contains(Command(pid), "postgres") {
		return nil
	}
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); ignoreMissing(err) != nil {
		return fmt.Errorf("remove a stale postmaster.pid: %w", err)
	}
	return nil
}
