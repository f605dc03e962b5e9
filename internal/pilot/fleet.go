package pilot

import (
	"context"

	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
	"github.com/riverqueue/river/rivertype"
)

// fleet keeps this process's row alive and watches over the others'.
type fleet struct {
	baseservice.BaseService
	startstop.BaseStartStop
	pilot *Pilot
}

func newFleet(p *Pilot) *fleet { return &fleet{pilot: p} }

func (f *fleet) init(archetype *baseservice.Archetype, _ []*rivertype.WorkerMetadata) {
	baseservice.Init(archetype, f)
}

func (f *fleet) register(_ context.Context, _ querier, _, _, _ string) error { return nil }

func (f *fleet) unregister(context.Context, string) error { return nil }

// mayFetch reports whether the process still counts as alive.
func (f *fleet) mayFetch() bool { return true }

// Start begins the beats.
func (f *fleet) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := f.StartInit(ctx)
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
