package pgdev_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pgdev"
)

// repository serves one archive, with its checksum beside it, on loopback.
type repository struct {
	*httptest.Server

	archive   []byte
	checksum  string
	truncate  bool
	downloads atomic.Int64
}

func newRepository(t *testing.T, archive []byte) *repository {
	t.Helper()
	r := &repository{archive: archive, checksum: fmt.Sprintf("%x", sha256.Sum256(archive))}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *repository) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	switch "http://" + request.Host + request.URL.Path {
	case pgdev.ArchiveAddress(r.URL) + ".sha256":
		fmt.Fprint(w, r.checksum)
	case pgdev.ArchiveAddress(r.URL):
		r.downloads.Add(1)
		w.Header().Set("Content-Length", strconv.Itoa(len(r.archive)))
		body := r.archive
		if r.truncate {
			body = body[:len(body)/2]
		}
		_, _ = w.Write(body)
	default:
		http.NotFound(w, request)
	}
}

// fakeArchive is an archive whose programs run the real ones of this machine.
func fakeArchive(t *testing.T) []byte {
	t.Helper()
	server := start(t, pgdev.Options{Ephemeral: true})
	files := map[string]string{"share/postgresql/notice.txt": "nothing to run here\n"}
	for _, program := range []string{"postgres", "initdb"} {
		files["bin/"+program] = fmt.Sprintf("#!/bin/sh\nexec '%s/%s' \"$@\"\n", server.BinDir, program)
	}
	require.NoError(t, server.Stop(t.Context()))
	return jar(t, files)
}

// jar packs files as the archives in Maven repositories do: a zip around a tar
// that is compressed with xz.
func jar(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var tarball bytes.Buffer
	tw := tar.NewWriter(&tarball)
	for name, content := range files {
		require.NoError(t, tw.WriteHeader(&tar.Header{Name: name, Mode: 0o700, Size: int64(len(content))}))
		_, err := tw.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, tw.WriteHeader(&tar.Header{Name: "bin/postmaster", Typeflag: tar.TypeSymlink, Linkname: "postgres"}))
	require.NoError(t, tw.Close())

	var packed bytes.Buffer
	zw := zip.NewWriter(&packed)
	for name, content := range map[string][]byte{"META-INF/MANIFEST.MF": nil, "postgres-linux-x86_64.txz": xzStored(tarball.Bytes())} {
		w, err := zw.Create(name)
		require.NoError(t, err)
		_, err = w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, zw.Close())
	return packed.Bytes()
}

// xzStored wraps data in the xz format without compressing it: one block of
// LZMA2 chunks that are stored as they are.
func xzStored(data []byte) []byte {
	le, crc := binary.LittleEndian, crc32.ChecksumIEEE
	flags := []byte{0, 1} // the check is a CRC32
	out := append([]byte("\xfd7zXZ\x00"), flags...)
	out = le.AppendUint32(out, crc(flags))

	block := []byte{2, 0, 0x21, 1, 22, 0, 0, 0} // 12 bytes, one filter: LZMA2, 8 MiB
	block = le.AppendUint32(block, crc(block))
	for rest, control := data, byte(1); len(rest) > 0; control = 2 {
		n := min(len(rest), 1<<16)
		block = append(append(block, control, byte((n-1)>>8), byte(n-1)), rest[:n]...)
		rest = rest[n:]
	}
	block = append(block, 0)
	unpadded := len(block) + 4
	block = append(block, make([]byte, -len(block)&3)...)
	out = append(out, le.AppendUint32(block, crc(data))...)

	index := binary.AppendUvarint([]byte{0, 1}, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(len(data)))
	index = append(index, make([]byte, -len(index)&3)...)
	index = le.AppendUint32(index, crc(index))
	out = append(out, index...)

	footer := append(le.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	out = append(le.AppendUint32(out, crc(footer)), footer...)
	return append(out, 'Y', 'Z')
}

// fetching are options for a machine on which nothing is installed.
func fetching(t *testing.T, address string) (opts pgdev.Options, cache string) {
	t.Helper()
	cache = newDir(t)
	opts = pgdev.Options{Ephemeral: true, Fast: true, ArchiveURL: address}
	opts.SearchIn("/nonexistent/path", cache, "/nonexistent/postgresql/*/bin")
	return opts, cache
}

func TestArchiveIsFetchedOnce(t *testing.T) {
	t.Parallel()
	repo := newRepository(t, fakeArchive(t))
	opts, cache := fetching(t, repo.URL)
	var said bytes.Buffer
	opts.Progress = &said

	first := start(t, opts)
	require.Equal(t, 1, query[int](t, first.URL(), `SELECT 1`))
	require.True(t, strings.HasPrefix(first.BinDir, cache), first.BinDir)
	require.Contains(t, said.String(), "100%")
	require.Contains(t, said.String(), pgdev.ArchiveAddress(repo.URL))
	require.EqualValues(t, 1, repo.downloads.Load())

	byAddress, _ := fetching(t, pgdev.ArchiveAddress(repo.URL))
	third := start(t, byAddress)
	require.Equal(t, first.Version, third.Version)
	require.EqualValues(t, 2, repo.downloads.Load())

	repo.Close()
	said.Reset()
	second := start(t, opts)
	require.Equal(t, first.BinDir, second.BinDir)
	require.EqualValues(t, 2, repo.downloads.Load())
	require.NotContains(t, said.String(), "http")
}

// A bad archive leaves nothing in the cache, so the next start tries again.
func TestBadArchives(t *testing.T) {
	t.Parallel()
	good := jar(t, map[string]string{"bin/postgres": "#!/bin/sh\n"})
	for name, test := range map[string]struct {
		spoil func(*repository)
		want  string
	}{
		"wrong checksum": {func(r *repository) { r.checksum = strings.Repeat("0", 64) }, "its SHA-256 is"},
		"no checksum":    {func(r *repository) { r.checksum = "<html>" }, "holds no SHA-256"},
		"truncated":      {func(r *repository) { r.truncate = true }, "broke off after"},
		"not a zip": {func(r *repository) {
			r.archive = []byte("a page of a captive portal")
			r.checksum = fmt.Sprintf("%x", sha256.Sum256(r.archive))
		}, "not a valid zip file"},
		"gone": {func(r *repository) { r.Close() }, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo := newRepository(t, good)
			test.spoil(repo)
			opts, cache := fetching(t, repo.URL)
			_, err := pgdev.Start(t.Context(), opts)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, pgdev.ArchiveAddress(repo.URL))
			entries, err := os.ReadDir(cache)
			require.NoError(t, err)
			require.Len(t, entries, 1, "only the lock is left")
		})
	}
}

