package pilot

import "time"

// What lies before the marks may be tens of millions of dead entries, after a day with a transaction open, and to look at
// them all takes longer than a statement may. So the probe goes over a front that takes long in windows of due times, from
// the marks back to the oldest, and every other time looks again at what lies next to the marks, where jobs that are
// committed late belong as a rule.
const (
	// windowMost is how long a look may take in the server; the next ones are smaller then.
	windowMost = 100 * time.Millisecond
	// windowFirst is the first width when looking at everything has taken longer, windowLeast the least.
	windowFirst = time.Minute
	windowLeast = time.Second
	// windowFar is how far before the marks the last window begins, which has no bound.
	windowFar = 10 * 366 * 24 * time.Hour
)

// windows are a probe's way over what lies before the marks. The zero value looks at everything at once.
type windows struct {
	width time.Duration // of the next window; 0: everything
	to    time.Time     // where the next window ends; zero: at the marks
	took  time.Duration // since the way began

	near      bool          // the next look is at what lies next to the marks
	nearWidth time.Duration // of that window
}

// window returns from which due time to which the next look goes, nil for no bound. newest is that of the newest mark.
func (s *windows) window(newest time.Time) (from, to *time.Time) {
	end, width := newest, s.width
	switch {
	case width == 0:
		return nil, nil
	case s.near:
		width = s.nearWidth
	case !s.to.IsZero():
		end = s.to
		to = &end
	}
	if begin := end.Add(-width); newest.Sub(begin) < windowFar {
		from = &begin
	}
	return from, to
}

// passed notes how long a look took. At the end of the way it returns how long all of it took.
func (s *windows) passed(from *time.Time, took time.Duration) (whole time.Duration, over bool) {
	if s.near {
		s.near, s.nearWidth = false, min(adapted(s.nearWidth, took), windowFirst)
		return 0, false
	}
	s.took += took
	s.width = adapted(s.width, took)
	if from != nil {
		s.to, s.near = *from, true
		s.nearWidth = max(s.nearWidth, windowLeast)
		return 0, false
	}
	whole = s.took
	if whole <= windowMost {
		s.width = 0
	} else if s.nearWidth > 0 { // the other one has grown where nothing is any more
		s.width = s.nearWidth
	}
	s.to, s.took = time.Time{}, 0
	return whole, true
}

// failed notes a look that was not over in time. The next one on the way begins where it did and is much smaller, unless
// there is nothing smaller: then the way goes on behind it.
func (s *windows) failed(from *time.Time) {
	switch {
	case s.near:
		s.near, s.nearWidth = false, windowLeast
		return
	case s.width == 0:
		s.width = windowFirst
	case s.width > windowLeast:
		s.width = max(s.width/8, windowLeast)
	case from != nil:
		s.to = *from
	}
	s.near, s.nearWidth = true, max(s.nearWidth, windowLeast)
}

// adapted returns the width after a look at a window of one width (0: everything).
func adapted(width, took time.Duration) time.Duration {
	switch {
	case took > windowMost && width == 0:
		return windowFirst
	case took > windowMost:
		return max(width/2, windowLeast)
	case took < windowMost/4:
		return min(4*width, windowFar)
	default:
		return width
	}
}
