package bench

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 3, median([]float64{5, 1, 3}), 0)
	require.InDelta(t, 2.5, median([]float64{4, 1, 3, 2}), 0)
	require.True(t, math.IsNaN(median(nil)))
}

func TestSpreadIsInPercentOfTheMedian(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 50, spread([]float64{100, 80, 130}), 1e-9)
	require.InDelta(t, 0, spread([]float64{7}), 0)
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	require.Equal(t, time.Duration(50), percentile(hundred, 50))
	require.Equal(t, time.Duration(95), percentile(hundred, 95))
	require.Equal(t, time.Duration(100), percentile(hundred, 99.5))
	require.Equal(t, time.Duration(9), percentile([]time.Duration{9}, 50))
	require.Zero(t, percentile(nil, 50))
}

func TestSlope(t *testing.T) {
	t.Parallel()
	// 1,000 jobs/s on average, 100 less every minute.
	require.InDelta(t, -10, slope([]Point{{0, 1100}, {60, 1000}, {120, 900}}), 1e-9)
	require.InDelta(t, 0, slope([]Point{{0, 500}, {60, 500}}), 1e-9)
	require.Zero(t, slope([]Point{{0, 500}}))
}

// A machine that becomes half as fast between rounds changes no ratio.
func TestRatioIsTakenRoundByRound(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 2, pairedRatio([]float64{200, 100, 210}, []float64{100, 50, 100}), 0)
	require.True(t, math.IsNaN(pairedRatio([]float64{1}, []float64{0})))
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	require.Equal(t, "1,234,568", whole(1234567.8))
	require.Equal(t, "-1,234", whole(-1234))
	require.Equal(t, "123", whole(123.4))
	require.Equal(t, "12.3", short(12.34))
	require.Equal(t, "0.12", short(0.123))
	require.Equal(t, "1,235", short(1234.6))
}

func TestProcessLine(t *testing.T) {
	t.Parallel()
	p, err := parseStat([]byte("77 (a (b) c) S 12 77 77 0 -1 4194304 150 2700 0 4 250 50 30 20 20 0 1 0 100 0 0"))
	require.NoError(t, err)
	require.Equal(t, process{command: "a (b) c", parent: 12, own: 3 * time.Second, reaped: 500 * time.Millisecond}, p)
	_, err = parseStat([]byte("77 postgres S"))
	require.ErrorContains(t, err, "no command")
	_, err = parseStat([]byte("77 (postgres) S 12"))
	require.ErrorContains(t, err, "too short")
}

func TestAnotherDatabase(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"postgres://u:p%40@h:5432/db?sslmode=disable": "postgres://u:p%40@h:5432/other?sslmode=disable",

		"host=h dbname=db": "host=h dbname=db dbname=other",
	} {
		got, err := withDatabase(from, "other")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestMixHasEveryKind(t *testing.T) {
	t.Parallel()
	kinds := map[string]int{}
	uniques := 0
	for _, params := range batch(0, 200, mixed) {
		kinds[params.Args.Kind()]++
		if params.InsertOpts != nil && params.InsertOpts.UniqueOpts.ByArgs {
			uniques++
		}
	}
	require.Equal(t, map[string]int{
		"bench_flaky": 2, "bench_unique": 4, "bench_labeled": 20, "bench_plain": 86, "bench_other": 88,
	}, kinds)
	require.Equal(t, 4, uniques)
	require.Equal(t, ends{completed: 200, retried: 2}, endsOf(200))
	require.Equal(t, ends{completed: 101, retried: 2}, endsOf(101))
}

// The depth of a queue is what was due and had not started: never of jobs that start when they are due, and all of them
// where none starts before the last one is due.
func TestDepth(t *testing.T) {
	t.Parallel()
	of := func(wait int64) *load {
		l := newLoad(120, true)
		for n := range 120 {
			l.inserted[n].Store(int64(n) * 1000)
			l.started[n].Store(int64(n)*1000 + wait)
		}
		return l
	}
	middle, most := of(1).depth(20, 120)
	require.Zero(t, middle)
	require.InDelta(t, 1, most, 0)
	middle, most = of(10_500).depth(20, 120)
	require.InDelta(t, 11, middle, 1)
	require.InDelta(t, 11, most, 0)
	_, most = of(1_000_000).depth(20, 120)
	require.InDelta(t, 100, most, 0)
}
