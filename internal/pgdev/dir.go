package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultDir is where an instance lives when nobody says otherwise: the user's
// cache directory, or for root, whose own directories are closed to the user
// that Postgres runs as, a directory under /var/lib.
func DefaultDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/towpath/postgres", nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choose a directory for the private Postgres (name one with --data): %w", err)
	}
	return filepath.Join(cache, "towpath", "postgres"), nil
}

// prepareDir returns the absolute path of the instance's directory, existing
// and reachable for the account that runs the server.
func prepareDir(opts Options, acct *account) (string, error) {
	dir := opts.Dir
	var err error
	switch {
	case dir == "" && opts.Ephemeral:
		if dir, err = os.MkdirTemp(tempBase(acct), "towpath-pg-"); err != nil {
			return "", fmt.Errorf("create a temporary directory for Postgres: %w", err)
		}
	case dir == "":
		if dir, err = DefaultDir(); err != nil {
			return "", err
		}
	}
	if err := makeDir(dir); err != nil {
		return "", fmt.Errorf("prepare the directory %s: %w", dir, err)
	}
	if dir, err = realPath(dir); err != nil {
		return "", err
	}
	if err := checkOurs(dir); err != nil {
		return "", err
	}
	mode := fs.FileMode(0o700)
	if acct != nil {
		// The server's user passes through to its own subdirectories and sees
		// nothing else here.
		mode = 0o711
	}
	if err := os.Chmod(dir, mode); err != nil {
		return "", fmt.Errorf("prepare the directory %s: %w", dir, err)
	}
	if !acct.reaches(dir) {
		return "", fmt.Errorf("prepare the directory %s: Postgres does not run as root, and the user %q who runs it instead "+
			"may not enter that directory or one above it; choose another directory, such as one under /var/lib", dir, acct.name)
	}
	return dir, nil
}

// realPath is the one name of a directory by which its server is recognized.
func realPath(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("resolve the directory %q: %w", dir, err)
	}
	return path, nil
}

// makeDir is os.MkdirAll whatever the umask, so that root's directories stay
// open to the server's user.
func makeDir(dir string) error {
	var missing []string
	for path := dir; ; path = filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		missing = append(missing, path)
	}
	for _, path := range slices.Backward(missing) {
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.Chmod(path, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// checkOurs protects other people's files: we write to, and delete, only a
// directory that is empty or bears our lock file.
func checkOurs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("prepare the directory %s: %w", dir, err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) > 0 && !slices.Contains(names, lockName) {
		return fmt.Errorf("prepare the directory %s: it holds %s and nothing of a private Postgres; choose an empty or a new directory",
			dir, names[0])
	}
	return nil
}

// tempBase is where temporary instances go: the first place that the server's
// user can reach, since root's own TMPDIR may be closed to it.
func tempBase(acct *account) string {
	for _, dir := range []string{os.TempDir(), "/var/tmp"} {
		if acct.reaches(dir) {
			return dir
		}
	}
	return "/tmp"
}

// TempBase is the directory under which Start makes its temporary directories.
func TempBase() (string, error) {
	acct, err := serverAccount()
	if err != nil {
		return "", err
	}
	return tempBase(acct), nil
}

// clearLeftovers makes the directory as a start expects it, after an owner that
// may have ended at any point: no server runs, and there is a whole cluster or
// none. The caller holds the lock.
func clearLeftovers(ctx context.Context, dir string, ephemeral bool) error {
	data := filepath.Join(dir, "data")
	if err := endOrphan(ctx, data); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for leftovers in %s: %w", dir, err)
	}
	var halfMade []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), newClusterPrefix) {
			halfMade = append(halfMade, filepath.Join(dir, entry.Name()))
		}
	}
	if ephemeral {
		halfMade = append(halfMade, data, statePath(dir))
	}
	for _, path := range halfMade {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("clear leftovers in %s: %w", dir, err)
		}
	}
	return nil
}

// Remove stops what an earlier process may have left running in the ephemeral
// directory dir and deletes it. It returns ErrInUse when the instance is in
// use, and an error when dir is not an instance's directory. A directory that
// does not exist, or that its own watchdog is deleting, is no error.
func Remove(ctx context.Context, dir string) error {
	if err := checkOurs(dir); err != nil {
		return ignoreMissing(err)
	}
	lock, err := tryLock(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	defer lock.release()
	if err := endOrphan(ctx, filepath.Join(dir, "data")); err != nil {
		return err
	}
	return removeDir(dir)
}

// removeDir deletes an instance's directory. The caller holds the lock, which
// goes last: a directory with contents and no lock would be nobody's.
func removeDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(fmt.Errorf("delete the private Postgres in %s: %w", dir, err))
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("delete the private Postgres in %s: %w", dir, err)
		}
	}
	for _, path := range []string{filepath.Join(dir, lockName), dir} {
		if err := os.Remove(path); ignoreMissing(err) != nil {
			return fmt.Errorf("delete the private Postgres in %s: %w", dir, err)
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
