package pilot

import (
	"slices"
	"sync"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"golang.org/x/time/rate"
)

// A commit that notifies takes a lock of the whole cluster, so notifications one by one would keep concurrent commits
// from sharing a flush. Up to bellRate a second and queue they cost nothing worth mentioning and every job gets its own.
// Beyond that rate they are left out: workers that see so many jobs come look again by themselves (see wake.go).
const (
	bellRate  = 100
	bellBurst = 20
)

// bell decides which queues an insert notifies.
type bell struct {
	mu     sync.Mutex
	queues map[string]*rate.Limiter
}

func newBell() *bell { return &bell{queues: make(map[string]*rate.Limiter)} }

// ring returns the queues to notify of the jobs.
func (b *bell) ring(jobs []*riverdriver.JobInsertFastParams) []string {
	var seen, queues []string
	for _, job := range jobs {
		if job.State != rivertype.JobStateAvailable || slices.Contains(seen, job.Queue) {
			continue
		}
		seen = append(seen, job.Queue)
		if b.of(job.Queue).Allow() {
			queues = append(queues, job.Queue)
		}
	}
	return queues
}

func (b *bell) of(queue string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	limiter, ok := b.queues[queue]
	if !ok {
		limiter = rate.NewLimiter(bellRate, bellBurst)
		b.queues[queue] = limiter
	}
	return limiter
}
