package pilot

import (
	"context"

	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
)

// upkeep is the leader's housekeeping: folding counters, making and retiring partitions, tidying finished rows.
type upkeep struct {
	baseservice.BaseService
	startstop.BaseStartStop
	pilot *Pilot
}

func newUpkeep(p *Pilot) *upkeep { return &upkeep{pilot: p} }

func (u *upkeep) init(archetype *baseservice.Archetype) { baseservice.Init(archetype, u) }

// Start begins the service.
func (u *upkeep) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := u.StartInit(ctx)
	if !shouldStart {
		return nil
	}
	go func() {
		started()
		defer stopped()
		<-ctx.Done()
	}()
	return nil
}
