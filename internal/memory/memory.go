// Package memory tells Go's runtime how much memory a process of Towpath may use.
//
// The contract: what the runtime was told by GOGC and GOMEMLIMIT stays, since whoever set these knows better. Else the
// collector begins when the heap has grown by Settings.GCPercent, and works harder as the process comes near its limit.
// Goroutines begin with stacks that suffice for a short job.
package memory

import (
	"math"
	"runtime/debug"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// Settings are what a process tells the runtime.
type Settings struct {
	// GCPercent is by how much the heap may grow before it is collected, in percent of what is in use. Zero leaves it as it is.
	GCPercent int
	// LimitMB is the limit in MiB. Zero: nine tenths of what the container may have, or none outside of one.
	LimitMB int
}

// share is the part of a container's memory that is left to Go; the rest is for what the runtime does not count.
const share = 0.9

// What the runtime says when nobody has told it anything.
const (
	defaultPercent = 100
	noLimit        = math.MaxInt64
)

var mu sync.Mutex

// Tune tells the runtime, and returns what takes it back.
func Tune(s Settings) (restore func()) {
	mu.Lock()
	defer mu.Unlock()
	limit := debug.SetMemoryLimit(-1)
	if wanted := s.limit(); limit == noLimit && wanted > 0 {
		debug.SetMemoryLimit(wanted)
	}
	percent := defaultPercent
	if s.GCPercent > 0 {
		if percent = debug.SetGCPercent(s.GCPercent); percent != defaultPercent {
			debug.SetGCPercent(percent)
		}
	}
	done := make(chan struct{})
	sampleStacks(done)
	return func() {
		close(done)
		mu.Lock()
		defer mu.Unlock()
		debug.SetMemoryLimit(limit)
		if s.GCPercent > 0 {
			debug.SetGCPercent(percent)
		}
	}
}

// limit is in bytes, 0 for none.
func (s Settings) limit() int64 {
	if s.LimitMB > 0 {
		return int64(s.LimitMB) << 20
	}
	// Outside of a container, and in one without a limit, this is an error.
	limit, err := memlimit.FromCgroup()
	if err != nil || float64(limit)*share >= noLimit {
		return 0
	}
	return int64(float64(limit) * share)
}
