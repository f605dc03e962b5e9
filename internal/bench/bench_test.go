package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/internal/ticker"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// tiny options make a benchmark that proves nothing but that it runs.
func tiny(t *testing.T) Options {
	t.Helper()
	cfg := &config.Config{}
	cfg.Database.URL = testdb.URL(t)
	return Options{
		Config: cfg, Rounds: 1, Jobs: 300, Duration: 500 * time.Millisecond, Rate: 400, Finished: 2000, Waiting: 1000,
		SkipDiskCheck: true,
		Worker: func(_ *config.Config, pool *pgxpool.Pool, logger *slog.Logger) workers.Config {
			schedules := ticker.New(ticker.Config{Pool: pool, Logger: logger, Listen: true})
			return workers.Config{Pool: pool, Client: jobs.Config{Lead: []func(context.Context){schedules.Lead}}}
		},
	}
}

func TestEveryBenchmark(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		has  []Metric
	}{
		{"work", []Metric{JobsPerSecond, GoCPU, WALPerJob, PeakMemory, StatementsPerSecond}},
		{"insert", []Metric{JobsPerSecond, P50, P95, P99, GoCPU, WALPerJob, StatementsPerJob}},
		{"latency", []Metric{P50, P95, P99, FinishP50, FinishP95}},
		{"horizon", []Metric{JobsPerSecond, SlopePerMinute}},
		{"sustain", []Metric{JobsPerSecond, P50, P95, P99, DepthP50, DepthMax, PeakMemory}},
		{"large", []Metric{JobsPerSecond, AgainstSmall}},
		{"idle", []Metric{StatementsPerSecond, GoLoad, PeakMemory}},
		{"burst", []Metric{DrainSeconds, P50, P95}},
		{"schedules", []Metric{FireSeconds, GoCPU, WALPerJob, GoLoad, StatementsPerSecond}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			report, err := Run(t.Context(), c.name, tiny(t))
			require.NoError(t, err)
			object := decode(t, report)
			require.Equal(t, c.name, object["bench"])
			require.InDelta(t, 1, object["rounds"], 0)
			for _, contender := range []string{"towpath", "river"} {
				require.Contains(t, object, contender)
				for _, metric := range c.has {
					require.Contains(t, object[contender], string(metric))
				}
				if figures := object[contender].(map[string]any); figures[string(PostgresLoad)] != nil { // the server is on this machine
					require.Contains(t, figures, string(ConnectionLoad))
				}
			}
			table := &strings.Builder{}
			require.NoError(t, report.WriteTable(table))
			require.Contains(t, table.String(), "Towpath ÷ River")
			requireXML(t, report)
		})
	}
}

func decode(t *testing.T, report *Report) map[string]any {
	t.Helper()
	raw, err := json.Marshal(report)
	require.NoError(t, err)
	object := map[string]any{}
	require.NoError(t, json.Unmarshal(raw, &object))
	return object
}

func requireXML(t *testing.T, report *Report) {
	t.Helper()
	chart := &bytes.Buffer{}
	require.NoError(t, report.WriteSVG(chart))
	texts := 0
	for decoder := xml.NewDecoder(chart); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if element, ok := token.(xml.StartElement); ok && element.Name.Local == "text" {
			texts++
		}
	}
	require.GreaterOrEqual(t, texts, 4)
}

func TestJSONNamesTheRatio(t *testing.T) {
	t.Parallel()
	round := func(rate float64) *outcome { return &outcome{figures: Figures{JobsPerSecond: rate, WALPerJob: 10}} }
	report := &Report{Bench: "work", Rounds: 3, Cores: 2, Server: "15.0"}
	report.add(&measured{
		benchCase: benchCase{headline: JobsPerSecond},
		variants:  []variant{{key: "towpath", title: "Towpath"}, {key: "river", title: "River"}},
		settings:  []string{"ours", "theirs"},
		rounds:    [][]*outcome{{round(300), round(200), round(150)}, {round(150), round(100), round(50)}},
	})
	object := decode(t, report)
	require.Equal(t, map[string]any{"jobs_per_s": 200.0, "wal_bytes_per_job": 10.0}, object["towpath"])
	require.Equal(t, map[string]any{"jobs_per_s": 100.0, "wal_bytes_per_job": 10.0}, object["river"])
	require.InDelta(t, 2, object["ratio"], 0)
	require.Equal(t, "jobs_per_s", object["ratio_of"])
	require.InDelta(t, 100, object["noise_pct"], 1e-9)
	require.NotContains(t, object, "cases")
	require.Equal(t, map[string]any{"river": 2.0}, object["ratios"])
}

