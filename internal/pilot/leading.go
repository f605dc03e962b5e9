package pilot

import (
	"context"
	"sync"

	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/startstop"
)

// leading runs Config.Lead while the client is the leader.
type leading struct {
	baseservice.BaseService
	startstop.BaseStartStop
	lead []func(ctx context.Context)
}

// Start begins the service. River starts it with a leadership and stops it at the end of one.
func (l *leading) Start(ctx context.Context) error {
	ctx, shouldStart, started, stopped := l.StartInit(ctx)
	if !shouldStart {
		return nil
	}
	go func() {
		started()
		defer stopped()
		var wg sync.WaitGroup
		for _, lead := range l.lead {
			wg.Go(func() { lead(ctx) })
		}
		wg.Wait()
		<-ctx.Done() // River expects services to end when they are told to
	}()
	return nil
}
