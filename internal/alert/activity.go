package alert

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/towpath/towpath/internal/store"
)

const (
	// failingLeast is how many attempts must have failed for a ratio to count.
	failingLeast = 10
	// starvedLeast is how many attempts of its queue-mates must have begun for their wait to count, and starvedWait how
	// many seconds it must be.
	starvedLeast = 10
	starvedWait  = 10
	// hogShare is the part of a queue's time from which on a kind occupies it, and hogFactor how much longer than those of
	// its queue-mates its attempts run.
	hogShare  = 0.5
	hogFactor = 2
)

// histogram counts durations by the database's buckets: b holds those over 2^(b-1) up to 2^b milliseconds.
type histogram map[int16]int64

// quantile is towpath.histogram_quantile, in seconds; false if nothing was counted.
func (h histogram) quantile(q float64) (seconds float64, some bool) {
	var n int64
	for _, in := range h {
		n += in
	}
	if n == 0 {
		return 0, false
	}
	rank, below := q*float64(n), int64(0)
	for _, bucket := range slices.Sorted(maps.Keys(h)) {
		in := h[bucket]
		if in > 0 && float64(below+in) >= rank {
			low := 0.0
			if bucket > 0 {
				low = math.Ldexp(1, int(bucket)-1)
			}
			return (low + (math.Ldexp(1, int(bucket))-low)*(rank-float64(below))/float64(in)) / 1000, true
		}
		below += in
	}
	return 0, false
}

func (h histogram) add(other histogram) {
	for bucket, n := range other {
		h[bucket] += n
	}
}

// ran is what a kind did in a queue in the last quarter of an hour.
type ran struct {
	waits, runs histogram
	begun       int64
	seconds     float64 // that it had slots for
}

// starvation is a kind that occupies a queue, and what its queue-mates have of it.
type starvation struct {
	queue, kind         string
	share               float64 // of the queue's time
	run                 float64 // p95 of its attempts, in seconds
	matesWait, matesRun float64 // p95 of the others
}

// ratio is how many times longer its queue-mates wait than they run.
func (s *starvation) ratio() float64 { return s.matesWait / max(s.matesRun, 0.001) }

// starving finds the kinds that starve their queue-mates: a kind that has had half of the time of a queue's slots, attempts
// under way included, whose attempts run at least twice as long as the others' (both p95), while the others wait ten
// seconds or more (p95). How bad it is says ratio.
func starving(activity []store.KindActivity) (found []starvation) {
	queues := make(map[string]map[string]*ran)
	for _, a := range activity {
		if queues[a.Queue] == nil {
			queues[a.Queue] = make(map[string]*ran)
		}
		r := queues[a.Queue][a.Kind]
		if r == nil {
			r = &ran{waits: histogram{}, runs: histogram{}}
			queues[a.Queue][a.Kind] = r
		}
		r.add(a)
	}
	for _, queue := range slices.Sorted(maps.Keys(queues)) {
		if s, is := hog(queues[queue]); is {
			s.queue = queue
			found = append(found, s)
		}
	}
	return found
}

func (r *ran) add(a store.KindActivity) {
	switch a.Event {
	case "started":
		r.waits[a.Bucket] += a.N
		r.begun += a.N
	case "running":
		r.seconds += a.Seconds
		if a.N > 0 { // they will have taken this long at least
			r.runs[bucketOf(a.Seconds/float64(a.N))] += a.N
		}
	default:
		r.seconds += a.Seconds
		r.runs[a.Bucket] += a.N
	}
}

func bucketOf(seconds float64) int16 {
	return int16(max(0, math.Ceil(math.Log2(max(seconds*1000, 1))))) //nolint:gosec // a small number
}

// hog finds the kind that starves the others of one queue.
func hog(kinds map[string]*ran) (s starvation, is bool) {
	if len(kinds) < 2 {
		return s, false
	}
	var all float64
	for kind, r := range kinds {
		all += r.seconds
		if s.kind == "" || cmp.Or(cmp.Compare(r.seconds, kinds[s.kind].seconds), cmp.Compare(s.kind, kind)) > 0 {
			s.kind = kind
		}
	}
	mates := &ran{waits: histogram{}, runs: histogram{}}
	for kind, r := range kinds {
		if kind != s.kind {
			mates.waits.add(r.waits)
			mates.runs.add(r.runs)
			mates.begun += r.begun
		}
	}
	s.share = kinds[s.kind].seconds / max(all, 0.001)
	var ran, waited, matesRan bool
	s.run, ran = kinds[s.kind].runs.quantile(0.95)
	s.matesWait, waited = mates.waits.quantile(0.95)
	s.matesRun, matesRan = mates.runs.quantile(0.95)
	return s, ran && waited && matesRan && mates.begun >= starvedLeast && s.share >= hogShare &&
		s.run >= hogFactor*s.matesRun && s.matesWait >= starvedWait
}

// activity are the rules that the activity of store.AlertFacts is about.
func (s sight) activity(activity []store.KindActivity) {
	s.look("kind_failing", "kind_starving")
	type ended struct{ failed, all int64 }
	kinds := make(map[string]ended)
	for _, a := range activity {
		e := kinds[a.Kind]
		switch a.Event {
		case "retried", "discarded":
			e.failed, e.all = e.failed+a.N, e.all+a.N
		case "completed":
			e.all += a.N
		}
		kinds[a.Kind] = e
	}
	for kind, e := range kinds {
		if e.failed < failingLeast {
			continue
		}
		ratio := float64(e.failed) / float64(e.all)
		s.note("kind_failing", Observation{
			Subject: kind, Measure: ratio, Value: fmt.Sprintf("%.0f%%", ratio*100), Link: link("kinds", kind),
			Summary: fmt.Sprintf("%.0f%% of the attempts of kind %s failed", ratio*100, kind),
			Detail:  fmt.Sprintf("%d of %d that ended in the last 15 minutes. See the errors: `towpath failures --kind %s`.", e.failed, e.all, kind),
		})
	}
	for _, h := range starving(activity) {
		s.note("kind_starving", Observation{
			Subject: h.queue + "/" + h.kind, Measure: h.ratio(), Value: fmt.Sprintf("%.0f", h.ratio()), Link: link("queues", h.queue),
			Summary: fmt.Sprintf("Kind %s starves the other kinds of queue %s", h.kind, h.queue),
			Detail: fmt.Sprintf("In the last 15 minutes it had %.0f%% of the queue's time and ran for %s (p95). The others ran for %s and waited for %s, %.0f times as long. Give it a queue of its own.",
				h.share*100, length(h.run), length(h.matesRun), length(h.matesWait), h.ratio()),
		})
	}
}
