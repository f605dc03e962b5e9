package pgdev

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
	"golang.org/x/sys/unix"
)

const (
	// DefaultArchiveURL is the Maven repository that carries the archives which
	// fergusstrange/embedded-postgres uses.
	DefaultArchiveURL = "https://repo1.maven.org/maven2"

	// archiveVersion is the newest version that the library knows, so that it
	// moves with the library.
	archiveVersion = string(embeddedpostgres.V18)

	// maxArchive bounds what is read from a server; archives have 10 to 40 MB.
	maxArchive = 512 << 20
)

// archiveClient's limit is for slow lines: an archive at 50 kB a second.
var archiveClient = &http.Client{Timeout: 15 * time.Minute}

// archiveAddress is the address of the archive for this machine.
func archiveAddress(base string) string {
	if base == "" {
		base = DefaultArchiveURL
	}
	if strings.HasSuffix(base, ".jar") {
		return base
	}
	artifact := "embedded-postgres-binaries-" + platform()
	return fmt.Sprintf("%s/io/zonky/test/postgres/%s/%s/%s-%s.jar",
		strings.TrimSuffix(base, "/"), artifact, archiveVersion, artifact, archiveVersion)
}

// platform is this machine's name in the archives' addresses.
func platform() string {
	arch := runtime.GOARCH
	switch arch {
	case "386":
		arch = "i386"
	case "arm64":
		arch = "arm64v8"
	case "arm":
		arch = "arm32v7"
		var name unix.Utsname
		if unix.Uname(&name) == nil && strings.HasPrefix(unix.ByteSliceToString(name.Machine[:]), "armv6") {
			arch = "arm32v6"
		}
	}
	if _, err := os.Stat("/etc/alpine-release"); err == nil {
		arch += "-alpine"
	}
	return runtime.GOOS + "-" + arch
}

// cacheDir is where fetched binaries are kept: for root in a place that the
// server's user can reach.
func (p *places) cacheDir(acct *account) (string, error) {
	if p.cache != "" {
		return p.cache, nil
	}
	if acct != nil {
		return "/var/cache/towpath/binaries", nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("choose a directory for Postgres binaries: %w", err)
	}
	return filepath.Join(cache, "towpath", "binaries"), nil
}

// fetched are the bin directories of archives that were fetched earlier.
func (p *places) fetched(acct *account) ([]string, error) {
	cache, err := p.cacheDir(acct)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(cache)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var dirs []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), unpackPrefix) {
			dirs = append(dirs, filepath.Join(cache, entry.Name(), "bin"))
		}
	}
	return dirs, nil
}

// fetchArchive downloads, checks and unpacks an archive. Several processes may
// call it at once; one downloads and the others find the result.
func fetchArchive(ctx context.Context, r locateRequest) (Installation, error) {
	address := archiveAddress(r.archiveURL)
	cache, err := r.places.cacheDir(r.account)
	if err != nil {
		return Installation{}, err
	}
	if err := makeDir(cache); err != nil {
		return Installation{}, fmt.Errorf("prepare the directory %s: %w", cache, err)
	}
	lock, err := lockCache(cache)
	if err != nil {
		return Installation{}, err
	}
	defer lock.Close()

	name := strings.TrimSuffix(path.Base(address), ".jar")
	target := filepath.Join(cache, name)
	if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
		if err := fetchInto(ctx, r, address, target); err != nil {
			return Installation{}, err
		}
	}
	install, err := examine(ctx, r.account, filepath.Join(target, "bin"))
	if err != nil {
		return Installation{}, fmt.Errorf("use the archive %s, unpacked in %s: %w", address, target, err)
	}
	return install, nil
}

func lockCache(cache string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(cache, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the directory %s: %w", cache, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the directory %s: %w", cache, err)
	}
	return file, nil
}

// fetchInto leaves target complete or absent.
func fetchInto(ctx context.Context, r locateRequest, address, target string) error {
	fmt.Fprintf(r.progress, "No Postgres found; fetching one from %s\n", address)
	r.log.Info("fetching postgres", slog.String("url", address))
	jar, err := os.CreateTemp(filepath.Dir(target), unpackPrefix+"*.jar")
	if err != nil {
		return fmt.Errorf("fetch %s: %w", address, err)
	}
	defer os.Remove(jar.Name())
	defer jar.Close()
	if err := download(ctx, r.progress, address, jar); err != nil {
		return err
	}
	if err := unpack(jar, target); err != nil {
		return fmt.Errorf("unpack %s: %w", address, err)
	}
	return nil
}

// download writes the archive to a file after comparing it with its checksum.
func download(ctx context.Context, progress io.Writer, address string, to *os.File) error {
	want, err := checksum(ctx, address+".sha256")
	if err != nil {
		return err
	}
	body, size, err := get(ctx, address)
	if err != nil {
		return err
	}
	defer body.Close()
	bar := newMeter(progress, "Postgres "+archiveVersion, size)
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum, bar), io.LimitReader(body, maxArchive))
	bar.finish(err == nil)
	switch {
	case err != nil:
		return fmt.Errorf("fetch %s: broke off after %d of %d bytes: %w", address, n, size, err)
	case hex.EncodeToString(sum.Sum(nil)) != want:
		return fmt.Errorf("fetch %s: its SHA-256 is %x and should be %s by %s.sha256", address, sum.Sum(nil), want, address)
	}
	return nil
}

// checksum reads a file that begins with a SHA-256 in hexadecimal digits.
func checksum(ctx context.Context, address string) (string, error) {
	body, _, err := get(ctx, address)
	if err != nil {
		return "", err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, 1024))
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", address, err)
	}
	fields := strings.Fields(string(raw))
	if len(fields) == 0 || len(fields[0]) != hex.EncodedLen(sha256.Size) {
		return "", fmt.Errorf("fetch %s: it holds no SHA-256", address)
	}
	return strings.ToLower(fields[0]), nil
}

func get(ctx context.Context, address string) (io.ReadCloser, int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch %s: %w", address, err)
	}
	response, err := archiveClient.Do(request)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch %s: %w", address, errors.Unwrap(err))
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, 0, fmt.Errorf("fetch %s: the server answers %s", address, response.Status)
	}
	return response.Body, response.ContentLength, nil
}

// openTxz returns the compressed tar inside the archive.
func openTxz(jar *os.File) (io.ReadCloser, error) {
	info, err := jar.Stat()
	if err != nil {
		return nil, err
	}
	reader, err := zip.NewReader(jar, info.Size())
	if err != nil {
		return nil, err
	}
	for _, file := range reader.File {
		if strings.HasSuffix(file.Name, ".txz") {
			return file.Open()
		}
	}
	return nil, errors.New("there is no .txz in it")
}
