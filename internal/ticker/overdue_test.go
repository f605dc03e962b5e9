package ticker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/ticker"
)

// start has the waiting jobs of a schedule begin, the oldest first, as many as there are or as are asked for.
func (r *rig) start(name string, most int) {
	r.t.Helper()
	r.exec(`UPDATE towpath.river_job SET state = 'running', attempt = 1, attempted_by = '{client-1}', attempted_at = $3 WHERE id IN (
		SELECT id FROM towpath.river_job WHERE state = 'available' AND metadata ->> 'towpath:schedule' = $1 ORDER BY id LIMIT $2)`, name, most, r.now)
}

// tell lets the time pass second by second, and says which status a schedule had when it changed.
func (r *rig) tell(l *ticker.Leader, name string, from, to, pace time.Duration) string {
	r.t.Helper()
	var told []string
	before := ""
	for after := from; after <= to; after += pace {
		r.set(base.Add(after))
		r.step(l)
		if status := one[string](r.t, r.pool, `SELECT status FROM towpath.schedule WHERE name = $1`, name); status != before {
			told, before = append(told, after.String()+" "+status), status
		}
	}
	return strings.Join(told, ", ")
}

// Runs that never start make a schedule late and then missed, however short its period is: what counts is the oldest.
func TestOverdueOutlivesThePeriod(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, expression string
		pace             time.Duration
		want             string
	}{
		{"minute", "* * * * *", 5 * time.Second, "0s ok, 1m10s late, 4m0s missed"},
		{"two seconds", "@every 2s", time.Second, "0s ok, 12s late, 3m2s missed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.put("s", test.expression, `, grace => '3 minutes'`)
			l := r.leader()
			require.Equal(t, test.want, r.tell(l, "s", 0, 6*time.Minute, test.pace))
			require.Equal(t, "late missed", one[string](t, r.pool, `SELECT string_agg(status, ' ' ORDER BY id) FROM towpath.schedule_events`))

			// Some begin: the others are still due.
			r.start("s", 2)
			require.Equal(t, "6m1s missed", r.tell(l, "s", 6*time.Minute+time.Second, 6*time.Minute+20*time.Second, time.Second))
			// All begin, and go on beginning.
			r.start("s", 1000)
			require.Equal(t, "6m21s ok", r.tell(l, "s", 6*time.Minute+21*time.Second, 6*time.Minute+29*time.Second, time.Second))
			r.start("s", 1000)
			r.end("s", "completed")
			require.Equal(t, "6m30s ok", r.tell(l, "s", 6*time.Minute+30*time.Second, 6*time.Minute+39*time.Second, time.Second))
		})
	}
}

// A tick that waits for a run to end, or is passed over because of one, is not overdue; one that then does not begin is,
// counted from the end of that run.
func TestOverdueAndOverlap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	policies := map[string]string{
		"skip":  "20m35s ok, 21m10s late, 24m0s missed",
		"queue": "20m35s ok, 20m45s late, 23m35s missed",
		"all":   "20m35s ok, 20m45s late, 23m35s missed",
	}
	r.put("skip", "* * * * *", `, grace => '3 minutes', overlap => 'skip'`)
	r.put("queue", "* * * * *", `, grace => '3 minutes', overlap => 'queue'`)
	r.put("all", "* * * * *", `, grace => '3 minutes', overlap => 'queue', missed => 'catch_up'`)
	l := r.leader()
	r.set(base)
	r.step(l)
	r.set(base.Add(time.Minute))
	r.step(l)
	for policy := range policies {
		r.start(policy, 1)
	}
	for policy := range policies {
		require.Equal(t, "1m1s ok", r.tell(l, policy, time.Minute+time.Second, 20*time.Minute+time.Second, 30*time.Second), policy)
	}
	r.set(base.Add(20*time.Minute + 35*time.Second))
	for policy := range policies {
		r.end(policy, "completed")
	}
	r.step(l)
	statuses := map[string][]string{}
	for after := 20*time.Minute + 35*time.Second; after <= 25*time.Minute; after += 5 * time.Second {
		r.set(base.Add(after))
		r.step(l)
		for policy := range policies {
			status := one[string](t, r.pool, `SELECT status FROM towpath.schedule WHERE name = $1`, policy)
			if told := statuses[policy]; len(told) == 0 || !strings.HasSuffix(told[len(told)-1], " "+status) {
				statuses[policy] = append(told, after.String()+" "+status)
			}
		}
	}
	for policy, want := range policies {
		require.Equal(t, want, strings.Join(statuses[policy], ", "), policy)
	}
}

