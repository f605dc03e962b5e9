package pilot_test

import (
	"context"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

// TestFirstLookFails: an error while the driver looks for our line says nothing about the line.
func TestFirstLookFails(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a := &actor{rig: r, name: "a", queue: "default", schema: schema, pilot: r.driver.PluginPilot(), exec: r.exec}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := a.pilot.ProducerInit(over, a.exec, &riverpilot.ProducerInitParams{ClientID: a.name, Queue: a.queue, Schema: schema})
	require.ErrorIs(t, err, context.Canceled)
	_, err = a.exec.JobGetByID(over, &riverdriver.JobGetByIDParams{ID: 1, Schema: schema})
	require.ErrorIs(t, err, context.Canceled)

	a.init(t)
	id := a.insertOne(t)
	a.fetchOne(t)
	a.end(t, completed(id))
	r.requireIn(t, "history", rivertype.JobStateCompleted, id)
	require.Equal(t, map[string]int{"started": 1, "completed": 1}, r.counters(t, "default"))
}

// TestWithoutTheLine: in a schema that has River's tables alone the pilot does what River does.
func TestWithoutTheLine(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.run(t, `DROP TABLE towpath.job_history CASCADE`)
	a := r.actor(t, "a")
	id := a.insert(t, jobs(3)...)
	require.Len(t, a.fetch(t, 2), 2)
	require.Len(t, a.finish(t, completed(id[0]), failed(id[1], time.Now().Add(time.Hour))), 2)
	row, err := a.cancel(t.Context(), id[2])
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, row.State)
	require.Equal(t, rivertype.JobStateCompleted, r.get(t, id[0]).State)
	_, err = a.retry(t.Context(), id[0])
	require.NoError(t, err)
	_, err = a.remove(t.Context(), id[0])
	require.NoError(t, err)
	require.Empty(t, r.counters(t, "default"))
	require.Len(t, a.list(t, "true"), 2)
}
