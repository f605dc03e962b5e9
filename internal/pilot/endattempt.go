package pilot

import (
	"context"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// EndAttempt ends an attempt of this client whose handler is still running: one that is stuck, or that the process
// leaves behind when it stops. attemptedAt is the fetch that the attempt belongs to. It reports whether the attempt was
// still to be ended.
//
// The client goes on holding the job until the handler has returned, since River goes on running it, and from now on
// whatever the handler's return would write is left out.
func (p *Pilot) EndAttempt(ctx context.Context, exec riverdriver.Executor, schema string, attemptedAt time.Time, params *riverdriver.JobSetStateIfRunningParams) (bool, error) {
	many := &riverdriver.JobSetStateIfRunningManyParams{
		ID: []int64{params.ID}, Attempt: []*int{params.Attempt}, ErrData: [][]byte{params.ErrData},
		FinalizedAt: []*time.Time{params.FinalizedAt}, MetadataDoMerge: []bool{params.MetadataDoMerge},
		MetadataUpdates: [][]byte{params.MetadataUpdates}, ScheduledAt: []*time.Time{params.ScheduledAt}, Schema: schema,
		State: []rivertype.JobState{params.State},
	}
	x := own(exec)
	if x == nil || !x.hasLine(ctx, schema) {
		rows, err := p.StandardPilot.JobSetStateIfRunningMany(ctx, exec, many)
		return len(rows) > 0 && rows[0].State != rivertype.JobStateRunning, err
	}
	endings := newEndings(many, func(int64) *time.Time { return &attemptedAt })
	p.held.timed(endings)
	rows, err := x.settleSafely(ctx, schema, nil, endings)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	p.held.overrule(params.ID, attemptedAt)
	p.due.expect(rows)
	return true, nil
}

// overrule notes that the attempt was ended while its handler runs.
func (h *held) overrule(id int64, token time.Time) {
	h.mark(id, func(c *claim) { c.over = c.over || c.token.Equal(token) })
}

// dropOverruled takes out the endings of attempts that were ended before, and is done with those.
func (h *held) dropOverruled(endings []ending) []ending {
	rest := endings[:0]
	for i := range endings {
		over := false
		h.mark(endings[i].id, func(c *claim) {
			over = c.over
			c.finished = c.finished || over
		})
		if !over {
			rest = append(rest, endings[i])
		}
	}
	return rest
}
