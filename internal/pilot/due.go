package pilot

import (
	"context"
	"time"

	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
)

// dueService makes scheduled and retryable jobs available at the moment they fall due.
type dueService struct {
	baseservice.BaseService
	startstop.BaseStartStop
	pilot *Pilot
}

func newDueService(p *Pilot) *dueService { return &dueService{pilot: p} }

func (s *dueService) init(archetype *baseservice.Archetype) { baseservice.Init(archetype, s) }

// Start begins the service.
func (s *dueService) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := s.StartInit(ctx)
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

// at tells the service of a job that falls due at t.
func (s *dueService) at(time.Time) {}
