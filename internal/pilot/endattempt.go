package pilot

import (
	"context"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
)

// EndAttempts ends attempts of this client whose handlers are still running: one that is stuck, or those that the process
// leaves behind when it stops. attemptedAt are the fetches that the attempts belong to. It returns the ids of those that
// were still to be ended.
//
// The client goes on holding the jobs until their handlers have returned, since River goes on running them, and from now
// on whatever a handler's return would write is left out.
func (p *Pilot) EndAttempts(ctx context.Context, exec riverdriver.Executor, attemptedAt []time.Time, params *riverdriver.JobSetStateIfRunningManyParams) ([]int64, error) {
	var ended []int64
	x := own(exec)
	if x == nil || !x.hasLine(ctx, params.Schema) {
		rows, err := p.StandardPilot.JobSetStateIfRunningMany(ctx, exec, params)
		for _, row := range rows {
			if row.State != rivertype.JobStateRunning {
				ended = append(ended, row.ID)
			}
		}
		return ended, err
	}
	endings := newEndings(params)
	tokens := make(map[int64]time.Time, len(endings))
	for i := range endings {
		endings[i].token = &attemptedAt[i]
		tokens[endings[i].id] = attemptedAt[i]
	}
	p.held.attach(endings)
	rows, err := x.settleSafely(ctx, params.Schema, nil, endings)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		p.held.overrule(row.ID, tokens[row.ID])
		ended = append(ended, row.ID)
	}
	p.ended(ctx, x, params.Schema, rows)
	return ended, nil
}

// overrule notes that the attempt was ended while its handler runs.
func (h *held) overrule(id int64, token time.Time) {
	h.mark(id, func(c *claim) { c.over = c.over || c.token.Equal(token) })
}
