package crash

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/migrate"
	"github.com/towpath/towpath/internal/pgdev"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

const (
	// rescueLimit is how long a dead process may own running jobs: half a minute, and as much again for a busy machine.
	rescueLimit = time.Minute

	// patience bounds waits whose length nothing is said about.
	patience = 2 * time.Minute
)

// rig is a database and the processes that work on it.
type rig struct {
	t        *testing.T
	postgres *pgdev.Server // nil where the database lies on the server of the test run
	url      string
	pool     *pgxpool.Pool
	seed     uint64
	dice     *rand.Rand
	logs     string
	auditor  *auditor

	mu        sync.Mutex
	processes []*process
	upSince   time.Time // Postgres
}

// newRig makes a rig on a database of the test run's server.
func newRig(t *testing.T) *rig {
	t.Helper()
	return buildRig(t, nil, testdb.URL(t))
}

// newRigWithPostgres makes a rig with a server of its own, which may be killed.
func newRigWithPostgres(t *testing.T) *rig {
	t.Helper()
	server, err := pgdev.Start(t.Context(), pgdev.Options{
		Ephemeral: true, Fast: true, ArchiveURL: os.Getenv("TOWPATH_POSTGRES_ARCHIVE_URL"), Progress: os.Stderr,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, server.Stop(context.Background()))
		out, err := exec.CommandContext(context.Background(), "ps", "-eo", "args").Output()
		require.NoError(t, err)
		require.NotContains(t, string(out), server.Dir, "a process of the killed Postgres is left")
	})
	// Through the socket: those who try a free port of the machine again and again may in the end meet themselves.
	return buildRig(t, server, server.SocketURL())
}

func buildRig(t *testing.T, server *pgdev.Server, url string) *rig {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	r := &rig{
		t: t, postgres: server, url: url, seed: seed, dice: rand.New(rand.NewPCG(seed, 0)), logs: t.ArtifactDir(), upSince: time.Now(),
	}
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = 4
	r.pool, err = pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(r.pool.Close)
	if server != nil {
		require.NoError(t, migrate.Up(t.Context(), r.pool))
	}
	_, err = r.pool.Exec(t.Context(), tables+";"+views)
	require.NoError(t, err)
	t.Cleanup(r.clearAway)
	r.auditor = startAuditor(r)
	return r
}

// clearAway ends what a failed test has left, and tells how to repeat it.
func (r *rig) clearAway() {
	r.auditor.stop()
	for _, p := range r.all() {
		if p.running() {
			_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGKILL)
			<-p.ended
		}
	}
	if !r.t.Failed() {
		return
	}
	r.t.Logf("repeat with: go test ./internal/crash -run '^%s$' -crash.seed %d", r.t.Name(), r.seed)
	for _, p := range r.all() {
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(p.said(r.t)), "\n"), func(line string) bool {
			return strings.Contains(line, "JobExecutor: Job ") // a failure by design
		})
		r.t.Logf("the end of what %s said:\n%s", p.id, strings.Join(lines[max(len(lines)-25, 0):], "\n"))
	}
}

func (r *rig) all() []*process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*process(nil), r.processes...)
}

// workers are the workers that run, paused ones included.
func (r *rig) workers() []*process {
	var running []*process
	for _, p := range r.all() {
		if p.works && p.running() {
			running = append(running, p)
		}
	}
	return running
}

// start runs a command of the application. Its group is its own, so that a terminal's Ctrl-C reaches the tests alone,
// and so that the kernel wakes it when it is stopped and the tests end without a word.
func (r *rig) start(works bool, env map[string]string, args ...string) *process {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	id := fmt.Sprintf("%s-%d", args[0], len(r.processes)+1)
	p := &process{rig: r, id: id, works: works, log: filepath.Join(r.logs, id+".log"), ended: make(chan struct{}), steadySince: time.Now()}
	log, err := os.Create(p.log)
	require.NoError(r.t, err)
	defer log.Close()
	p.cmd = exec.CommandContext(context.Background(), os.Args[0], args...)
	p.cmd.Env = append(ownEnvironment(), childEnv+"=1", "TOWPATH_DATABASE_URL="+r.url, "TOWPATH_CLIENT_ID="+id)
	for name, value := range env {
		p.cmd.Env = append(p.cmd.Env, name+"="+value)
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.input, err = p.cmd.StdinPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // the exit code is asked for where it matters
		p.mu.Lock()
		p.death = time.Now()
		p.mu.Unlock()
		close(p.ended)
	}()
	r.processes = append(r.processes, p)
	return p
}

