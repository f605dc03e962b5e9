package pilot

import (
	"context"
	"sync"
	"time"
)

// River asks for as many jobs as there are free slots, at the moment when the first of them is free. On a queue that is
// full of short jobs that is one slot, or a few, while the others become free before the answer is there: so every other
// fetch brings a handful, and costs nearly as much as one that fills all slots. A fetch of such a queue therefore waits
// for a moment until enough slots are free, and takes those too that became free meanwhile. There are never more jobs than
// slots.
const (
	// fillEnough is a batch that is worth a fetch, where half of the slots are no more than that.
	fillEnough = 200
	// fillPause is how long it waits for one more slot, fillMost how long in all.
	fillPause = 500 * time.Microsecond
	fillMost  = 2 * time.Millisecond
)

// slots are those of one queue of one client, as far as the pilot sees them.
type slots struct {
	freed chan struct{} // told of each slot that becomes free; holds one

	mu      sync.Mutex
	running int
	free    int  // slots that became free since the last fetch began
	full    bool // the last fetch brought all that it asked for
}

// release notes that a handler has returned, and whether its slot became free by that or had been before.
func (s *slots) release(freed bool) {
	s.mu.Lock()
	s.running = max(s.running-1, 0)
	if freed {
		s.free++
	}
	s.mu.Unlock()
	if !freed {
		return
	}
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// take notes that jobs have begun.
func (s *slots) take(jobs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running += jobs
}

// note notes whether a fetch has brought all that it asked for.
func (s *slots) note(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// queueIsFull reports whether the last fetch brought all that it asked for.
func (s *slots) queueIsFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.full
}

// total is how many slots there are when so many are free.
func (s *slots) total(free int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running + free
}

// begin notes that a fetch begins, and returns how many free slots it should wait for, 0 for none.
func (s *slots) begin(limit int) (enough int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = 0
	if !s.full {
		return 0
	}
	all := s.running + limit
	return max(all/2, min(all, fillEnough))
}

func (s *slots) freeNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free
}

// fill waits until enough slots are free, but not for long, and returns how many there are. River knows of limit.
func (s *slots) fill(ctx context.Context, limit int) int {
	enough := s.begin(limit)
	if limit >= enough {
		return limit
	}
	most := time.NewTimer(fillMost)
	defer most.Stop()
	pause := time.NewTimer(fillPause)
	defer pause.Stop()
	for limit+s.freeNow() < enough {
		select {
		case <-s.freed:
			pause.Reset(fillPause)
			continue
		case <-pause.C:
		case <-most.C:
		case <-ctx.Done():
		}
		break
	}
	return limit + s.freeNow()
}
