package schedule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/towpath/towpath/internal/schedule"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func minutely(t *testing.T, missed, overlap string, skipAfter time.Duration) (*schedule.Definition, *schedule.Plan) {
	t.Helper()
	d := &schedule.Definition{Expression: "* * * * *", Kind: "k", Missed: missed, Overlap: overlap, SkipAfter: schedule.Seconds(skipAfter)}
	require.NoError(t, d.Check("a"))
	p, err := d.Plan("a")
	require.NoError(t, err)
	return d, p
}

// said writes a decision down: minutes that run, with how many they stand for, minutes that do not, and the next one.
func said(d schedule.Decision) string {
	minute := func(t time.Time) string { return fmt.Sprint(int(t.Sub(noon) / time.Minute)) }
	var parts []string
	for _, f := range d.Fire {
		part := minute(f.Tick)
		if f.Ticks > 1 {
			part += fmt.Sprintf("(%d)", f.Ticks)
		}
		parts = append(parts, part)
	}
	for _, p := range d.Pass {
		parts = append(parts, fmt.Sprintf("%s %s-%s(%d)", p.Reason, minute(p.First), minute(p.Last), p.Ticks))
	}
	parts = append(parts, "next "+minute(d.Position.Next))
	if d.Position.Held {
		parts = append(parts, "held")
	}
	return strings.Join(parts, ", ")
}

// Five minutes without anybody who fires, and what each pair of policies makes of it; then the run that was open ends.
func TestDecide(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		missed, overlap string
		skipAfter       time.Duration
		open            int
		late            time.Duration
		want, released  string
	}{
		{"coalesce", "allow", 0, 0, 0, "1, next 2", ""},
		{"coalesce", "allow", 0, 3, 0, "1, next 2", ""},
		{"coalesce", "skip", 0, 1, 0, "overlap 1-1(1), next 2", ""},
		{"coalesce", "queue", 0, 1, 0, "next 1, held", "1, next 2"},
		{"coalesce", "allow", 0, 0, 5 * time.Minute, "6(6), next 7", ""},
		{"coalesce", "queue", 0, 1, 5 * time.Minute, "next 1, held", "6(6), next 7"},
		{"coalesce", "skip", 0, 1, 5 * time.Minute, "overlap 6-6(6), next 7", ""},
		{"catch_up", "allow", 0, 0, 5 * time.Minute, "1, 2, 3, 4, 5, 6, next 7", ""},
		{"catch_up", "allow", 0, 98, 5 * time.Minute, "1, 2, next 3, held", "3, 4, 5, 6, next 7"},
		{"catch_up", "queue", 0, 0, 5 * time.Minute, "1, next 2, held", "2, next 3, held"},
		{"catch_up", "skip", 0, 1, 5 * time.Minute, "next 1, held", "1, next 2, held"},
		{"catch_up", "skip", 0, 1, 0, "overlap 1-1(1), next 2", ""},
		{"skip", "allow", 0, 0, 5 * time.Minute, "6, missed 1-5(5), next 7", ""},
		{"skip", "queue", 0, 1, 5 * time.Minute, "missed 1-5(5), next 6, held", "6, next 7"},
		{"skip", "allow", 3 * time.Minute, 0, 5 * time.Minute, "3, 4, 5, 6, missed 1-2(2), next 7", ""},
		{"skip", "skip", 3 * time.Minute, 0, 5 * time.Minute, "3, missed 1-2(2), overlap 4-6(3), next 7", ""},
	} {
		d, p := minutely(t, test.missed, test.overlap, test.skipAfter)
		now := noon.Add(time.Minute + test.late)
		decision := d.Decide(p, schedule.Position{After: noon, Open: test.open}, now)
		require.Equal(t, test.want, said(decision), "%+v", test)
		again := d.Decide(p, decision.Position, now)
		require.Empty(t, again.Fire, "a decision is made once")
		back := d.Decide(p, decision.Position, now.Add(-time.Hour))
		require.Empty(t, back.Fire, "a clock that goes back fires nothing twice")
		require.Empty(t, back.Pass)
		if test.released != "" {
			decision.Position.Open = 0
			require.Equal(t, test.released, said(d.Decide(p, decision.Position, now)), "%+v", test)
		}
	}
}

// A daily tick that nobody fired for some minutes is missed, though none followed it.
func TestDecideAlone(t *testing.T) {
	t.Parallel()
	d := &schedule.Definition{Expression: "0 12 * * *", Kind: "k", Missed: schedule.Skip}
	p, err := d.Plan("a")
	require.NoError(t, err)
	before := schedule.Position{After: noon.Add(-time.Hour)}
	require.Len(t, d.Decide(p, before, noon.Add(schedule.InTime)).Fire, 1)
	late := d.Decide(p, before, noon.Add(schedule.InTime+time.Second))
	require.Empty(t, late.Fire)
	require.Equal(t, schedule.ReasonMissed, late.Pass[0].Reason)
}

// A tick that was due under an expression that has changed since is still owed; none is made up for the new one.
func TestDecideAfterChange(t *testing.T) {
	t.Parallel()
	d, p := minutely(t, "catch_up", "allow", 0)
	owed := schedule.Position{After: noon.Add(10 * time.Minute), Next: noon.Add(30 * time.Second)}
	require.Equal(t, "0, next 11", said(d.Decide(p, owed, noon.Add(10*time.Minute))))
}

