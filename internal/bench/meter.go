package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// clockTick is the unit of CPU times in /proc. Linux shows them in hundredths of a second on every platform that Go
// knows, whatever the kernel counts in.
const clockTick = 10 * time.Millisecond

// meter reads what the server and this process have used up.
type meter struct {
	server     *server
	postmaster int // process id; 0 where its processes cannot be seen
	statements atomic.Int64
}

// newMeter finds the server's processes, when they are on this machine.
func newMeter(ctx context.Context, s *server) *meter {
	m := &meter{server: s}
	if s.private != nil {
		if _, err := readProcess(s.private.PID); err == nil {
			m.postmaster = s.private.PID
		}
		return m
	}
	var backend int
	if err := s.admin.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return m
	}
	// On another machine, or in a container, that number is somebody else's process here, or nobody's.
	if p, err := readProcess(backend); err == nil && p.command == "postgres" {
		m.postmaster = p.parent
	}
	return m
}

// reading is the state of all counters at one moment.
type reading struct {
	at         time.Time
	wal        int64
	pgCPU      time.Duration
	pgSeen     bool
	ownCPU     time.Duration
	statements int64
}

func (m *meter) read(ctx context.Context) (reading, error) {
	r := reading{at: time.Now(), statements: m.statements.Load()}
	err := m.server.admin.QueryRow(ctx, "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint").Scan(&r.wal)
	if err != nil {
		return r, fmt.Errorf("read the write-ahead log's position: %w", err)
	}
	r.pgCPU, r.pgSeen = m.serverCPU()
	r.ownCPU, err = ownCPU()
	return r, err
}

// figures are what was used between two readings, for so many jobs.
func (r reading) figures(since reading, jobs int) Figures {
	f := Figures{}
	seconds := r.at.Sub(since.at).Seconds()
	if jobs > 0 {
		n := float64(jobs)
		f[JobsPerSecond] = n / seconds
		f[WALPerJob] = float64(r.wal-since.wal) / n
		f[GoCPU] = micros(r.ownCPU-since.ownCPU) / n
		f[StatementsPerJob] = float64(r.statements-since.statements) / n
		if r.pgSeen && since.pgSeen {
			f[PostgresCPU] = micros(r.pgCPU-since.pgCPU) / n
		}
	}
	f[StatementsPerSecond] = float64(r.statements-since.statements) / seconds
	return f
}

// loads measures for a while what a system costs that works no jobs, in percent of a core. What the server does by itself,
// such as autovacuum's visits to every database, is in the whole, and not in the part of the system's connections.
func (m *meter) loads(ctx context.Context, s *system, d time.Duration) (Figures, error) {
	since, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	connections, err := m.connections(ctx, s.db)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, d); err != nil {
		return nil, err
	}
	r, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	seconds := r.at.Sub(since.at).Seconds()
	f := Figures{
		GoLoad:              100 * (r.ownCPU - since.ownCPU).Seconds() / seconds,
		StatementsPerSecond: float64(r.statements-since.statements) / seconds,
	}
	if r.pgSeen && since.pgSeen {
		f[PostgresLoad] = 100 * (r.pgCPU - since.pgCPU).Seconds() / seconds
		now, err := m.connections(ctx, s.db)
		if err != nil {
			return nil, err
		}
		var used time.Duration
		for pid, cpu := range now {
			used += cpu - connections[pid] // what was opened meanwhile began at nothing
		}
		f[ConnectionLoad] = 100 * used.Seconds() / seconds
	}
	return f, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// serverCPU is the CPU time of the postmaster, of its children, and of the children that have ended.
func (m *meter) serverCPU() (time.Duration, bool) {
	if m.postmaster == 0 {
		return 0, false
	}
	master, err := readProcess(m.postmaster)
	if err != nil {
		return 0, false
	}
	total := master.own + master.reaped
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, false
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil && p.parent == m.postmaster {
			total += p.own
		}
	}
	return total, true
}

// connections are the CPU times of a database's connections by process id, where these can be seen.
func (m *meter) connections(ctx context.Context, db *database) (map[int]time.Duration, error) {
	if m.postmaster == 0 {
		return nil, nil //nolint:nilnil // nothing is seen, which is no error
	}
	rows, err := m.server.admin.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND usesysid IS NOT NULL", db.name)
	if err != nil {
		return nil, fmt.Errorf("list the connections of %s: %w", db.name, err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return nil, fmt.Errorf("list the connections of %s: %w", db.name, err)
	}
	times := make(map[int]time.Duration, len(pids))
	for _, pid := range pids {
		if p, err := readProcess(pid); err == nil && p.parent == m.postmaster {
			times[pid] = p.own
		}
	}
	return times, nil
}

// process is what /proc tells about one.
type process struct {
	command     string
	parent      int
	own, reaped time.Duration
}

func readProcess(pid int) (process, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return parseStat(raw)
}

// parseStat reads a line of /proc/PID/stat: the command in parentheses, which it may itself contain, then the state,
// the parent and, from the twelfth field after the command on, the CPU times.
func parseStat(raw []byte) (process, error) {
	open, closed := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if open < 0 || closed < open {
		return process{}, fmt.Errorf("read process line %q: no command in it", raw)
	}
	fields := bytes.Fields(raw[closed+1:])
	if len(fields) < 15 {
		return process{}, fmt.Errorf("read process line %q: too short", raw)
	}
	p := process{command: string(raw[open+1 : closed])}
	var err error
	if p.parent, err = strconv.Atoi(string(fields[1])); err != nil {
		return process{}, fmt.Errorf("read process line %q: %w", raw, err)
	}
	times := make([]time.Duration, 4) // user and system, own and of children that were waited for
	for i := range times {
		ticks, err := strconv.ParseInt(string(fields[11+i]), 10, 64)
		if err != nil {
			return process{}, fmt.Errorf("read process line %q: %w", raw, err)
		}
		times[i] = time.Duration(ticks) * clockTick
	}
	p.own, p.reaped = times[0]+times[1], times[2]+times[3]
	return p, nil
}

func ownCPU() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read this process's CPU time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// TraceQueryStart counts a statement of a contender's client.
func (m *meter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	m.statements.Add(1)
	return ctx
}

// TraceQueryEnd has nothing to count.
func (m *meter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart counts a batch, which is one round trip.
func (m *meter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	m.statements.Add(1)
	return ctx
}

// TraceBatchQuery has nothing to count.
func (m *meter) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd has nothing to count.
func (m *meter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// TraceCopyFromStart counts a COPY.
func (m *meter) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	m.statements.Add(1)
	return ctx
}

// TraceCopyFromEnd has nothing to count.
func (m *meter) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// memoryEvery is how often the memory is looked at.
const memoryEvery = 10 * time.Millisecond

// watchMemory returns a function that ends the watch and says how much memory Go took from the system at most.
func watchMemory(every time.Duration) (peak func() float64) {
	debug.FreeOSMemory()
	stop := make(chan struct{})
	var watching sync.WaitGroup
	var most uint64
	watching.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			most = max(most, takenMemory())
			select {
			case <-ticker.C:
			case <-stop:
				return
			}
		}
	})
	return sync.OnceValue(func() float64 {
		close(stop)
		watching.Wait()
		return float64(max(most, takenMemory()))
	})
}

func takenMemory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
