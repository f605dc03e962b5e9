package crash

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	stormWorkers   = 3
	stormProducers = 3
)

// storm is what goes on in TestStorm.
type storm struct {
	*rig
	producers []*process
	back      map[*process]time.Time // paused workers and when they go on
	events    map[string]int
	strikes   int
}

// Three processes work some hundred thousand jobs, or millions, while one event follows another: workers, leaders,
// producers, backends and Postgres itself are killed, workers are paused, told to end and replaced. In the end
// everything has been done, once.
func TestStorm(t *testing.T) {
	t.Parallel()
	if !*longFlag {
		t.Skip("a storm takes minutes: -crash.long")
	}
	s := &storm{rig: newRigWithPostgres(t), back: map[*process]time.Time{}, events: map[string]int{}}
	for range stormWorkers {
		s.startWorker(nil)
	}
	for range stormProducers {
		s.produce(*jobsFlag / stormProducers)
	}
	begun := time.Now()
	for s.producing() {
		s.wait(time.Duration(3000+s.dice.IntN(9000)) * time.Millisecond)
		s.strike()
		s.succeed()
	}
	t.Logf("everything is enqueued after %s and %v", time.Since(begun).Round(time.Second), s.events)
	for p := range s.back {
		p.proceed()
	}
	s.replace()
	s.conclude(patience + time.Duration(*jobsFlag)*2*time.Millisecond)
	t.Logf("done after %s", time.Since(begun).Round(time.Second))
	if s.strikes >= 30 { // as in any storm of some size
		require.GreaterOrEqual(t, len(s.events), 5, "kinds of events: %v", s.events)
	}
}

// produce starts a producer of so many jobs. The backlog makes it last as long as the work does.
func (s *storm) produce(n int) {
	s.t.Helper()
	s.producers = append(s.producers, s.startProducers(1, "--jobs", strconv.Itoa(n), "--batch", "500", "--backlog", "20000")...)
}

// producing tells whether a producer is still at work. One that ends by itself has done all of its own.
func (s *storm) producing() bool {
	s.t.Helper()
	found := false
	for _, p := range s.producers {
		if p.running() {
			found = true
		} else if !p.killed {
			require.Zero(s.t, p.cmd.ProcessState.ExitCode(), "exit code of %s", p.id)
		}
	}
	return found
}

// succeed starts producers for what killed ones have left, once all have ended.
func (s *storm) succeed() {
	s.t.Helper()
	if s.producing() {
		return
	}
	var left int
	s.await(patience, "count the jobs", func(ctx context.Context) (bool, error) {
		return true, s.pool.QueryRow(ctx, "SELECT $1 - count(*) FROM crash.expected", *jobsFlag).Scan(&left)
	})
	for range stormProducers {
		if left > 0 {
			s.produce(left/stormProducers + 1)
		}
	}
}

// presentLeader is the worker that leads at the moment, or nil.
func (s *storm) presentLeader() *process {
	s.t.Helper()
	ids := s.strings("SELECT leader_id FROM towpath.river_leader")
	for _, p := range s.workers() {
		if len(ids) == 1 && p.id == ids[0] {
			return p
		}
	}
	return nil
}

// killProducer kills a producer if there is one.
func (s *storm) killProducer() {
	s.t.Helper()
	for _, p := range s.producers {
		if p.running() {
			p.kill()
			return
		}
	}
}

// wait lets time pass. Paused workers go on when it is time for them to.
func (s *storm) wait(d time.Duration) {
	end := time.Now().Add(d)
	for {
		next := end
		for p, at := range s.back {
			if !time.Now().Before(at) {
				p.proceed()
				delete(s.back, p)
			} else if at.Before(next) {
				next = at
			}
		}
		if !time.Now().Before(end) {
			return
		}
		<-time.After(time.Until(next))
	}
}

// replace starts workers for those that have ended.
func (s *storm) replace() {
	s.t.Helper()
	for len(s.workers()) < stormWorkers {
		s.launchWorker(nil)
	}
}

// victim is a worker that is not paused.
func (s *storm) victim() *process {
	var free []*process
	for _, p := range s.workers() {
		if _, paused := s.back[p]; !paused {
			free = append(free, p)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return free[s.dice.IntN(len(free))]
}

// strike lets something happen.
func (s *storm) strike() {
	s.t.Helper()
	p := s.victim()
	event := "nothing"
	switch n := s.dice.IntN(20); {
	case p == nil:
	case n < 5:
		event = "worker killed"
		p.kill()
	case n < 8:
		event = "leader killed"
		if leader := s.presentLeader(); leader != nil {
			delete(s.back, leader)
			p = leader
		}
		p.kill()
	case n < 11:
		event = "worker told to end"
		p.terminate()
		require.Zero(s.t, p.cmd.ProcessState.ExitCode(), "exit code of %s", p.id)
	case n < 14:
		event = "worker paused"
		if len(s.back) == stormWorkers-1 {
			break // somebody has to watch
		}
		s.back[p] = time.Now().Add(time.Duration(5000+s.dice.IntN(60_000)) * time.Millisecond)
		p.pause()
	case n < 16:
		event = "producer killed"
		s.killProducer()
	case n < 18:
		event = "Postgres killed"
		s.killPostgres(time.Duration(s.dice.IntN(20)) * time.Second)
	default:
		event = "backend killed"
		s.killBackend()
	}
	s.events[event]++
	s.strikes++
	if s.dice.IntN(3) > 0 {
		s.replace()
	}
}
