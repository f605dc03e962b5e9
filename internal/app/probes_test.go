package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/app"
	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

// The probes of a bundle are written to the database at the start, and the leader runs them. What the code has no longer
// goes, and what was edited at run time stays.
func TestProbesInCode(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t)
	bundle, _ := newBundle()
	bundle.AddProbe(jobs.Probe{Name: "queues", Query: "SELECT count(*) AS queues FROM towpath.queues", Every: time.Second, EmptyIsFine: true})
	bundle.AddProbe(jobs.Probe{Name: "edited", Query: "SELECT 1 AS n", Every: time.Hour})
	a := start(t, configure(t, url), bundle, app.Scheduler)
	var shown string
	require.Eventually(t, func() bool {
		err := a.Pool().QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', name, status, defined_in), ', ' ORDER BY name) FROM towpath.probes`).Scan(&shown)
		return err == nil && shown == "edited ok code, queues ok code"
	}, testLimit, 20*time.Millisecond, "%s", &shown)
	_, err := a.Pool().Exec(t.Context(), `SELECT towpath.put_probe('edited', 'SELECT 2 AS n', '1 hour')`)
	require.NoError(t, err)
	_, err = a.Pool().Exec(t.Context(), `SELECT towpath.delete_probe('queues')`)
	require.ErrorContains(t, err, `probe "queues" is defined in code and would come back`)
	require.NoError(t, a.Stop())

	next, _ := newBundle()
	next.AddProbe(jobs.Probe{Name: "other", Query: "SELECT 1 AS n", Every: time.Hour})
	a = start(t, configure(t, url), next, app.Scheduler)
	require.Eventually(t, func() bool {
		// Another set counts once no process with the first one has been seen for a minute; the stop was a moment ago.
		_, err := a.Pool().Exec(t.Context(), `UPDATE towpath.deployment SET seen_at = now() - interval '2 minutes' WHERE definitions ? 'queues'`)
		require.NoError(t, err)
		err = a.Pool().QueryRow(t.Context(), `SELECT string_agg(concat_ws(' ', name, defined_in), ', ' ORDER BY name) FROM towpath.probes`).Scan(&shown)
		return err == nil && shown == "edited run time, other code"
	}, testLimit, 20*time.Millisecond, "%s", &shown)
	bad, _ := newBundle()
	bad.AddProbe(jobs.Probe{Name: "bad", Query: "DELETE FROM towpath.river_job", Every: time.Hour})
	opts := options(t)
	opts.Application = "another"
	refused, err := app.New(configure(t, url), bad, []app.Role{app.Scheduler}, opts)
	require.NoError(t, err)
	require.ErrorContains(t, refused.Start(t.Context()), `query "DELETE FROM towpath.river_job" is no query`)
	require.NoError(t, a.Stop())
}