func TestArchiveStaysInItsDirectory(t *testing.T) {
	t.Parallel()
	archive := jar(t, map[string]string{"../../escaped": "out", "bin/postgres": "#!/bin/sh\n"})
	repo := newRepository(t, archive)
	opts, cache := fetching(t, repo.URL)
	_, err := pgdev.Start(t.Context(), opts)
	require.ErrorContains(t, err, "escapes from parent")
	require.NoFileExists(t, filepath.Join(filepath.Dir(cache), "escaped"))
}

func TestNoBinariesNamesPlacesAndRemedies(t *testing.T) {
	t.Parallel()
	old, empty := t.TempDir(), newDir(t)
	require.NoError(t, os.Chmod(filepath.Dir(old), 0o755))
	require.NoError(t, os.Chmod(old, 0o755))
	for _, program := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.24'\n"
		require.NoError(t, os.WriteFile(filepath.Join(old, program), []byte(script), 0o755))
	}
	half := filepath.Join(empty, "15", "bin")
	require.NoError(t, os.MkdirAll(half, 0o755))
	repo := newRepository(t, nil)
	repo.Close()

	opts := pgdev.Options{Dir: newDir(t), Ephemeral: true, ArchiveURL: repo.URL}
	opts.SearchIn(old, t.TempDir(), filepath.Join(empty, "*", "bin"), "/nonexistent/*/bin")
	_, err := pgdev.Start(t.Context(), opts)
	for _, part := range []string{
		old + ": version 9.6.24 is older than 15", half + ": no postgres in it", "/nonexistent/*/bin: no such directory",
		pgdev.ArchiveAddress(repo.URL), "apt install postgresql", "docker compose up", "TOWPATH_DATABASE_URL",
	} {
		require.ErrorContains(t, err, part)
	}
	require.NoDirExists(t, opts.Dir, "a start that failed leaves nothing")
}

// PATH is the user's own choice; of the rest the newest is taken.
func TestPreference(t *testing.T) {
	t.Parallel()
	base := newDir(t)
	fake := func(version string) string {
		bin := filepath.Join(base, version, "bin")
		require.NoError(t, os.MkdirAll(bin, 0o755))
		for program, script := range map[string]string{
			"postgres": "echo 'postgres (PostgreSQL) " + version + "'", "initdb": "echo made by " + version + "; exit 1",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		}
		return bin
	}
	old, _, _ := fake("15.13"), fake("16.9"), fake("16.10")
	for want, path := range map[string]string{"16.10": "/nonexistent", "15.13": old} {
		opts := pgdev.Options{Ephemeral: true}
		opts.SearchIn(path, t.TempDir(), filepath.Join(base, "*", "bin"))
		_, err := pgdev.Start(t.Context(), opts)
		require.ErrorContains(t, err, "made by "+want)
	}

	// pg_config says where a server is whose programs are not on PATH.
	config := filepath.Join(base, "config")
	require.NoError(t, os.Mkdir(config, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(config, "pg_config"), []byte("#!/bin/sh\necho "+old+"\n"), 0o755))
	opts := pgdev.Options{Ephemeral: true}
	opts.SearchIn(config, t.TempDir(), filepath.Join(base, "*", "bin"))
	_, err := pgdev.Start(t.Context(), opts)
	require.ErrorContains(t, err, "made by 15.13")
}

// A cluster is opened by the version that made it, when that one is there too.
func TestVersionOfTheClusterDecides(t *testing.T) {
	t.Parallel()
	require.Negative(t, pgdev.CompareVersions("15.4", "15.13"))
	require.Negative(t, pgdev.CompareVersions("15.13", "18beta1"))
	require.Zero(t, pgdev.CompareVersions("17.2", "17.2"))

	base, dir := newDir(t), newDir(t)
	for _, version := range []string{"15", "16"} {
		bin := filepath.Join(base, version, "bin")
		require.NoError(t, os.MkdirAll(bin, 0o755))
		for _, program := range []string{"postgres", "initdb"} {
			script := "#!/bin/sh\n[ \"$1\" = --version ] || echo run by " + version + " >&2\necho 'postgres (PostgreSQL) " + version + ".1'\n"
			require.NoError(t, os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755))
		}
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("15\n"), 0o600))
	opts := pgdev.Options{Dir: dir}
	opts.SearchIn("/nonexistent", t.TempDir(), filepath.Join(base, "*", "bin"))
	_, err := pgdev.Start(t.Context(), opts)
	require.ErrorContains(t, err, "run by 15")
}

func TestScriptIsPortableShell(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"dash", "bash", "busybox"} {
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		args := []string{"-n", "watchdog.sh"}
		if shell == "busybox" {
			args = append([]string{"sh"}, args...)
		}
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		require.NoError(t, err, "%s: %s", shell, out)
	}
}
