package workers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

func TestAddProbe(t *testing.T) {
	t.Parallel()
	bundle := workers.NewBundle()
	bundle.AddProbe(jobs.Probe{Name: "a", Query: "SELECT 1", Every: time.Hour})
	require.ErrorContains(t, bundle.AddProbeSafely(jobs.Probe{Name: "a", Query: "SELECT 1", Every: time.Hour}), `add probe "a": there is one of that name`)
	require.Panics(t, func() { bundle.AddProbe(jobs.Probe{}) })
	require.Len(t, bundle.Probes(), 1)
	require.JSONEq(t, `{"query": "SELECT 1", "every": 3600}`, string(bundle.Probes()["a"]))
}
