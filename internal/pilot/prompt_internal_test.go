package pilot

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A finisher waits for more ends, but not once there is a whole batch of them.
func TestLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &finisher{filled: make(chan struct{}, 1), active: true}
		begin := time.Now()
		f.linger(promptLinger)
		require.Equal(t, promptLinger, time.Since(begin))

		begin = time.Now()
		time.AfterFunc(time.Millisecond, func() { f.add("", make([]ending, promptBatch-1)...) })
		time.AfterFunc(2*time.Millisecond, func() { f.add("", ending{}) })
		f.linger(promptLinger)
		require.Equal(t, 2*time.Millisecond, time.Since(begin))
		f.linger(promptLinger)
		require.Equal(t, 2*time.Millisecond, time.Since(begin), "there still is one")
	})
}

// Whoever joins waits for what came before, and no longer than its context.
func TestJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &finisher{pilot: &Pilot{held: newHeld()}, filled: make(chan struct{}, 1), active: true}
		require.NoError(t, f.join(t.Context(), "", nil), "nothing is on its way")
		f.add("", ending{id: 1}, ending{id: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.join(ctx, "", nil), context.DeadlineExceeded)

		joined := make(chan error)
		go func() { joined <- f.join(t.Context(), "", nil) }()
		synctest.Wait()
		f.pass(1)
		synctest.Wait()
		require.Empty(t, joined, "the other one is still on its way")
		f.add("", ending{id: 3})
		f.pass(1)
		require.NoError(t, <-joined, "what comes later is not waited for")
	})
}
