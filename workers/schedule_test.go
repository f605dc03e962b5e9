package workers_test

import (
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

type nightlyArgs struct{}

func (nightlyArgs) Kind() string { return "nightly" }

var _ river.JobArgs = nightlyArgs{}

func TestAddSchedule(t *testing.T) {
	t.Parallel()
	bundle := workers.NewBundle()
	bundle.AddSchedule(jobs.Schedule{Name: "a", Expression: "@daily", Args: nightlyArgs{}})
	require.ErrorContains(t, bundle.AddScheduleSafely(jobs.Schedule{Name: "a", Expression: "@daily", Args: nightlyArgs{}}), `add schedule "a": there is one of that name`)
	require.ErrorContains(t, bundle.AddScheduleSafely(jobs.Schedule{Name: "b", Expression: "@dayly", Args: nightlyArgs{}}), `expression "@dayly" is no schedule`)
	require.Panics(t, func() { bundle.AddSchedule(jobs.Schedule{}) })
	require.Len(t, bundle.Schedules(), 1)
	require.JSONEq(t, `{"expression": "@daily", "kind": "nightly", "args": {}}`, string(bundle.Schedules()["a"]))
}

func TestTickWithoutSchedule(t *testing.T) {
	t.Parallel()
	_, _, ok := workers.Tick(t.Context())
	require.False(t, ok)
}
