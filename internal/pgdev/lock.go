package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrInUse is wrapped by the error of a Start or Remove on a directory that
// another process uses.
var ErrInUse = errors.New("in use")

const (
	lockName = "lock"

	// orphanWait is how long a Start waits for the watchdog of a dead owner,
	// which holds the lock until it has ended that owner's server.
	orphanWait = 45 * time.Second
)

// dirLock is the exclusive right to an instance's directory. The watchdog
// inherits the open file, and with it the lock: it is released when both this
// process and the watchdog have let go, so nobody starts in a directory where
// a server is still being ended.
type dirLock struct {
	file *os.File
}

// tryLock takes the lock or returns an error that wraps ErrInUse.
func tryLock(dir string) (*dirLock, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the directory %s: %w", dir, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the directory %s: %w", dir, err)
		}
		return nil, inUse(dir, lockOwner(dir))
	}
	// Whoever held it before may have deleted the directory, and the lock in it.
	locked, err := file.Stat()
	if err == nil {
		var present os.FileInfo
		if present, err = os.Stat(file.Name()); err == nil && !os.SameFile(locked, present) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the directory %s: it was deleted meanwhile: %w", dir, err)
	}
	return &dirLock{file: file}, nil
}

// acquire takes the lock and writes owner into it. A lock whose owner lives is
// an error at once; one whose owner has died is about to be released.
func acquire(ctx context.Context, dir string, owner int) (*dirLock, error) {
	ctx, cancel := context.WithTimeout(ctx, orphanWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		lock, err := tryLock(dir)
		if err == nil {
			return lock, lock.sign(dir, owner)
		}
		if !errors.Is(err, ErrInUse) || alive(lockOwner(dir)) {
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (l *dirLock) sign(dir string, owner int) error {
	content := strconv.Itoa(owner) + "\n"
	if _, err := l.file.WriteAt([]byte(content), 0); err != nil {
		l.release()
		return fmt.Errorf("lock the directory %s: %w", dir, err)
	}
	if err := l.file.Truncate(int64(len(content))); err != nil {
		l.release()
		return fmt.Errorf("lock the directory %s: %w", dir, err)
	}
	return nil
}

// release closes the file, which gives the lock up.
func (l *dirLock) release() { _ = l.file.Close() }

// lockOwner reads who signed the lock, 0 when nobody did.
func lockOwner(dir string) int {
	file, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return 0
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return pid
}

func inUse(dir string, owner int) error {
	if owner == 0 {
		return fmt.Errorf("the directory %s is %w by another private Postgres; stop it, or choose another directory", dir, ErrInUse)
	}
	return fmt.Errorf("the directory %s is %w: process %d runs a private Postgres in it; stop that process, or choose another directory",
		dir, ErrInUse, owner)
}
