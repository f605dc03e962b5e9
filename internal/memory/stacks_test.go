package memory_test

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/memory"
)

// startingStack is how large a stack is that a goroutine begins with, in bytes, from a collection on.
func startingStack() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/stack/starting-size:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// ofAJob is the stack that goroutines shall begin with.
const ofAJob = 8 << 10

// becomes collects until goroutines begin with the stack of a job, or no longer do: those that are looked at need a moment
// to begin, and to end.
func becomes(large bool) bool {
	for range 10_000 {
		if (startingStack() == ofAJob) == large {
			return true
		}
		runtime.Gosched()
	}
	return false
}

func TestStacksSufficeForAJob(t *testing.T) {
	// Goroutines that wait with hardly anything on their stacks, as a process has that works jobs. Without them the average is
	// that of the few that run a test.
	for range 30 {
		go func() { <-t.Context().Done() }()
	}
	require.True(t, becomes(false), "goroutines begin with %d bytes", startingStack())
	restore := memory.Tune(memory.Settings{})
	require.True(t, becomes(true), "goroutines begin with %d bytes", startingStack())
	restore()
	// With how many they begin then depends on what the few others use that this process has.
	require.True(t, becomes(false), "goroutines begin with %d bytes", startingStack())
	require.Less(t, startingStack(), uint64(ofAJob))
}
