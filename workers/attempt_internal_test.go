package workers

import (
	"context"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

// One timer serves the soft limits of all attempts, whatever the order in which they begin and end.
func TestSoftClock(t *testing.T) {
	t.Parallel()
	rt, _ := testRuntime(&sink{})
	rt.recorder.start()
	defer rt.recorder.stop()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			s := &settings{softLimit: time.Duration(1+(i*37)%50) * time.Millisecond}
			a := rt.begin(t.Context(), &rivertype.JobRow{ID: int64(i), Attempt: 1}, s, (&seats{}).take(t.Context()))
			defer rt.end(a)
			begun := time.Now()
			a.watchSoftLimit(a)
			if i%4 == 0 { // one that ends before
				a.soft.at.Store(0)
				return
			}
			<-SoftLimit(a)
			if took := time.Since(begun); took < s.softLimit {
				t.Errorf("a limit of %s passed after %s", s.softLimit, took)
			}
			<-a.soft.channel() // whoever asks later sees that it has passed
		})
	}
	all.Wait()
	require.Empty(t, rt.attempts())
	require.Zero(t, rt.running)
}

// A soft limit that is not below the hard one is never reached.
func TestSoftLimitBehindTheHardOne(t *testing.T) {
	t.Parallel()
	rt, _ := testRuntime(&sink{})
	a := rt.begin(t.Context(), &rivertype.JobRow{ID: 1, Attempt: 1}, &settings{softLimit: time.Hour}, (&seats{}).take(t.Context()))
	ctx, cancel := context.WithTimeout(a, time.Minute)
	defer cancel()
	a.watchSoftLimit(ctx)
	require.Zero(t, a.soft.at.Load())
	a.watchSoftLimit(a)
	require.NotZero(t, a.soft.at.Load())
}

// The labels of a seat are those of the attempt's context, beside what the client was started with, and they outlast
// labels that the handler sets for a while.
func TestSeatLabels(t *testing.T) {
	t.Parallel()
	pprof.Do(t.Context(), pprof.Labels("service", "quay"), func(ctx context.Context) {
		rt, _ := testRuntime(&sink{})
		kind := &seats{kind: "tow"}
		a := rt.begin(ctx, &rivertype.JobRow{ID: 1, Attempt: 1}, &settings{}, kind.take(ctx))
		a.seat.label()
		got := map[string]string{}
		pprof.ForLabels(a, func(key, value string) bool {
			got[key] = value
			return true
		})
		require.Equal(t, map[string]string{"service": "quay", labelKind: "tow", labelSeat: a.seat.number}, got)
		pprof.Do(a, pprof.Labels("step", "one"), func(context.Context) {})
		require.Contains(t, a.seat.stack(), "TestSeatLabels")

		kind.giveBack(a.seat)
		require.Same(t, a.seat, kind.take(ctx), "seats are used again")
		require.NotEqual(t, a.seat.number, kind.take(ctx).number, "but not by two at once")
	})
}