// ownEnvironment is the environment without what configures Towpath.
func ownEnvironment() []string {
	var env []string
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "TOWPATH_") {
			env = append(env, entry)
		}
	}
	return env
}

// startWorker starts a worker and waits until it works. More are variables over those of the rig.
func (r *rig) startWorker(more map[string]string) *process {
	r.t.Helper()
	p := r.launchWorker(more)
	r.awaitWorker(p)
	return p
}

// launchWorker starts a worker.
func (r *rig) launchWorker(more map[string]string) *process {
	r.t.Helper()
	env := map[string]string{
		"TOWPATH_LISTEN": "off", "TOWPATH_LOG_FORMAT": "text", "TOWPATH_DATABASE_MAX_CONNS": "10", "TOWPATH_GRACE": "10s",
		"TOWPATH_QUEUES": "default=50,slow=20,hold=20",
	}
	maps.Copy(env, more)
	return r.start(true, env, "worker")
}

func (r *rig) awaitWorker(p *process) {
	r.t.Helper()
	r.await(patience, p.id+" works", func(ctx context.Context) (bool, error) {
		if !p.running() {
			return false, fmt.Errorf("%s has ended", p.id)
		}
		return r.is(ctx, "SELECT EXISTS (SELECT FROM towpath.process WHERE client_id = $1)", p.id)
	})
}

// startProducers starts producers, each with a seed of its own, and waits until they enqueue.
func (r *rig) startProducers(n int, args ...string) []*process {
	r.t.Helper()
	producers := make([]*process, n)
	for i := range producers {
		seed := strconv.FormatUint(r.dice.Uint64(), 10)
		producers[i] = r.start(false, nil, append([]string{"produce", "--seed", seed}, args...)...)
	}
	for _, p := range producers {
		r.await(patience, p.id+" enqueues", func(context.Context) (bool, error) {
			said := p.said(r.t)
			if strings.Contains(said, producesSays) {
				return true, nil
			}
			if !p.running() {
				require.FailNow(r.t, "a producer has ended", "%s, saying\n%s", p.id, said)
			}
			return false, nil
		})
	}
	return producers
}

// killPostgres kills the postmaster, lets the outage last, and starts it again.
func (r *rig) killPostgres(outage time.Duration) {
	r.t.Helper()
	r.setPostgres(false)
	require.NoError(r.t, syscall.Kill(r.postgres.PID, syscall.SIGKILL))
	<-r.postgres.Done()
	r.t.Logf("Postgres was killed, for %s", outage)
	<-time.After(outage)
	require.NoError(r.t, r.postgres.Restart(r.t.Context()))
	r.setPostgres(true)
	r.t.Log("Postgres is back")
}

// killBackend kills one backend of a worker's, which makes Postgres end all others and recover.
func (r *rig) killBackend() {
	r.t.Helper()
	r.setPostgres(false)
	defer r.setPostgres(true)
	var pid int
	r.await(patience, "a worker is connected", func(ctx context.Context) (bool, error) {
		return true, r.pool.QueryRow(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'towpath%' ORDER BY state = 'active' DESC LIMIT 1").Scan(&pid)
	})
	require.NoError(r.t, syscall.Kill(pid, syscall.SIGKILL))
	r.t.Log("a backend was killed")
	r.await(patience, "Postgres recovers", func(ctx context.Context) (bool, error) { return r.is(ctx, "SELECT true") })
}

// setPostgres notes that Postgres goes or is back.
func (r *rig) setPostgres(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.upSince = time.Time{}
	if up {
		r.upSince = time.Now()
	}
}

// await polls a condition. Errors of the database count as "not yet".
func (r *rig) await(limit time.Duration, what string, condition func(context.Context) (bool, error)) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for begun := time.Now(); ; {
		ok, err := condition(ctx)
		if ok && err == nil {
			return
		}
		select {
		case <-ctx.Done():
			require.FailNow(r.t, "waited in vain", "%s: not in %s; the last error is %v", what, time.Since(begun).Round(time.Second), err)
		case <-ticker.C:
		}
	}
}

