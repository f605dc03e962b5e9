package pilot

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A front with so many dead entries for each second of due times, for so long back.
type deadFront struct {
	newest     time.Time
	length     time.Duration
	perSecond  float64
	perEntry   time.Duration
	lookedAt   time.Duration // how much of it looks went over
	worst      time.Duration
	nearLooks  int
	sweepLooks int
}

func (f *deadFront) look(s *windows) (time.Duration, bool) {
	from, to := s.window(f.newest)
	oldest := f.newest.Add(-f.length)
	begin, end := oldest, f.newest
	if from != nil && from.After(begin) {
		begin = *from
	}
	if to != nil {
		end = *to
	}
	took := max(time.Duration(end.Sub(begin).Seconds()*f.perSecond)*f.perEntry, 100*time.Microsecond)
	f.worst = max(f.worst, took)
	if s.near {
		f.nearLooks++
	} else {
		f.sweepLooks++
		f.lookedAt += max(end.Sub(begin), 0)
	}
	return s.passed(from, took)
}

func TestWindowsOfAQuickFront(t *testing.T) {
	t.Parallel()
	f := &deadFront{newest: time.Now(), length: time.Minute, perSecond: 1000, perEntry: time.Microsecond}
	var s windows
	for range 3 {
		whole, over := f.look(&s)
		require.True(t, over, "one look is enough")
		require.Equal(t, 60*time.Millisecond, whole)
	}
}

func TestWindowsOfALongFront(t *testing.T) {
	t.Parallel()
	f := &deadFront{newest: time.Now(), length: 10 * time.Minute, perSecond: 40_000, perEntry: time.Microsecond}
	var s windows
	whole, over := f.look(&s)
	require.True(t, over)
	require.Equal(t, 24*time.Second, whole, "the first look does not know")

	for range 2 {
		f.worst, f.lookedAt, f.nearLooks, f.sweepLooks = 0, 0, 0, 0
		for over = false; !over; {
			whole, over = f.look(&s)
			require.Less(t, f.sweepLooks, 2000)
		}
		require.Equal(t, f.length, f.lookedAt, "everything, once")
		require.InDelta(t, 24, whole.Seconds(), 0.5)
		require.InDelta(t, f.sweepLooks, f.nearLooks, 1)
	}
	require.Less(t, f.worst, 5*time.Second)

	// A look that is cut off is done again, in parts.
	width := s.width
	s.failed()
	require.Equal(t, max(width/8, windowLeast), s.width)
	require.Zero(t, s.to)
	s.width = width

	// Vacuum has been here.
	f.perEntry = 0
	for over = false; !over; {
		_, over = f.look(&s)
	}
	require.Zero(t, s.width)
	_, over = f.look(&s)
	require.True(t, over)
}
