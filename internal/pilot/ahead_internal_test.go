package pilot

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// counted is a queue whose slots became free so often within the last 100 ms.
func counted(freed int) *ahead {
	return &ahead{freed: freed, counted: time.Now().Add(-100 * time.Millisecond)}
}

// The clock stands still, so that a slow machine counts the same.
func TestWantAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const half = 2 // the first count is worth half
		a := counted(4000)
		got := a.want(100, true)
		require.Positive(t, got)
		require.Equal(t, 40_000/half*60/1000, got, "what 60 ms bring")
		require.Equal(t, got, a.size())
		again := a.want(100, true)
		require.Equal(t, got, again, "counted a moment ago")

		require.Zero(t, counted(4000).want(100, false), "a queue that has no more")
		require.Zero(t, counted(100).want(100, true), "long jobs")
		require.Zero(t, counted(4000).want(1000, true), "slots enough")
		require.Equal(t, aheadMost, counted(1_000_000).want(100, true))

		a = counted(4000)
		a.off = time.Now().Add(time.Hour)
		require.Zero(t, a.want(100, true), "some got no slot a moment ago")
		a = counted(4000)
		a.close()
		require.Zero(t, a.want(100, true))

		a = counted(4000)
		a.counted = time.Now().Add(-time.Hour)
		a.rate = 1e6
		require.Zero(t, a.want(100, true), "an hour ago does not count")
	})
}

// One claim at a time; who comes meanwhile waits for its end.
func TestOneClaimAtATime(t *testing.T) {
	t.Parallel()
	a := &ahead{}
	end, under := a.claim()
	require.NotNil(t, end)
	require.Nil(t, under)
	none, under := a.claim()
	require.Nil(t, none)
	end()
	<-under
	end, _ = a.claim()
	require.NotNil(t, end)
}

// What was fetched ahead begins without a pause; fetches keep theirs.
func TestCool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const cooldown = 2 * time.Millisecond
		a := &ahead{cooldown: cooldown}
		begin := time.Now()
		require.NoError(t, a.cool(t.Context()))
		require.Zero(t, time.Since(begin), "the first one")
		require.NoError(t, a.cool(t.Context()))
		require.NoError(t, a.cool(t.Context()))
		require.Equal(t, 2*cooldown, time.Since(begin))
		<-time.After(time.Second)
		begin = time.Now()
		require.NoError(t, a.cool(t.Context()))
		require.Zero(t, time.Since(begin), "after a rest")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, a.cool(ctx), context.Canceled)
	})
}
