package pilot

import (
	"context"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
)

// HeldCount is how many jobs a client holds.
func HeldCount(p riverpilot.Pilot) int { return p.(*Pilot).held.count() }

// NeverTired lets a client fetch without beats. They come from a service that River starts.
func NeverTired(p riverpilot.Pilot) { p.(*Pilot).fleet.pace.fetch = 24 * time.Hour }

// SetSlow puts the fetch of a queue into watermark mode or takes it out.
func SetSlow(s riverpilot.ProducerState, slow bool) {
	w := s.(*producer).marks
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow = slow
}

// Slow reports whether the fetch of a queue is in watermark mode.
func Slow(s riverpilot.ProducerState) bool {
	w := s.(*producer).marks
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slow
}

// SetSlowFront sets from what time on the front of a queue counts as slow.
func SetSlowFront(s riverpilot.ProducerState, from time.Duration) {
	s.(*producer).marks.slowFront = from
}

// SetWindow makes the next probes look at windows, the first so wide.
func SetWindow(s riverpilot.ProducerState, width time.Duration) {
	w := s.(*producer).marks
	w.mu.Lock()
	defer w.mu.Unlock()
	w.windows = windows{width: width}
}

// HoldProbes keeps the fetch from probing by itself.
func HoldProbes(s riverpilot.ProducerState) {
	w := s.(*producer).marks
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextProbe = time.Now().Add(time.Hour)
}

// ProbeSoon makes the next fetch probe.
func ProbeSoon(s riverpilot.ProducerState) {
	w := s.(*producer).marks
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextProbe = time.Time{}
}

// ProbeOver reports whether no probe is on its way.
func ProbeOver(s riverpilot.ProducerState) bool {
	w := s.(*producer).marks
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.probing
}

// Probe probes now.
func Probe(ctx context.Context, s riverpilot.ProducerState, exec riverdriver.Executor, params *riverdriver.JobGetAvailableParams) error {
	p := s.(*producer)
	if _, _, err := p.marks.look(ctx, own(exec), params, nil, nil); err != nil {
		return err
	}
	p.probe(own(exec), params)
	return nil
}

// KeepInPlace makes a client leave finished jobs in river_job, as it does after history refused one, or not.
func KeepInPlace(p riverpilot.Pilot, keep bool) {
	storage := p.(*Pilot).storage
	if storage.inPlaceUntil.Store(0); keep {
		storage.keepInPlace()
	}
}

// Tidy moves what need not stay in river_job.
func Tidy(ctx context.Context, exec riverdriver.Executor, schema string) error {
	_, err := own(exec).tidyOnce(ctx, schema, 0, periods{known: true})
	return err
}

// Fold folds the counters.
func Fold(ctx context.Context, exec riverdriver.Executor, schema string) error {
	x := own(exec)
	_, err := x.foldOnce(ctx, schema)
	return err
}

// BegunAt sets when a held attempt began by the client's clock.
func BegunAt(p riverpilot.Pilot, id int64, begun time.Time) {
	p.(*Pilot).held.mark(id, func(c *claim) { c.begun = begun })
}

// HeldOf is how many jobs a River client holds.
func HeldOf(client interface{ Pilot() riverpilot.Pilot }) int { return HeldCount(client.Pilot()) }

// HandBack hands back a job as one whose fetch got no answer.
func HandBack(ctx context.Context, exec riverdriver.Executor, schema string, row *rivertype.JobRow) error {
	return own(exec).handBack(ctx, schema, []orphan{{id: row.ID, attempt: row.Attempt, token: *row.AttemptedAt, queue: row.Queue}})
}

// PatientInserts makes the inserts of a client wait for the one that is on its way, however long it takes.
func PatientInserts(p riverpilot.Pilot) { p.(*Pilot).group.patience = 24 * time.Hour }

// GatheredInserts is how many callers wait for the insert that is on its way.
func GatheredInserts(p riverpilot.Pilot) int {
	g := p.(*Pilot).group
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, f := range g.waiting {
		for _, a := range f.asks {
			if !a.gone {
				n++
			}
		}
	}
	return n
}

// Hot reports whether a statement is one of those that a pool's connections keep the plans of.
func Hot(sql, schema string) bool {
	for _, s := range []statement{fetchStatement, completeStatement, settleStatement, scheduleCountStatement} {
		if s.in(schema) == sql {
			return true
		}
	}
	return false
}

// EndAttempt ends one attempt whose handler is still running.
func (p *Pilot) EndAttempt(ctx context.Context, exec riverdriver.Executor, schema string, attemptedAt time.Time, end *riverdriver.JobSetStateIfRunningParams) (bool, error) {
	ended, err := p.EndAttempts(ctx, exec, []time.Time{attemptedAt}, &riverdriver.JobSetStateIfRunningManyParams{
		ID: []int64{end.ID}, Attempt: []*int{end.Attempt}, ErrData: [][]byte{end.ErrData},
		FinalizedAt: []*time.Time{end.FinalizedAt}, MetadataDoMerge: []bool{end.MetadataDoMerge},
		MetadataUpdates: [][]byte{end.MetadataUpdates}, ScheduledAt: []*time.Time{end.ScheduledAt}, Schema: schema,
		State: []rivertype.JobState{end.State},
	})
	return len(ended) > 0, err
}

// Tried returns once all ends that a client has got so far have been tried to be written.
func Tried(ctx context.Context, p riverpilot.Pilot, schema string) error {
	return p.(*Pilot).finisher.join(ctx, schema, nil)
}

// SetBusy makes a client believe that many jobs end, or that few do.
func SetBusy(p riverpilot.Pilot, busy bool) { p.(*Pilot).finisher.busy.Store(busy) }
