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

// becomes collects until goroutines begin with such a stack: those that are looked at need a moment to begin, and to end.
func becomes(want uint64) bool {
	for range 10_000 {
		if startingStack() == want {
			return true
		}
		runtime.Gosched()
	}
	return false
}

func TestStacksSufficeForAJob(t *testing.T) {
	before := startingStack()
	require.Less(t, before, uint64(8<<10))
	restore := memory.Tune(memory.Settings{})
	require.True(t, becomes(8<<10), "goroutines begin with %d bytes", startingStack())
	restore()
	require.True(t, becomes(before), "goroutines begin with %d bytes", startingStack())
}
