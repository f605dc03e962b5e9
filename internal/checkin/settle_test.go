package checkin

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // a Monday

// hourly is a check with a period of an hour, ten minutes of grace and half an hour for a run.
func hourly() *store.Heartbeat {
	period, longest := time.Hour, 30*time.Minute
	return &store.Heartbeat{
		Name: "c", Period: &period, Zone: "UTC", Grace: 10 * time.Minute, Longest: &longest,
		WatchedSince: noon, Status: "new", StatusSince: noon, Running: store.Runs{},
	}
}

// ping enters a ping as TakePing does and returns the changes, as words.
func ping(h *store.Heartbeat, at time.Time, p Ping) []string {
	if h.LastPingAt != nil && at.Before(*h.LastPingAt) {
		at = *h.LastPingAt
	}
	events := settle(h, h.StatusSince, at)
	take(h, p, at)
	return words(append(events, settle(h, at, at)...))
}

func look(h *store.Heartbeat, at time.Time) []string {
	plan(h)
	return words(settle(h, h.StatusSince, at))
}

func words(events []Event) []string {
	all := []string{}
	for _, e := range events {
		all = append(all, fmt.Sprintf("%s %s", e.At.Sub(noon), e.Status))
	}
	return all
}

func after(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }

func TestStatusesOverTime(t *testing.T) {
	t.Parallel()
	h := hourly()
	require.Empty(t, look(h, after(10_000)), "nothing is expected before the first run was told")
	require.Empty(t, ping(h, after(1), Ping{Kind: Log}), "nor by a log")
	require.Equal(t, []string{"2m0s ok"}, ping(h, after(2), Ping{Kind: Success}))
	require.Equal(t, after(62), *h.TurnsAt)
	require.Empty(t, look(h, after(61)))
	require.Equal(t, []string{"1h2m0s late"}, look(h, after(63)))
	require.Equal(t, []string{"1h12m0s missed"}, look(h, after(100)))
	require.Nil(t, h.TurnsAt, "nothing more changes by itself")
	require.Equal(t, []string{"1h45m0s ok"}, ping(h, after(105), Ping{Kind: Success}))
	require.Equal(t, []string{"1h50m0s failed"}, ping(h, after(110), Ping{Kind: Fail}))
	require.Empty(t, ping(h, after(111), Ping{Kind: Fail}), "a second failure is no change")
	require.Empty(t, look(h, after(172)), "what has failed is not late too")
	require.Equal(t, []string{"3h1m0s missed"}, look(h, after(190)), "but it is missed, which is another trouble")

	// Nobody looked for a day: the ping finds what time has done, each change once.
	require.Equal(t, []string{"3h20m0s ok"}, ping(h, after(200), Ping{Kind: Success}))
	require.Equal(t, []string{"4h20m0s late", "4h30m0s missed", "27h0m0s ok"}, ping(h, noon.Add(27*time.Hour), Ping{Kind: Success}))
}

func TestRuns(t *testing.T) {
	t.Parallel()
	h := hourly()
	require.Equal(t, []string{"0s ok"}, ping(h, after(0), Ping{Kind: Start, RunID: "a"}))
	require.Empty(t, ping(h, after(20), Ping{Kind: Start, RunID: "b"}))
	require.Equal(t, after(30), *h.TurnsAt)
	require.Empty(t, ping(h, after(25), Ping{Kind: Success, RunID: "a"}))
	require.Equal(t, 25*time.Minute, *h.LastDuration)
	require.Equal(t, after(20), *h.RunningSince, "the other one goes on")
	require.Equal(t, after(80), *h.ExpectedBy, "a period after the start of the latest")
	require.Equal(t, []string{"50m0s too_long"}, look(h, after(55)))
	require.Equal(t, []string{"56m0s ok"}, ping(h, after(56), Ping{Kind: Success, RunID: "b"}))
	require.Equal(t, 36*time.Minute, *h.LastDuration)
	require.Empty(t, h.Running)

	// A run that was killed tells no end; the next one that succeeds makes up for it.
	require.Empty(t, ping(h, after(60), Ping{Kind: Start, RunID: "killed"}))
	require.Equal(t, []string{"1h30m0s too_long"}, ping(h, after(110), Ping{Kind: Start, RunID: "next"}))
	require.Equal(t, []string{"1h55m0s ok"}, ping(h, after(115), Ping{Kind: Success, RunID: "next"}))
	require.Empty(t, h.Running)

	// A run that takes longer than the period stands for the one that was expected meanwhile.
	h = hourly()
	h.Longest = nil
	ping(h, after(0), Ping{Kind: Start})
	require.Equal(t, []string{"1h0m0s late", "1h10m0s missed", "2h0m0s ok"}, ping(h, after(120), Ping{Kind: Success}))
	require.Equal(t, after(180), *h.ExpectedBy)

	for i := range 300 {
		ping(h, after(120), Ping{Kind: Start, RunID: fmt.Sprint(i)})
	}
	require.Len(t, h.Running, maxRunning, "a job that never ends its runs fills nothing")
}

