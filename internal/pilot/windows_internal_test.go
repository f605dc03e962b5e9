package pilot

import (
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
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
	s.near, s.width = false, time.Minute
	from, _ := s.window(f.newest)
	s.failed(from)
	require.Equal(t, time.Minute/8, s.width)
	require.Zero(t, s.to)
	require.True(t, s.near, "what lies next to the marks is looked at all the same")
	s.failed(from)
	require.False(t, s.near)
	s.width = windowLeast
	from, _ = s.window(f.newest)
	s.failed(from)
	require.Equal(t, *from, s.to, "nothing is smaller")
	s = windows{width: width}

	// Vacuum has been here.
	f.perEntry = 0
	for over = false; !over; {
		_, over = f.look(&s)
	}
	require.Zero(t, s.width)
	_, over = f.look(&s)
	require.True(t, over)
}

// Late jobs wait for the next fetch where one was full before it came to them, and are forgotten where it went past them.
func TestLateJobsWithoutRoom(t *testing.T) {
	t.Parallel()
	late := lateIDs{1: {1, 2, 3}, 2: {4, 5}}
	row := func(id int64, priority int) *rivertype.JobRow { return &rivertype.JobRow{ID: id, Priority: priority} }
	for _, test := range []struct {
		fetched []*rivertype.JobRow
		left    lateIDs
	}{
		{[]*rivertype.JobRow{row(1, 1), row(3, 1)}, lateIDs{1: {2}, 2: {4, 5}}},
		{[]*rivertype.JobRow{row(1, 1), row(9, 1)}, lateIDs{2: {4, 5}}},
		{[]*rivertype.JobRow{row(9, 1), row(4, 2)}, lateIDs{2: {5}}},
		{[]*rivertype.JobRow{row(5, 2), row(8, 3)}, lateIDs{}},
	} {
		left := noRoom(late, test.fetched)
		for priority := range left {
			require.ElementsMatch(t, test.left[priority], left[priority])
		}
	}
	require.Equal(t, lateIDs{1: {1, 2, 3}, 2: {4, 5}}, late)
}

// What a fetch did not get is there for the next one, beside what a probe has found meanwhile.
func TestLateJobsAreKept(t *testing.T) {
	t.Parallel()
	w := newWatermarks()
	w.late[1] = []int64{7, 9}
	w.keep(lateIDs{1: {3, 7}, 2: {4}})
	require.Equal(t, lateIDs{1: {3, 7, 9}, 2: {4}}, w.late)
}
