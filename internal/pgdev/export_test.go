package pgdev

// WatchdogPID is the process id of the server's watchdog.
func (s *Server) WatchdogPID() int { return s.guard.cmd.Process.Pid }

// SearchIn makes a start look for binaries in these places alone and unpack
// archives in cache.
func (o *Options) SearchIn(path, cache string, patterns ...string) {
	o.searched = &places{path: path, patterns: patterns, cache: cache}
}

// ArchiveAddress is the address of this machine's archive below a repository.
var ArchiveAddress = archiveAddress

// CompareVersions orders Postgres versions.
var CompareVersions = compareVersions