// A peer is measured in the same rounds, so that its ratio is taken round by round as River's is. A figure that would be
// divided by nothing is no ratio.
func TestEveryOtherContenderHasItsRatio(t *testing.T) {
	t.Parallel()
	round := func(rate float64) *outcome { return &outcome{figures: Figures{JobsPerSecond: rate}} }
	report := &Report{Bench: "work", Rounds: 3, Cores: 2, Server: "15.0"}
	report.add(&measured{
		benchCase: benchCase{headline: JobsPerSecond},
		variants:  append([]variant{towpathVariant(), riverVariant()}, (&peers{}).variants()...),
		settings:  make([]string, 4),
		rounds: [][]*outcome{
			{round(300), round(200), round(100)},
			{round(150), round(100), round(50)},
			{round(100), round(50), round(10)},
			{round(0), round(0), round(0)},
		},
	})
	object := decode(t, report)
	require.InDelta(t, 2, object["ratio"], 0)
	require.Equal(t, map[string]any{"river": 2.0, "graphile_worker": 4.0}, object["ratios"])
	table := &strings.Builder{}
	require.NoError(t, report.WriteTable(table))
	require.Contains(t, table.String(), "\nratio of jobs/s: 2.00; noise (spread of River's rounds): 100%\n"+
		"ratio of jobs/s, Towpath ÷ graphile-worker: 4.00\n")
	require.NotContains(t, table.String(), "÷ pg-boss")
}

// The benchmark measures what users run: the process's own configuration, which it neither replaces nor thins out.
func TestTowpathRunsAsConfigured(t *testing.T) {
	t.Parallel()
	asked := 0
	b := &bench{logger: slog.New(slog.DiscardHandler)}
	b.opts = Options{
		Worker: func(_ *config.Config, pool *pgxpool.Pool, logger *slog.Logger) workers.Config {
			asked++
			cfg := workers.Config{Pool: pool, LogLevel: slog.LevelError}
			cfg.Client.Logger, cfg.Client.JobTimeout = logger, time.Hour
			return cfg
		},
	}.over(Options{})
	want := b.opts.Worker(nil, nil, b.logger)
	require.Equal(t, want, towpath{b}.workersConfig(nil))
	require.Equal(t, 2, asked)

	client, err := towpath{b}.producer(nil)
	require.NoError(t, err)
	require.IsType(t, &jobs.Client{}, client)

	b.opts.Worker = Options{}.over(Options{}).Worker
	require.Equal(t, "default: 200 slots, cooldown 2ms; configuration of `towpath worker`", towpath{b}.settings())
	b.opts.Workers = 7
	require.Contains(t, towpath{b}.settings(), "default: 7 slots")
}

// A round whose result is not in the database is no result.
func TestARoundThatLostSomethingFails(t *testing.T) {
	t.Parallel()
	b, s := openOne(t)
	r := &run{bench: b}
	p := plan{warm: 50, measured: 100, rest: 50}
	require.NoError(t, s.prepare(t.Context(), p.total()))
	_, err := r.work(t.Context(), s, p, 0)
	require.NoError(t, err)

	for _, sql := range []string{
		"DELETE FROM towpath.job_history WHERE id = (SELECT max(id) FROM towpath.job_history)",
		"DELETE FROM towpath.counter_delta WHERE event = 'retried'; DELETE FROM towpath.counter WHERE event = 'retried'",
	} {
		tx, err := s.pool.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		require.NoError(t, tx.Commit(t.Context()))
		require.ErrorContains(t, s.verify(t.Context(), s.pool, endsOf(p.total())), "check the result")
	}
}

// What is said of large tables is said against small ones, so that only the size may tell them apart: both are filled and
// checked by the same code.
func TestLargeTablesAreFilledAndCheckedLikeSmallOnes(t *testing.T) {
	t.Parallel()
	p := plan{warm: 50, measured: 100, rest: 150}
	mix := map[string]int{}
	for _, params := range batch(0, p.total(), mixed) {
		mix[params.Args.Kind()]++
	}
	for _, v := range []variant{towpathVariant(), riverVariant()} {
		t.Run(v.title, func(t *testing.T) {
			t.Parallel()
			b, s := openAs(t, v)
			r := &run{bench: b}
			for _, finished := range []int{0, 2000} {
				require.NoError(t, r.fill(t.Context(), s, finished, p.total()))
				require.Equal(t, mix, waitingKinds(t, s))
				require.Positive(t, countOf(t, s, "SELECT relallvisible FROM pg_class WHERE oid = $1::regclass", s.table("river_job")), "vacuumed")
				_, err := r.work(t.Context(), s, p, finished)
				require.NoError(t, err)
				require.Empty(t, waitingKinds(t, s), "all of them are worked")
			}
			want := endsOf(p.total())
			want.past = 2000
			for _, condition := range []string{"attempted_by = ARRAY['bench-past']", "attempted_by <> ARRAY['bench-past']"} {
				require.NoError(t, s.verify(t.Context(), s.pool, want))
				row := "FROM " + s.finished() + " WHERE id = (SELECT max(id) FROM " + s.finished() + " WHERE " + condition + ")"
				require.EqualValues(t, 1, countOf(t, s, "WITH gone AS (DELETE "+row+" RETURNING 1) SELECT count(*) FROM gone"))
				require.ErrorContains(t, s.verify(t.Context(), s.pool, want), "check the result")
				want.past--
			}
		})
	}
}

