package jobs_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
)

func TestBackoffGrowsUpToItsCap(t *testing.T) {
	t.Parallel()
	exact := jobs.Backoff{Jitter: -1}
	require.Equal(t, time.Second, exact.Delay(1))
	require.Equal(t, 16*time.Second, exact.Delay(2))
	require.Equal(t, 81*time.Second, exact.Delay(3))
	require.Equal(t, time.Second, exact.Delay(0))
	require.Equal(t, jobs.BackoffMaxDefault, exact.Delay(13))
	require.Equal(t, jobs.BackoffMaxDefault, exact.Delay(1_000_000))

	own := jobs.Backoff{First: time.Minute, Max: 10 * time.Minute, Jitter: -1}
	require.Equal(t, time.Minute, own.Delay(1))
	require.Equal(t, 10*time.Minute, own.Delay(2))
}

func TestBackoffJitterSpreadsAndKeepsTheCap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		backoff jobs.Backoff
		least   time.Duration
	}{
		"default": {jobs.Backoff{Max: time.Hour}, 48 * time.Minute},
		"half":    {jobs.Backoff{Max: time.Hour, Jitter: 0.5}, 30 * time.Minute},
		"beyond":  {jobs.Backoff{Max: time.Hour, Jitter: 7}, 0},
	} {
		seen := make(map[time.Duration]bool)
		for range 1000 {
			delay := test.backoff.Delay(1000)
			require.LessOrEqual(t, delay, time.Hour, name)
			require.GreaterOrEqual(t, delay, test.least, name)
			seen[delay] = true
		}
		require.Greater(t, len(seen), 900, name)
	}
}

func TestBackoffCountsRecordedErrors(t *testing.T) {
	t.Parallel()
	before := time.Now()
	// Two failures and a hand-back: the attempt's number lags behind.
	job := &rivertype.JobRow{Attempt: 1, Errors: make([]rivertype.AttemptError, 2)}
	at := jobs.Backoff{Jitter: -1}.NextRetry(job)
	require.WithinDuration(t, before.Add(81*time.Second), at, 10*time.Second)
}

func TestDefaultAttemptsOutliveAWeekendAndEnd(t *testing.T) {
	t.Parallel()
	var total time.Duration
	for failures := 1; failures < 25; failures++ {
		total += jobs.Backoff{Jitter: -1}.Delay(failures)
	}
	require.Greater(t, total, 3*24*time.Hour)
	require.Less(t, total, 4*24*time.Hour)
}
