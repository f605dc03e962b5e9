package pgdev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Installation is a set of Postgres server binaries.
type Installation struct {
	// BinDir holds at least postgres and initdb.
	BinDir string
	// Version is such as "15.4"; Major its first part.
	Version string
	Major   int
}

// places are where binaries are looked for. PATH and pg_config come first,
// because the user chose them; the rest is sorted by version, newest first.
type places struct {
	path     string   // as the variable PATH
	patterns []string // globs of directories
	cache    string   // where fetched archives are unpacked; "" finds the default
}

func defaultPlaces() *places {
	return &places{
		path: os.Getenv("PATH"),
		patterns: []string{
			"/usr/lib/postgresql/*/bin",                               // Debian, Ubuntu
			"/usr/pgsql-*/bin",                                        // Red Hat, from postgresql.org
			"/opt/homebrew/opt/postgresql@*/bin",                      // Homebrew on Apple silicon
			"/usr/local/opt/postgresql@*/bin",                         // Homebrew on Intel
			"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",         // Homebrew on Linux
			"/Applications/Postgres.app/Contents/Versions/[0-9]*/bin", // Postgres.app
			"/Library/PostgreSQL/*/bin",                               // EnterpriseDB's installer
		},
	}
}

// chosen are the directories that the user's environment names.
func (p *places) chosen(ctx context.Context) []string {
	var dirs []string
	for _, dir := range filepath.SplitList(p.path) {
		if dir == "" || !isExecutable(filepath.Join(dir, "postgres")) {
			continue
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range filepath.SplitList(p.path) {
		config := filepath.Join(dir, "pg_config")
		if dir == "" || !isExecutable(config) {
			continue
		}
		var nobody *account
		if out, err := nobody.output(ctx, config, "--bindir"); err == nil && filepath.IsAbs(out) {
			dirs = append(dirs, out)
		}
		break
	}
	return dirs
}

// known are the directories of usual installations, in no useful order.
func (p *places) known() []string {
	var dirs []string
	for _, pattern := range p.patterns {
		found, err := filepath.Glob(pattern)
		if err == nil {
			dirs = append(dirs, found...)
		}
	}
	return dirs
}

// dirs are all directories that may hold binaries, likeliest first.
func (p *places) dirs(ctx context.Context) []string {
	known := p.known()
	slices.SortFunc(known, func(a, b string) int { return cmp.Compare(majorIn(b), majorIn(a)) })
	return unique(append(p.chosen(ctx), known...))
}

var digits = regexp.MustCompile(`\d+`)

// majorIn guesses a version from a path such as /usr/lib/postgresql/15/bin.
func majorIn(path string) int {
	found := digits.FindAllString(path, -1)
	if len(found) == 0 {
		return 0
	}
	major, err := strconv.Atoi(found[len(found)-1])
	if err != nil {
		return 0
	}
	return major
}

func unique(dirs []string) []string {
	var kept []string
	for _, dir := range dirs {
		if !slices.Contains(kept, dir) {
			kept = append(kept, dir)
		}
	}
	return kept
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// survey is what a search found and what it found wrong.
type survey struct {
	found []Installation // in order of preference
	tried []string       // one line a place, for an error
}

// look examines every place. The account must be able to run what it finds.
func (p *places) look(ctx context.Context, acct *account) survey {
	var s survey
	examine := func(dirs []string) []Installation {
		var found []Installation
		for _, dir := range dirs {
			install, err := examine(ctx, acct, dir)
			if err != nil {
				s.tried = append(s.tried, fmt.Sprintf("%s: %v", dir, err))
				continue
			}
			found = append(found, install)
		}
		return found
	}
	chosen := p.chosen(ctx)
	if len(chosen) == 0 {
		s.tried = append(s.tried, "PATH: neither postgres nor pg_config in "+cmp.Or(p.path, "it, it is empty"))
	}
	s.found = examine(unique(chosen))
	for _, pattern := range p.patterns {
		if dirs, err := filepath.Glob(pattern); err != nil || len(dirs) == 0 {
			s.tried = append(s.tried, pattern+": no such directory")
		}
	}
	others := examine(unique(p.known()))
	fetched, err := p.fetched(acct)
	if err != nil {
		s.tried = append(s.tried, fmt.Sprintf("archives fetched earlier: %v", err))
	}
	others = append(others, examine(fetched)...)
	slices.SortStableFunc(others, func(a, b Installation) int { return compareVersions(b.Version, a.Version) })
	s.found = append(s.found, others...)
	return s
}

// compareVersions orders "15.4" before "15.13" before "18beta1".
func compareVersions(a, b string) int {
	as, bs := digits.FindAllString(a, -1), digits.FindAllString(b, -1)
	for i := range min(len(as), len(bs)) {
		// Shorter is smaller: versions have no leading zeros.
		if c := cmp.Or(cmp.Compare(len(as[i]), len(bs[i])), cmp.Compare(as[i], bs[i])); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)([^\s]*)`)

// examine returns the installation in a directory, or why it does not serve.
func examine(ctx context.Context, acct *account, dir string) (Installation, error) {
	for _, program := range []string{"postgres", "initdb"} {
		if !isExecutable(filepath.Join(dir, program)) {
			return Installation{}, fmt.Errorf("no %s in it", program)
		}
	}
	out, err := acct.output(ctx, filepath.Join(dir, "postgres"), "--version")
	if err != nil {
		if acct != nil {
			return Installation{}, fmt.Errorf("the user %q cannot run it: %w", acct.name, err)
		}
		return Installation{}, fmt.Errorf("it does not run: %w", err)
	}
	match := versionLine.FindStringSubmatch(out)
	if match == nil {
		return Installation{}, fmt.Errorf("unknown version %q", out)
	}
	major, err := strconv.Atoi(match[1])
	if err != nil {
		return Installation{}, fmt.Errorf("unknown version %q: %w", out, err)
	}
	if major < MinMajor {
		return Installation{}, fmt.Errorf("version %s is older than %d", match[1]+match[2], MinMajor)
	}
	return Installation{BinDir: dir, Version: match[1] + match[2], Major: major}, nil
}

// locateRequest says which binaries a start wants.
type locateRequest struct {
	places     *places
	archiveURL string
	account    *account
	dataDir    string // its cluster, if any, decides on the major version
	progress   io.Writer
	log        *slog.Logger
}

// locate finds binaries, or fetches them when nothing is installed.
func locate(ctx context.Context, r locateRequest) (Installation, error) {
	want, err := clusterMajor(r.dataDir)
	if err != nil {
		return Installation{}, err
	}
	seen := r.places.look(ctx, r.account)
	for _, install := range seen.found {
		if want == 0 || install.Major == want {
			return install, nil
		}
	}
	if len(seen.found) > 0 {
		return Installation{}, wrongMajor(r.dataDir, want, seen.found)
	}
	install, err := fetchArchive(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			return Installation{}, err
		}
		return Installation{}, noBinaries(append(seen.tried, err.Error()))
	}
	if want != 0 && install.Major != want {
		return Installation{}, wrongMajor(r.dataDir, want, []Installation{install})
	}
	return install, nil
}

// clusterMajor is the major version that made a cluster, 0 without a cluster.
func clusterMajor(dataDir string) (int, error) {
	raw, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the cluster's version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("read the cluster's version in %s: %w", dataDir, err)
	}
	return major, nil
}

func wrongMajor(dataDir string, want int, found []Installation) error {
	var have []string
	for _, install := range found {
		have = append(have, fmt.Sprintf("%s in %s", install.Version, install.BinDir))
	}
	return fmt.Errorf(`the database in %s was made by Postgres %d, and only %s is at hand; Postgres opens no other version's files. Either
  - install Postgres %d (or put its bin directory first in PATH), or
  - start in another directory with --data, and copy what you need with pg_dump, or
  - delete %s if you need nothing of it`,
		dataDir, want, strings.Join(have, ", "), want, filepath.Dir(dataDir))
}

func noBinaries(tried []string) error {
	return fmt.Errorf(`find Postgres %d or newer: nowhere to be found. Tried
  - %s
Either
  - install it (Debian, Ubuntu: apt install postgresql; macOS: brew install postgresql@18), or
  - run one with Docker: docker compose up -d postgres, and set TOWPATH_DATABASE_URL as below, or
  - set TOWPATH_DATABASE_URL to a Postgres that you have: postgres://user:password@host:5432/database`,
		MinMajor, strings.Join(tried, "\n  - "))
}