func waitingKinds(t *testing.T, s *system) map[string]int {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), "SELECT kind FROM "+s.table("river_job")+" WHERE state <> 'completed'")
	require.NoError(t, err)
	kinds, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	counts := map[string]int{}
	for _, kind := range kinds {
		counts[kind]++
	}
	return counts
}

func countOf(t *testing.T, s *system, sql string, args ...any) int64 {
	t.Helper()
	var n int64
	require.NoError(t, s.pool.QueryRow(t.Context(), sql, args...).Scan(&n))
	return n
}

func openOne(t *testing.T) (*bench, *system) {
	t.Helper()
	return openAs(t, towpathVariant())
}

func openAs(t *testing.T, v variant) (*bench, *system) {
	t.Helper()
	b := &bench{
		opts: tiny(t).over(Options{}), progress: newProgress(io.Discard), logger: slog.New(slog.DiscardHandler),
		profile: &profiler{}, contenders: map[string]contender{},
	}
	t.Cleanup(func() { require.NoError(t, b.close(context.WithoutCancel(t.Context()))) })
	require.NoError(t, b.open(t.Context()))
	c, err := b.contender(t.Context(), v)
	require.NoError(t, err)
	return b, c.(*system)
}

func TestNoDatabaseIsLeftBehind(t *testing.T) {
	t.Parallel()
	b, s := openOne(t)
	name := s.db.name
	require.NoError(t, b.close(t.Context()))
	b.contenders, b.server = map[string]contender{}, nil
	conn, err := pgx.Connect(t.Context(), b.opts.Config.Database.URL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var there bool
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&there))
	require.False(t, there)
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	_, err := Run(t.Context(), "no_such", Options{})
	require.ErrorContains(t, err, `"no_such"`)
	_, err = Run(t.Context(), "work", Options{Jobs: -1})
	require.ErrorContains(t, err, "jobs must not be negative")
	_, err = Run(t.Context(), "latency", Options{Cases: []string{"rate_100", "rate_7"}})
	require.ErrorContains(t, err, `case "rate_7": there is none of that name; the cases are rate_100, rate_1000`)
}

// A fleet that has just started is not idle, so that the pause before a burst must not be nothing where no length is given.
func TestABurstFallsIntoAnIdleFleet(t *testing.T) {
	t.Parallel()
	require.Equal(t, burstSettle, Options{}.over(burstScenario().defaults).settleBeforeBurst())
	require.Equal(t, burstSettle, Options{Duration: time.Hour}.settleBeforeBurst())
	require.Equal(t, time.Second, Options{Duration: time.Second}.settleBeforeBurst())
}

func TestMetersOfTheServerAndOfThisProcess(t *testing.T) {
	t.Parallel()
	b, s := openOne(t)
	before, err := b.meter.read(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.prepare(t.Context(), 2000))
	after, err := b.meter.read(t.Context())
	require.NoError(t, err)
	f := after.figures(before, 2000)
	require.Positive(t, f[WALPerJob])
	require.Positive(t, f[GoCPU])
	require.Positive(t, f[StatementsPerSecond])
	require.True(t, after.pgSeen, "the test server runs on this machine")
	require.Positive(t, f[PostgresCPU])
}

func TestPeersNeedNpm(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := installPeers(t.Context(), newProgress(io.Discard))
	require.ErrorContains(t, err, "install Node.js with npm")
}

func TestPeerMilestones(t *testing.T) {
	t.Parallel()
	b, _ := openOne(t)
	r := &run{bench: b}
	follow := func(lines string) (Figures, error) {
		return r.follow(t.Context(), json.NewDecoder(strings.NewReader(lines)), io.Discard)
	}
	f, err := follow(`{"event":"ready"}
{"event":"warm","count":100,"cpu_us":1000}
{"event":"measured","count":300,"cpu_us":9000}
{"event":"worked","count":320}
{"event":"done","left":0,"max_rss_bytes":5000}`)
	require.NoError(t, err)
	require.InDelta(t, 40, f[NodeCPU], 1e-9)
	require.InDelta(t, 5000, f[NodeMemory], 0)
	require.NotContains(t, f, PeakMemory, "another measure, which does not belong beside it")
	require.NotContains(t, f, GoCPU)
	_, err = follow(`{"event":"ready"}`)
	require.ErrorContains(t, err, "ended before its jobs did")
	_, err = follow(`{"event":"done","left":3}`)
	require.ErrorContains(t, err, "3 jobs left")
}