// is answers a question to the database.
func (r *rig) is(ctx context.Context, sql string, args ...any) (yes bool, err error) {
	return yes, r.pool.QueryRow(ctx, sql, args...).Scan(&yes)
}

// awaitTrue waits until the database says yes.
func (r *rig) awaitTrue(limit time.Duration, what, sql string, args ...any) {
	r.t.Helper()
	r.await(limit, what, func(ctx context.Context) (bool, error) { return r.is(ctx, sql, args...) })
}

// exec runs a statement.
func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

// strings reads a column of texts, as soon as the database answers.
func (r *rig) strings(sql string, args ...any) []string {
	r.t.Helper()
	var texts []string
	r.await(patience, sql, func(ctx context.Context) (bool, error) {
		rows, err := r.pool.Query(ctx, sql, args...)
		if err != nil {
			return false, err
		}
		texts, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return true, err
	})
	return texts
}

// awaitRescue waits until a dead process owns no running job any more.
func (r *rig) awaitRescue(p *process) {
	r.t.Helper()
	death, _ := p.dead()
	r.awaitTrue(rescueLimit, "the jobs of "+p.id+" are rescued", `SELECT NOT EXISTS (SELECT FROM towpath.river_job
		WHERE state = 'running' AND attempted_by[array_upper(attempted_by, 1)] = $1)`, p.id)
	r.t.Logf("%s owned no running job %s after its death", p.id, time.Since(death).Round(100*time.Millisecond))
}

// awaitWorking waits until each of the workers has completed a job that it fetched from now on.
func (r *rig) awaitWorking(workers ...*process) {
	r.t.Helper()
	var now time.Time
	r.await(patience, "the database's time", func(ctx context.Context) (bool, error) {
		return true, r.pool.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&now)
	})
	for _, p := range workers {
		r.awaitTrue(patience, p.id+" works again", `SELECT EXISTS (SELECT FROM towpath.job_history
			WHERE attempted_at > $2 AND attempted_by[array_upper(attempted_by, 1)] = $1)`, p.id, now)
		require.True(r.t, p.running(), p.id)
	}
}

// enqueue enqueues jobs and returns their ids.
func (r *rig) enqueue(args ...river.JobArgs) []int64 {
	r.t.Helper()
	client, err := jobs.NewClient(r.pool, nil)
	require.NoError(r.t, err)
	params := make([]river.InsertManyParams, len(args))
	for i := range args {
		params[i].Args = args[i]
	}
	e := &expectations{}
	require.NoError(r.t, pgx.BeginFunc(r.t.Context(), r.pool, func(tx pgx.Tx) error {
		results, err := client.InsertManyTx(r.t.Context(), tx, params)
		if err != nil {
			return err
		}
		for i, result := range results {
			e.add(result, args[i])
		}
		return e.write(r.t.Context(), tx)
	}))
	return e.ids
}

// openGate lets jobs go on that wait for the gate.
func (r *rig) openGate(gate int) {
	r.t.Helper()
	r.exec("INSERT INTO crash.gate VALUES ($1)", gate)
}

// awaitHeld waits until a worker holds n attempts of holdArgs.
func (r *rig) awaitHeld(p *process, n int) {
	r.t.Helper()
	r.awaitTrue(patience, p.id+" holds its jobs", "SELECT count(*) >= $2 FROM crash.attempt WHERE client = $1 AND outcome IS NULL", p.id, n)
}

// leader is the worker that leads.
func (r *rig) leader() *process {
	r.t.Helper()
	var leader *process
	r.await(patience, "a worker leads", func(ctx context.Context) (bool, error) {
		var id string
		if err := r.pool.QueryRow(ctx, "SELECT leader_id FROM towpath.river_leader WHERE expires_at > clock_timestamp()").Scan(&id); err != nil {
			return false, err
		}
		for _, p := range r.workers() {
			if p.id == id {
				leader = p
			}
		}
		return leader != nil, nil
	})
	return leader
}
