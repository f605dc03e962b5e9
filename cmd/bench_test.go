package cmd

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// bench prints a small benchmark's report.
func benchReport(t *testing.T, args ...string) map[string]any {
	t.Helper()
	t.Setenv("TOWPATH_DATABASE_URL", testdb.URL(t))
	out, progress := &strings.Builder{}, &strings.Builder{}
	p := newProgram(nil)
	p.stdout, p.stderr = out, progress
	require.Equal(t, ExitOK, p.run(t.Context(), append([]string{"bench", "work", "--rounds", "1", "--jobs", "200", "--json"}, args...)), progress)
	report := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(out.String()), &report))
	require.Contains(t, progress.String(), "round 1/1  Towpath")
	return report
}

// What is measured is what `towpath worker` runs with its defaults, and follows the same variables.
func TestBenchMeasuresTheWorkersConfiguration(t *testing.T) {
	report := benchReport(t)
	require.Equal(t, "work", report["bench"])
	require.Contains(t, report["towpath"], "jobs_per_s")
	require.Contains(t, report["river"], "jobs_per_s")
	require.Contains(t, report, "ratio")
	require.Equal(t, "default: 200 slots, cooldown 2ms; configuration of `towpath worker`", report["settings"].(map[string]any)["towpath"])

	t.Setenv("TOWPATH_QUEUES", "default=33")
	t.Setenv("TOWPATH_FETCH_COOLDOWN", "5ms")
	report = benchReport(t)
	require.Equal(t, "default: 33 slots, cooldown 5ms; configuration of `towpath worker`", report["settings"].(map[string]any)["towpath"])
}

func TestBenchNamesItsBenchmarks(t *testing.T) {
	errs := &strings.Builder{}
	p := newProgram(nil)
	p.stderr = errs
	require.Equal(t, ExitUsage, p.run(t.Context(), []string{"bench"}))
	require.Contains(t, errs.String(), "burst, horizon, idle, insert, large, latency, schedules, sustain, work")
}
