package pilot_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/stretchr/testify/require"
)

// A queue without workers is forgotten after a while, but not as long as somebody has paused it.
func TestPausedQueuesAreKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.pool.Exec(t.Context(), `INSERT INTO towpath.river_queue (name, updated_at, paused_at) VALUES
		('left', now() - interval '3 days', NULL), ('left-too', now() - interval '2 days', NULL), ('paused', now() - interval '3 days', now() - interval '3 days'), ('worked', now(), NULL)`)
	require.NoError(t, err)
	forget := func(most int) []string {
		names, err := r.exec.QueueDeleteExpired(t.Context(), &riverdriver.QueueDeleteExpiredParams{Max: most, Schema: schema, UpdatedAtHorizon: time.Now().Add(-24 * time.Hour)})
		require.NoError(t, err)
		return names
	}
	require.Equal(t, []string{"left"}, forget(1))
	require.Equal(t, []string{"left-too"}, forget(10))
	require.Empty(t, forget(10))

	require.NoError(t, r.exec.QueueResume(t.Context(), &riverdriver.QueueResumeParams{Name: "paused", Schema: schema}))
	require.Empty(t, forget(10), "the time counts anew")
	_, err = r.pool.Exec(t.Context(), `UPDATE towpath.river_queue SET updated_at = now() - interval '25 hours' WHERE name = 'paused'`)
	require.NoError(t, err)
	require.Equal(t, []string{"paused"}, forget(10))
}