// A second's schedule that slept for a month does not flood, nor take for ever.
func TestDecideAfterAMonth(t *testing.T) {
	t.Parallel()
	for _, missed := range []string{"coalesce", "skip", "catch_up"} {
		d := &schedule.Definition{Expression: "* * * * * *", Kind: "k", Missed: missed}
		p, err := d.Plan("a")
		require.NoError(t, err)
		now := noon.Add(30 * 24 * time.Hour)
		decision := d.Decide(p, schedule.Position{After: noon}, now)
		if missed == "catch_up" {
			require.Len(t, decision.Fire, schedule.MostUnfinished)
			require.True(t, decision.Position.Held)
			continue
		}
		require.Len(t, decision.Fire, 1)
		require.Equal(t, now, decision.Fire[0].Tick)
		require.Equal(t, now.Add(time.Second), decision.Position.Next)
	}
}

// However the clock goes and runs end, each tick is decided upon once, in order, whatever the policies.
func TestDecideOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := &schedule.Definition{
			Expression: rapid.SampledFrom([]string{"* * * * *", "@every 7s", "*/5 12 * * *"}).Draw(t, "expression"), Kind: "k",
			Missed:  rapid.SampledFrom([]string{"coalesce", "skip", "catch_up"}).Draw(t, "missed"),
			Overlap: rapid.SampledFrom([]string{"allow", "skip", "queue"}).Draw(t, "overlap"),
			Jitter:  schedule.Seconds(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "jitter")),
		}
		p, err := d.Plan("a")
		if err != nil {
			t.Fatal(err)
		}
		at, now, last := schedule.Position{After: noon}, noon, noon
		ticks, held := 0, false
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(2*time.Hour)).Draw(t, "step")))
			at.Open = rapid.IntRange(0, at.Open).Draw(t, "open")
			decision := d.Decide(p, at, now)
			for _, f := range decision.Fire {
				if !f.Tick.After(last) || f.Due.After(now) {
					t.Fatalf("%s is fired after %s at %s", f.Tick, last, now)
				}
				last, ticks = f.Tick, ticks+f.Ticks
			}
			for _, p := range decision.Pass {
				ticks += p.Ticks
			}
			if d.Overlap != "allow" && decision.Position.Open > 1 {
				t.Fatalf("%d runs are open", decision.Position.Open)
			}
			at, held = decision.Position, decision.Position.Held
		}
		if held {
			return
		}
		want := 0
		for tick := p.Next(noon); !tick.IsZero() && !tick.After(at.After); tick = p.Next(tick) {
			want++
		}
		if ticks != want {
			t.Fatalf("%d ticks were decided upon, of %d", ticks, want)
		}
	})
}

func TestStatus(t *testing.T) {
	t.Parallel()
	created := noon.Add(-time.Hour)
	facts := schedule.Facts{Since: created, Overdue: noon, Tolerance: 5 * time.Second, Grace: 10 * time.Minute, Longest: 30 * time.Minute}
	check := func(f schedule.Facts, now time.Time, status schedule.Status, since, until time.Time) {
		t.Helper()
		gotStatus, gotSince, gotUntil := f.Status(now)
		require.Equal(t, status, gotStatus)
		require.Equal(t, since, gotSince)
		require.Equal(t, until, gotUntil)
	}
	check(schedule.Facts{Since: created}, noon, schedule.OK, created, time.Time{})
	check(facts, noon.Add(-time.Minute), schedule.OK, created, noon.Add(5*time.Second))
	check(facts, noon.Add(4*time.Second), schedule.OK, created, noon.Add(5*time.Second))
	check(facts, noon.Add(5*time.Second), schedule.Late, noon, noon.Add(10*time.Minute))
	check(facts, noon.Add(10*time.Minute), schedule.Missed, noon.Add(10*time.Minute), time.Time{})

	facts.Overdue = time.Time{}
	facts.RunningSince = noon.Add(time.Second)
	check(facts, noon.Add(20*time.Minute), schedule.OK, created, noon.Add(30*time.Minute+time.Second))
	check(facts, noon.Add(31*time.Minute), schedule.TooLong, noon.Add(30*time.Minute+time.Second), time.Time{})

	facts.RunningSince = time.Time{}
	facts.LastFailure = noon.Add(2 * time.Minute)
	check(facts, noon.Add(time.Hour), schedule.Failed, noon.Add(2*time.Minute), time.Time{})
	next := facts
	next.Overdue = noon.Add(time.Hour)
	check(next, noon.Add(time.Hour+time.Minute), schedule.Failed, noon.Add(2*time.Minute), noon.Add(time.Hour+10*time.Minute))
	check(next, noon.Add(2*time.Hour), schedule.Missed, noon.Add(time.Hour+10*time.Minute), time.Time{})

	facts.LastSuccess = noon.Add(3 * time.Minute)
	check(facts, noon.Add(time.Hour), schedule.OK, noon.Add(3*time.Minute), time.Time{})
	facts.PausedAt = noon.Add(4 * time.Minute)
	check(facts, noon.Add(48*time.Hour), schedule.Paused, noon.Add(4*time.Minute), time.Time{})
	require.Len(t, schedule.Statuses(), 6)
}
