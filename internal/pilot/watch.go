package pilot

import "time"

// peer is a process's row as a beat sees it.
type peer struct {
	epoch    int64
	clientID string
	beat     int64
	ended    bool // stopped or declared dead
	lost     bool // ended, and what it left running is lost
}

// watch is what an observer remembers of the others' beats.
type watch struct {
	last time.Time
	seen map[int64]seenBeat
}

type seenBeat struct {
	beat int64
	at   time.Time // when the observer first saw it
}

// sighting is what one look at the others brings.
type sighting struct {
	silent []peer  // to be declared dead
	lost   []int64 // epochs whose running jobs are lost
	twin   bool    // another live process goes by our client id
}

// look compares the beats with those seen before. The time is the observer's own; nobody else's clock plays a part. A
// process is silent when its beat has stood still over enough unbroken looks: an observer that was away itself has seen
// nothing of what happened meanwhile, and forgets.
func (w *watch) look(now time.Time, pace pace, peers []peer, self int64, clientID string) sighting {
	if w.seen == nil || atMost(w.last, now) > pace.forget {
		w.seen = make(map[int64]seenBeat, len(peers))
	}
	w.last = now
	var (
		result sighting
		seen   = make(map[int64]seenBeat, len(peers))
	)
	for _, p := range peers {
		if p.epoch == self {
			continue
		}
		if p.ended {
			if p.lost {
				result.lost = append(result.lost, p.epoch)
			}
			continue
		}
		result.twin = result.twin || p.clientID == clientID
		before, ok := w.seen[p.epoch]
		if !ok || before.beat != p.beat {
			before = seenBeat{beat: p.beat, at: now}
		}
		seen[p.epoch] = before
		// Looks come a beat apart, give or take: without the slack the one that matters might come a moment early and
		// the verdict a whole beat late.
		if atLeast(before.at, now) >= pace.silence-pace.beat/10 {
			result.silent = append(result.silent, p)
		}
	}
	w.seen = seen
	return result
}

// A machine that sleeps stops Go's monotonic clock on some systems, and the wall clock may be set. The two functions are
// the time between two moments on the side of caution: at least so much, and at most so much, has passed.
func atLeast(from, to time.Time) time.Duration {
	return min(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

func atMost(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}