func TestExitStatus(t *testing.T) {
	t.Parallel()
	h, three, zero := hourly(), 3, 0
	require.Equal(t, []string{"1m0s failed"}, ping(h, after(1), Ping{Kind: Fail, ExitStatus: &three}))
	require.EqualValues(t, 3, *h.LastExitStatus)
	require.Equal(t, []string{"2m0s ok"}, ping(h, after(2), Ping{Kind: Success, ExitStatus: &zero}))
	require.Zero(t, *h.LastExitStatus)
	require.Nil(t, h.LastDuration, "no start was told")
}

// A clock that jumps back changes nothing, and one that jumps ahead no more than the time would have.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	h := hourly()
	ping(h, after(0), Ping{Kind: Success})
	require.Equal(t, []string{"1h0m0s late", "1h10m0s missed"}, look(h, noon.Add(24*time.Hour)), "ahead a day")
	for range 3 {
		require.Empty(t, look(h, after(5)), "and back")
	}
	require.Equal(t, string(schedule.Missed), h.Status)
	events := ping(h, after(6), Ping{Kind: Success})
	require.Equal(t, []string{"6m0s ok"}, events)
	require.Equal(t, after(66), *h.ExpectedBy)

	h = hourly()
	ping(h, after(60), Ping{Kind: Start, RunID: "a"})
	ping(h, after(0), Ping{Kind: Success, RunID: "a"}) // the clock went back an hour
	require.Zero(t, *h.LastDuration, "no run takes less than nothing")
	require.Equal(t, string(schedule.OK), h.Status)
}

func TestPausedChecks(t *testing.T) {
	t.Parallel()
	h := hourly()
	ping(h, after(0), Ping{Kind: Success})
	at := after(10)
	h.PausedAt = &at // by pause_check
	require.Equal(t, []string{"10m0s paused"}, look(h, after(11)))
	require.Empty(t, ping(h, after(500), Ping{Kind: Fail}), "a ping is kept, and it stays paused")
	require.Equal(t, after(500), *h.LastFailureAt)
	h.PausedAt, h.WatchedSince, h.Running = nil, after(600), store.Runs{} // by resume_check
	require.Equal(t, []string{"8h20m0s failed"}, look(h, after(601)))
	require.Equal(t, after(660), *h.ExpectedBy, "as if a run had begun when it was resumed")
}

func TestCronChecks(t *testing.T) {
	t.Parallel()
	h := hourly()
	cron := "30 2 * * *"
	h.Period, h.Cron, h.Zone = nil, &cron, "Europe/Paris"
	ping(h, time.Date(2026, 3, 28, 1, 30, 5, 0, time.UTC), Ping{Kind: Success})
	// On the 29th the clock in Paris skips from two to three: what was due at half past two is due at three.
	require.Equal(t, time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), h.ExpectedBy.UTC())
	// A clock that is a little ahead does not make the run of that day another one.
	ping(h, time.Date(2026, 3, 30, 0, 29, 58, 0, time.UTC), Ping{Kind: Success})
	require.Equal(t, time.Date(2026, 3, 31, 0, 30, 0, 0, time.UTC), h.ExpectedBy.UTC())

	wrong := "61 2 * * *"
	h.Cron = &wrong
	plan(h)
	require.Nil(t, h.ExpectedBy)
	require.Contains(t, *h.Problem, "61")
	require.Equal(t, []string{}, words(settle(h, h.StatusSince, noon.AddDate(1, 0, 0))), "nothing can be expected")
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "backup-db1", "A.b_c", "7days", "_x"} {
		require.True(t, nameFits(name), name)
	}
	for _, name := range []string{"", "start", "fail", "log", "17", "-a", "a.", "a b", "ä", "a/b", string(make([]byte, 101))} {
		require.False(t, nameFits(name), name)
	}
}
