package monitor_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/internal/testdb"
)

// agent is a UDP socket that takes what is sent to StatsD.
func agent(t *testing.T) net.PacketConn {
	t.Helper()
	var listening net.ListenConfig
	conn, err := listening.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// packet returns the lines of the next packet.
func packet(t *testing.T, conn net.PacketConn) []string {
	t.Helper()
	buffer := make([]byte, 64<<10)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	n, _, err := conn.ReadFrom(buffer)
	require.NoError(t, err)
	require.LessOrEqual(t, n, 1432, "fits into a frame")
	return strings.Split(string(buffer[:n]), "\n")
}

func emitter(t *testing.T, address string, tags bool) *monitor.StatsD {
	t.Helper()
	s := monitor.NewStatsD(address, tags, testLogger)
	s.Start()
	return s
}

func TestStatsDMessages(t *testing.T) {
	t.Parallel()
	job := &rivertype.JobRow{Queue: "mail-1", Kind: "mail.send:now ü"}
	conn := agent(t)
	for name, test := range map[string]struct {
		tags bool
		do   func(*monitor.StatsD)
		want []string
	}{
		"Began": {false, func(s *monitor.StatsD) { s.AttemptBegan(job) }, []string{"towpath.mail-1.mail_send_now__.prerun:1|c"}},
		"Succeeded": {false, func(s *monitor.StatsD) { s.AttemptEnded(job, "succeeded", 320*time.Millisecond) }, []string{
			"towpath.mail-1.mail_send_now__.postrun:1|c", "towpath.mail-1.mail_send_now__.success:1|c", "towpath.mail-1.mail_send_now__.runtime:320|ms",
		}},
		"Retried": {false, func(s *monitor.StatsD) { s.AttemptEnded(job, "retried", time.Second) }, []string{
			"towpath.mail-1.mail_send_now__.postrun:1|c", "towpath.mail-1.mail_send_now__.failure:1|c",
			"towpath.mail-1.mail_send_now__.retry:1|c", "towpath.mail-1.mail_send_now__.runtime:1000|ms",
		}},
		"Interrupted": {false, func(s *monitor.StatsD) { s.AttemptEnded(job, "interrupted", 0) }, []string{
			"towpath.mail-1.mail_send_now__.postrun:1|c", "towpath.mail-1.mail_send_now__.runtime:0|ms",
		}},
		"Gauge":         {false, func(s *monitor.StatsD) { s.Gauge("queue", "a b", "available", 42) }, []string{"towpath.queue.a_b.available:42|g"}},
		"NegativeGauge": {false, func(s *monitor.StatsD) { s.Gauge("schedule", "x", "status", -1) }, []string{"towpath.schedule.x.status:0|g", "towpath.schedule.x.status:-1|g"}},
		"Tags": {true, func(s *monitor.StatsD) { s.AttemptBegan(job); s.Gauge("queue", "a,b|c#d", "available", -1) }, []string{
			"towpath.prerun:1|c|#queue:mail-1,kind:mail.send:now_ü", "towpath.queue.available:-1|g|#queue:a_b_c_d",
		}},
		"Nothing": {false, func(s *monitor.StatsD) { s.AttemptBegan(&rivertype.JobRow{}) }, []string{"towpath._._.prerun:1|c"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := emitter(t, conn.LocalAddr().String(), test.tags)
			test.do(s)
			s.Stop()
			require.Equal(t, test.want, packet(t, conn))
			require.Zero(t, s.Dropped())
		})
	}
}

func TestStatsDPackets(t *testing.T) {
	t.Parallel()
	conn := agent(t)
	s := emitter(t, conn.LocalAddr().String(), false)
	defer s.Stop()
	const n = 1000
	for i := range n {
		s.Gauge("queue", fmt.Sprint("q", i), "available", -int64(i)-1)
	}
	lines := 0
	for lines < 2*n {
		packet := packet(t, conn)
		require.Zero(t, len(packet)%2, "a negative gauge and its zero travel together")
		lines += len(packet)
	}
	require.Equal(t, 2*n, lines)
}

// Nobody waits: not while nothing is sent at all, and not for an address that means nothing. What is dropped is counted.
func TestStatsDNeverBlocks(t *testing.T) {
	t.Parallel()
	const n = 200_000 // far more than fits
	job := &rivertype.JobRow{Queue: "q", Kind: "k"}
	flood := func(t *testing.T, s *monitor.StatsD) {
		t.Helper()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range n {
				s.AttemptBegan(job)
			}
		}()
		select {
		case <-done:
		case <-time.After(patience):
			require.FailNow(t, "it waits")
		}
	}
	t.Run("NothingIsSent", func(t *testing.T) {
		t.Parallel()
		s := monitor.NewStatsD("127.0.0.1:1", false, testLogger) // never started, as if its goroutine hung
		flood(t, s)
		const packet = 1433 / len("towpath.q.k.prerun:1|c\n") // messages
		kept := n - int(s.Dropped())                          //nolint:gosec // not so many
		require.GreaterOrEqual(t, kept, 256*packet, "256 packets wait")
		require.LessOrEqual(t, kept, 257*packet, "and one that is not full yet")
	})
	t.Run("NoSuchHost", func(t *testing.T) {
		t.Parallel()
		s := emitter(t, "no-such-host.invalid:8125", false)
		flood(t, s)
		s.Stop()
		require.EqualValues(t, n, s.Dropped(), "all of them")
	})
	t.Run("NobodyListens", func(t *testing.T) {
		t.Parallel()
		s := emitter(t, "127.0.0.1:1", false)
		eventually(t, func() bool {
			s.AttemptBegan(job)
			return s.Dropped() > 0
		}, "a packet is refused, of which the next one is told")
		s.Stop()
	})
}

