package bench

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"github.com/towpath/towpath/workers"
)

// The mix of jobs: of a hundred, one fails once and is retried, two are unique by their args, ten have tags and
// metadata, and the rest are of two plain kinds. All args are some ten bytes.
const (
	mixOf      = 100
	mixFlaky   = 1
	mixUnique  = 2
	mixLabeled = 10
)

// retryAfter is the pause before the second attempt of a job that failed.
const retryAfter = 10 * time.Millisecond

var errFlaky = errors.New("the upstream answered 503 Service Unavailable")

// job is the args of one; the kind is a type of its own, so that one worker serves them all.
type job[K kind] struct {
	N int `json:"n"`
}

// Kind names the kind.
func (job[K]) Kind() string {
	var k K
	return k.kind()
}

type kind interface{ kind() string }

type (
	plain   struct{}
	other   struct{}
	labeled struct{}
	unique  struct{}
	flaky   struct{}
)

func (plain) kind() string   { return "bench_plain" }
func (other) kind() string   { return "bench_other" }
func (labeled) kind() string { return "bench_labeled" }
func (unique) kind() string  { return "bench_unique" }
func (flaky) kind() string   { return "bench_flaky" }

// mixed returns the n-th job of the mix.
func mixed(n int) river.InsertManyParams {
	switch place := n % mixOf; {
	case place < mixFlaky:
		return river.InsertManyParams{Args: job[flaky]{n}}
	case place < mixFlaky+mixUnique:
		return river.InsertManyParams{Args: job[unique]{n}, InsertOpts: &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}}
	case place < mixFlaky+mixUnique+mixLabeled:
		return river.InsertManyParams{Args: job[labeled]{n}, InsertOpts: labels()}
	default:
		return ordinary(n)
	}
}

// ordinary returns the n-th job of a mix without unique ones: what single inserts are measured with, since a unique job
// goes another way.
func ordinary(n int) river.InsertManyParams {
	switch {
	case n%mixOf < mixLabeled:
		return river.InsertManyParams{Args: job[labeled]{n}, InsertOpts: labels()}
	case n%2 == 0:
		return river.InsertManyParams{Args: job[plain]{n}}
	default:
		return river.InsertManyParams{Args: job[other]{n}}
	}
}

func labels() *river.InsertOpts {
	return &river.InsertOpts{Tags: []string{"bench", "labeled"}, Metadata: []byte(`{"tenant": "blue"}`)}
}

// A mixture makes the n-th job.
type mixture func(n int) river.InsertManyParams

// batch returns the jobs from one number to before another.
func batch(from, to int, mix mixture) []river.InsertManyParams {
	params := make([]river.InsertManyParams, 0, to-from)
	for n := from; n < to; n++ {
		params = append(params, mix(n))
	}
	return params
}

// load is a set of jobs, numbered from 0, and when what happened to each. Times are nanoseconds since begun.
type load struct {
	begun    time.Time
	inserted []atomic.Int64
	started  []atomic.Int64

	witness   *witness // of the ends of jobs from number witnessed on; nil for none
	witnessed int

	periodic []*river.PeriodicJob // of plain River, for what measures schedules
}

// newLoad returns a load of n jobs; timed says whether their times are kept.
func newLoad(n int, timed bool) *load {
	l := &load{begun: time.Now()}
	if timed {
		l.inserted, l.started = make([]atomic.Int64, n), make([]atomic.Int64, n)
	}
	return l
}

func (l *load) mark(times []atomic.Int64, n int) {
	if n < len(times) {
		times[n].Store(int64(time.Since(l.begun)))
	}
}

// waits are the times from insert to start of the jobs from one number to before another.
func (l *load) waits(from, to int) []time.Duration {
	durations := make([]time.Duration, 0, to-from)
	for n := from; n < to; n++ {
		durations = append(durations, time.Duration(l.started[n].Load()-l.inserted[n].Load()))
	}
	return durations
}

// depthSteps is at how many moments the depth of the queue is looked at for its median.
const depthSteps = 1000

// depth is how many of the jobs from one number to before another were due and had not started: in the middle, and at most.
func (l *load) depth(from, to int) (middle, most float64) {
	due, started := make([]int64, 0, to-from), make([]int64, 0, to-from)
	for n := from; n < to; n++ {
		due, started = append(due, l.inserted[n].Load()), append(started, l.started[n].Load())
	}
	slices.Sort(due)
	slices.Sort(started)
	gone := 0
	for n, at := range due {
		for gone < len(started) && started[gone] <= at {
			gone++
		}
		most = max(most, float64(n+1-gone))
	}
	depths := make([]float64, depthSteps)
	for i := range depths {
		at := due[0] + (due[len(due)-1]-due[0])*int64(i)/depthSteps
		came, _ := slices.BinarySearch(due, at+1)
		went, _ := slices.BinarySearch(started, at+1)
		depths[i] = float64(came - went)
	}
	return median(depths), most
}

// worker is the handler of all kinds and of all contenders in Go.
type worker[K kind] struct {
	river.WorkerDefaults[job[K]]
	load  *load
	flaky bool
}

// Work does nothing, which leaves the time to the system that is measured.
func (w *worker[K]) Work(_ context.Context, j *river.Job[job[K]]) error {
	if j.Attempt == 1 {
		w.load.mark(w.load.started, j.Args.N)
		if w.flaky {
			return errFlaky
		}
	}
	if w.load.witness != nil && j.Args.N >= w.load.witnessed {
		w.load.witness.hear(j.ID)
	}
	return nil
}

// NextRetry retries soon, so that the retries fall into the round that they belong to.
func (w *worker[K]) NextRetry(*river.Job[job[K]]) time.Time { return time.Now().Add(retryAfter) }

// newBundle registers the kinds as users of Towpath do.
func newBundle(l *load) *workers.Bundle {
	b := workers.NewBundle()
	workers.Add(b, &worker[plain]{load: l})
	workers.Add(b, &worker[other]{load: l})
	workers.Add(b, &worker[labeled]{load: l})
	workers.Add(b, &worker[unique]{load: l})
	workers.Add(b, &worker[flaky]{load: l, flaky: true})
	return b
}

// newWorkers registers the same with River.
func newWorkers(l *load) *river.Workers {
	w := river.NewWorkers()
	river.AddWorker(w, &worker[plain]{load: l})
	river.AddWorker(w, &worker[other]{load: l})
	river.AddWorker(w, &worker[labeled]{load: l})
	river.AddWorker(w, &worker[unique]{load: l})
	river.AddWorker(w, &worker[flaky]{load: l, flaky: true})
	return w
}
