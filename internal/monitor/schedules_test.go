package monitor_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/monitor"
	"github.com/towpath/towpath/internal/testdb"
)

// yearly is an expression that does not come up in a test: what runs is run by hand.
const yearly = "@yearly"

// ofSchedules are the figures of one sort, by schedule.
func (f figures) ofSchedules(what string) map[string]float64 {
	found := map[string]float64{}
	for name, value := range f {
		if schedule, ok := strings.CutPrefix(name, "towpath_schedule_"+what+`{schedule="`); ok {
			found[strings.TrimSuffix(schedule, `"}`)] = value
		}
	}
	return found
}

// inSQL are the same from a column, or an expression, of the view.
func inSQL(t *testing.T, pool *pgxpool.Pool, column string) map[string]float64 {
	t.Helper()
	rows, err := pool.Query(t.Context(), `SELECT name, extract(epoch FROM `+column+`)::float8 FROM towpath.schedules WHERE `+column+` IS NOT NULL`)
	require.NoError(t, err)
	found := map[string]float64{}
	var (
		name  string
		value float64
	)
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error {
		found[name] = value
		return nil
	})
	require.NoError(t, err)
	return found
}

// sentStatuses waits for the next gauges of schedules that an agent is sent.
func sentStatuses(t *testing.T, from <-chan string, want int) (lines []string) {
	t.Helper()
	timeout := time.After(patience)
	for len(lines) < want {
		select {
		case line := <-from:
			if strings.HasPrefix(line, "towpath.schedule.") {
				lines = append(lines, line)
			}
		case <-timeout:
			require.Fail(t, "gauges are missing", "%v", lines)
		}
	}
	return lines
}

// listen returns the address of an agent, and the lines that it is sent until the test ends.
func listen(t *testing.T) (address string, lines <-chan string) {
	t.Helper()
	conn, all := agent(t), make(chan string, 10_000)
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, _, err := conn.ReadFrom(buffer)
			if err != nil {
				return // closed
			}
			for line := range strings.SplitSeq(string(buffer[:n]), "\n") {
				all <- line
			}
		}
	}()
	return conn.LocalAddr().String(), all
}

// What schedules did under a real leader, as Prometheus and StatsD are told of it: one succeeds, one fails, one runs for
// longer than it may, one has never run and one is paused.
func TestSchedules(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	cfg := configure(t, pool.Config().ConnString(), "only")
	var lines <-chan string
	cfg.StatsD.Addr, lines = listen(t)
	for name, how := range map[string]string{"good": "", "bad": "fail", "long": "hang", "new": "", "paused": ""} {
		_, err := pool.Exec(t.Context(), `SELECT towpath.put_schedule($1, $2, 'task.run', json_build_object('how', $3::text), queue => 'tasks',
			max_attempts => 1, longest => CASE WHEN $1 = 'long' THEN interval '1 second' END)`, name, yearly, how)
		require.NoError(t, err)
	}
	_, err := pool.Exec(t.Context(), `SELECT towpath.pause_schedule('paused')`)
	require.NoError(t, err)
	a := start(t, cfg, app.API, app.Scheduler, app.Worker)
	for _, name := range []string{"good", "bad", "long"} {
		_, err := pool.Exec(t.Context(), `SELECT towpath.run_schedule($1)`, name)
		require.NoError(t, err)
	}

	want := map[string]float64{"good": 1, "bad": -1, "long": -1, "new": 1}
	var found figures
	eventually(t, func() bool {
		found = scrape(t, a.Address())
		succeeded := found.ofSchedules("last_success_timestamp_seconds")["good"] > 0
		return succeeded && fmt.Sprint(found.ofSchedules("status")) == fmt.Sprint(want)
	}, "the leader has seen how they are")
	for series, of := range map[string]struct {
		column    string
		schedules []string
	}{
		"next_run_timestamp_seconds":     {"next_run", []string{"bad", "good", "long", "new"}},
		"last_start_timestamp_seconds":   {"last_start", []string{"bad", "good", "long"}},
		"last_success_timestamp_seconds": {"last_success", []string{"good"}},
		"last_duration_seconds":          {"last_duration", []string{"good"}}, // a run that failed has none
	} {
		shown, kept := found.ofSchedules(series), inSQL(t, pool, of.column)
		require.Equal(t, of.schedules, slices.Sorted(maps.Keys(shown)), series)
		require.InDeltaMapValues(t, kept, shown, 0.001, series)
	}
	require.WithinDuration(t, time.Now(), time.UnixMilli(int64(1000*found.ofSchedules("last_start_timestamp_seconds")["bad"])), patience)

	// Those that were sent before were perhaps of a moment when the runs had not ended.
	eventually(t, func() bool {
		sent := sentStatuses(t, lines, 1)
		if sent[0] != "towpath.schedule.bad.status:0|g" {
			return false
		}
		sent = append(sent, sentStatuses(t, lines, 5)...)
		return slices.Equal(sent, []string{
			"towpath.schedule.bad.status:0|g", "towpath.schedule.bad.status:-1|g", "towpath.schedule.good.status:1|g",
			"towpath.schedule.long.status:0|g", "towpath.schedule.long.status:-1|g", "towpath.schedule.new.status:1|g",
		})
	}, "the leader sends them")
}

// When nobody leads, nobody writes down that a schedule is late, and it is shown all the same.
func TestSchedulesWithoutLeader(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	_, err := pool.Exec(t.Context(), `
		SELECT towpath.put_schedule(name, '@yearly', 'task.run', grace => '10 minutes') FROM unnest('{future,late,missed,paused}'::text[]) name;
		UPDATE towpath.schedule SET settled = true, next_tick = now() + late, next_due = now() + late
			FROM (VALUES ('future', interval '1 day'), ('late', '-1 minute'), ('missed', '-11 minutes'), ('paused', '-1 hour')) v (schedule, late)
			WHERE name = schedule;
		UPDATE towpath.schedule SET last_start = '2026-01-02 03:04:05.678Z', last_success = '2026-01-02 03:04:06.5Z', last_duration = '1.25 seconds' WHERE name = 'late';
		SELECT towpath.pause_schedule('paused');`)
	require.NoError(t, err)
	found := scrape(t, start(t, configure(t, pool.Config().ConnString(), "api"), app.API).Address())
	require.Equal(t, map[string]float64{"future": 1, "late": 0, "missed": -1}, found.ofSchedules("status"))
	require.InDeltaMapValues(t, inSQL(t, pool, "next_run"), found.ofSchedules("next_run_timestamp_seconds"), 0.001)
	require.Len(t, found.ofSchedules("next_run_timestamp_seconds"), 3)
	require.Equal(t, map[string]float64{"late": 1767323045.678}, found.ofSchedules("last_start_timestamp_seconds"))
	require.Equal(t, map[string]float64{"late": 1767323046.5}, found.ofSchedules("last_success_timestamp_seconds"))
	require.Equal(t, map[string]float64{"late": 1.25}, found.ofSchedules("last_duration_seconds"))

	address, lines := listen(t)
	statsd := emitter(t, address, false)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		monitor.New(monitor.Config{Pool: pool, ID: "x", MaxKinds: 10, Logger: testLogger}).LeadStatsD(ctx, statsd)
	}()
	require.Equal(t, []string{
		"towpath.schedule.future.status:1|g", "towpath.schedule.late.status:0|g", "towpath.schedule.missed.status:0|g", "towpath.schedule.missed.status:-1|g",
	}, sentStatuses(t, lines, 4))
	cancel()
	<-ended
	statsd.Stop()
	require.Zero(t, statsd.Dropped())
}
