package jobs

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Defaults of Backoff. River's 25 attempts take 16 hours until the delay reaches its cap and end after three to four
// days, so a job outlives a weekend's outage.
const (
	BackoffFirstDefault  = time.Second
	BackoffMaxDefault    = 6 * time.Hour
	BackoffJitterDefault = 0.2
)

// Backoff says how long a failed job waits before its next attempt. The delay grows with the fourth power of the number
// of failures (1, 16, 81 … times First) up to Max, and a random share of it is taken off, so that jobs that failed
// together do not come back together. The zero value has the defaults.
//
// It is a river.ClientRetryPolicy: Config.RetryPolicy takes it for all kinds, workers.WithBackoff for one.
type Backoff struct {
	// First is the delay after the first failure. Zero: one second.
	First time.Duration
	// Max caps the delay. Zero: six hours.
	Max time.Duration
	// Jitter is the greatest share that is taken off, at most 1. Zero: 0.2. Negative: none.
	Jitter float64
}

var _ river.ClientRetryPolicy = Backoff{}

// Delay returns the wait after so many failures; fewer than one count as one.
func (b Backoff) Delay(failures int) time.Duration {
	first := float64(cmp.Or(b.First, BackoffFirstDefault))
	limit := float64(cmp.Or(b.Max, BackoffMaxDefault))
	jitter := min(max(cmp.Or(b.Jitter, BackoffJitterDefault), 0), 1)
	delay := min(first*math.Pow(float64(max(failures, 1)), 4), limit)
	return time.Duration(delay * (1 - jitter*rand.Float64()))
}

// NextRetry returns when a job that has just failed is due again. Failures are counted by the recorded errors, as River
// does, because snoozing and handing back leave the number of attempts as it was.
func (b Backoff) NextRetry(job *rivertype.JobRow) time.Time {
	return time.Now().Add(b.Delay(len(job.Errors) + 1))
}