// installCarbon says where the programs of TestStatsDAndGraphite come from.
const installCarbon = "install Debian's npm and graphite-carbon"

// statsdVersion is the StatsD that the counts are sent to.
const statsdVersion = "statsd@0.9.0"

// A hundred jobs of one attempt each, of which three fail and one hangs: the real StatsD and a real Graphite, Prometheus
// and SQL give the same figures.
func TestStatsDAndGraphite(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"node", "npm", "carbon-cache", "whisper-fetch"} {
		program(t, name, installCarbon)
	}
	whisper, statsd := graphite(t)
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString(), "only")
	cfg.StatsD.Addr = statsd
	a := start(t, cfg, app.API, app.Scheduler, app.Worker)
	enqueue(t, pool, "", 96)
	enqueue(t, pool, "fail", 3)
	enqueue(t, pool, "hang", 1)
	eventually(t, func() bool { return lifecycle(t, pool)["finished"] == 99 }, "all but one have ended")
	want := map[string]float64{"prerun": 100, "postrun": 99, "success": 96, "failure": 3}
	got := map[string]float64{}
	eventually(t, func() bool {
		for name := range want {
			got[name] = whisperSum(t, filepath.Join(whisper, "stats_counts/towpath/tasks/task_run", name+".wsp"))
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}, "Graphite counts %v", got)
	require.False(t, exists(filepath.Join(whisper, "stats_counts/towpath/tasks/task_run/retry.wsp")), "nothing was retried")
	eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(whisper, "stats/gauges/towpath/queue/tasks/available.wsp"))
		return err == nil
	}, "the leader sends the depth of the queues")

	var shown map[string]float64
	eventually(t, func() bool { shown = scrape(t, a.Address()).events(); return shown["finished"] == 99 }, "Prometheus sees it")
	inSQL := lifecycle(t, pool)
	for statsd, event := range map[string]string{"prerun": "started", "postrun": "finished", "success": "succeeded", "failure": "failed"} {
		require.InDelta(t, want[statsd], inSQL[event], 0, event)
		require.InDelta(t, want[statsd], shown[event], 0, event)
	}
	require.InDelta(t, 4, got["prerun"]-got["success"], 0)
	require.InDelta(t, 1, got["prerun"]-got["postrun"], 0)
}

// graphite runs carbon and StatsD, and returns the directory of the first and the address of the second.
func graphite(t *testing.T) (whisper, statsd string) {
	t.Helper()
	dir := t.TempDir()
	run(t, "npm", "install", "--no-audit", "--no-fund", "--omit=optional", "--prefix", dir, statsdVersion)
	lines, pickles, queries := freeAddress(t), freeAddress(t), freeAddress(t)
	whisper = filepath.Join(dir, "whisper")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	// As many points as seconds, so that two flushes never meet in one.
	write("storage-schemas.conf", "[all]\npattern = .*\nretentions = 1s:1h\n")
	write("carbon.conf", fmt.Sprintf(`[cache]
STORAGE_DIR = %[1]s
CONF_DIR = %[1]s
LOG_DIR = %[1]s
PID_DIR = %[1]s
LOCAL_DATA_DIR = %[2]s
WHITELISTS_DIR = %[1]s
USER =
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = inf
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = %[3]d
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = %[4]d
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = %[5]d
ENABLE_TAGS = False
LOG_UPDATES = False
LOG_CREATES = False
`, dir, whisper, portOf(t, lines), portOf(t, pickles), portOf(t, queries)))
	serve(t, dir, "carbon-cache", "--debug", "--config="+filepath.Join(dir, "carbon.conf"), "--pidfile="+filepath.Join(dir, "carbon.pid"), "start")
	eventually(t, func() bool {
		conn, err := net.DialTimeout("tcp", lines, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, "carbon listens")

	conn := agent(t) // takes a free UDP port for a moment
	statsd = conn.LocalAddr().String()
	require.NoError(t, conn.Close())
	write("statsd.js", fmt.Sprintf(`{graphitePort: %d, graphiteHost: "127.0.0.1", address: "127.0.0.1", port: %d, mgmt_address: "127.0.0.1", mgmt_port: %d,
		flushInterval: 2000, backends: ["./backends/graphite"]}`, portOf(t, lines), portOf(t, statsd), portOf(t, freeAddress(t))))
	serve(t, dir, "node", filepath.Join(dir, "node_modules/statsd/stats.js"), filepath.Join(dir, "statsd.js"))
	eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(whisper, "stats/statsd/metrics_received.wsp"))
		return err == nil || exists(filepath.Join(whisper, "stats_counts/statsd"))
	}, "StatsD has flushed")
	return whisper, statsd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// whisperSum adds up all points of a whisper file, or returns -1 when there is none.
func whisperSum(t *testing.T, file string) float64 {
	t.Helper()
	if !exists(file) {
		return -1
	}
	var points struct{ Values []*float64 }
	require.NoError(t, json.Unmarshal([]byte(run(t, "whisper-fetch", "--json", "--from=0", file)), &points))
	sum := 0.0
	for _, value := range points.Values {
		if value != nil {
			sum += *value
		}
	}
	return sum
}
