package memory_test

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/memory"
)

// now returns what the runtime goes by.
func now() (percent int, limit int64) {
	percent = debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent, debug.SetMemoryLimit(-1)
}

func TestTune(t *testing.T) {
	percentBefore, limitBefore := now()
	t.Cleanup(func() { debug.SetGCPercent(percentBefore); debug.SetMemoryLimit(limitBefore) })
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)

	restore := memory.Tune(memory.Settings{GCPercent: 300, LimitMB: 512})
	percent, limit := now()
	require.Equal(t, 300, percent)
	require.EqualValues(t, 512<<20, limit)
	restore()
	percent, limit = now()
	require.Equal(t, 100, percent)
	require.Equal(t, int64(math.MaxInt64), limit)

	// GOGC=50 GOMEMLIMIT=1GiB
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(1 << 30)
	memory.Tune(memory.Settings{GCPercent: 300, LimitMB: 512})()
	percent, limit = now()
	require.Equal(t, 50, percent)
	require.EqualValues(t, 1<<30, limit)
	defer memory.Tune(memory.Settings{GCPercent: 300, LimitMB: 512})()
	percent, limit = now()
	require.Equal(t, 50, percent, "whoever sets GOGC knows better")
	require.EqualValues(t, 1<<30, limit)
}