// A queue that is steadily behind, but by less than the grace time, does not make a schedule missed, however many runs wait.
func TestOverdueOfASteadyBacklog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("s", "@every 1s", `, grace => '3 minutes'`)
	l := r.leader()
	require.Equal(t, "0s ok, 11s late", r.tell(l, "s", 0, 120*time.Second, time.Second))
	for after := 121 * time.Second; after < 320*time.Second; after += time.Second {
		r.start("s", 1)
		r.set(base.Add(after))
		r.step(l)
		require.Equal(t, "late", one[string](t, r.pool, `SELECT status FROM towpath.schedule`), after)
	}
}

// Ticks that are caught up some at a time are overdue until they begin, those too that are not fired yet.
func TestOverdueWhileCatchingUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("s", "* * * * *", `, grace => '3 minutes', missed => 'catch_up'`)
	r.step(r.leader())
	l := r.leader()
	status := func(after time.Duration) string {
		r.set(base.Add(after))
		r.step(l)
		return one[string](t, r.pool, `SELECT status FROM towpath.schedule`)
	}
	require.Equal(t, "missed", status(3*time.Hour+time.Second))
	r.start("s", 1000)
	require.Equal(t, "missed", status(3*time.Hour+2*time.Second), "eighty have not been fired")
	r.end("s", "completed")
	require.Equal(t, "missed", status(3*time.Hour+3*time.Second))
	r.start("s", 1000)
	require.Equal(t, "ok", status(3*time.Hour+4*time.Second))
}

// What nobody fired for longer than the grace time was missed, until a run begins; a pause ends that, and the time
// counts anew after it.
func TestOverdueAfterAnOutageAndAPause(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	policies := []string{"coalesce", "skip", "catch_up"}
	for _, policy := range policies {
		r.put(policy, "* * * * *", `, grace => '3 minutes', missed => '`+policy+`'`)
	}
	r.step(r.leader())
	r.set(base.Add(10*time.Minute + 5*time.Second))
	l := r.leader()
	r.step(l)
	statuses := func() string {
		return one[string](t, r.pool, `SELECT string_agg(name || ' ' || status, ', ' ORDER BY name) FROM towpath.schedules`)
	}
	require.Equal(t, "catch_up missed, coalesce missed, skip missed", statuses())
	for _, policy := range policies {
		r.start(policy, 1)
	}
	r.set(base.Add(10*time.Minute + 6*time.Second))
	r.step(l)
	require.Equal(t, "catch_up missed, coalesce ok, skip ok", statuses(), "nine of ten still wait")

	r.exec(`SELECT towpath.pause_schedule('catch_up'), towpath.resume_schedule('catch_up')`)
	r.exec(`UPDATE towpath.schedule SET after = $1, watched_since = $1 WHERE name = 'catch_up'`, r.now)
	require.Equal(t, "10m7s ok, 10m16s late, 13m6s missed", r.tell(l, "catch_up", 10*time.Minute+7*time.Second, 14*time.Minute, time.Second))
}

// A leader that looks at runs but seldom, for they are many, looks before it says that one has not begun.
func TestOverdueByWhatIsKnown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.put("s", "* * * * *", ``)
	l := r.leader()
	r.step(l)
	r.set(base.Add(time.Minute))
	r.step(l)
	r.start("s", 1)
	r.set(base.Add(time.Minute + 10*time.Second))
	_, err := l.StepAgain(t.Context())
	require.NoError(t, err)
	require.Equal(t, "ok", one[string](t, r.pool, `SELECT status FROM towpath.schedule`))
}
