package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/probe"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

// A record deleted from the catalogue is missing at the next comparison; an emptied catalogue is empty, not different.
func TestFeedAndCatalogue(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := jobstest.DB(t)
	schema, err := migrations.ReadFile("migrations/001_quakes.up.sql")
	require.NoError(t, err)
	_, err = pool.Exec(ctx, string(schema))
	require.NoError(t, err)
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	i := &importer{pool: pool, client: client}
	_, err = i.readFeed(feedCSV)
	require.NoError(t, err)
	require.NoError(t, i.begin(ctx))
	d, err := probe.Read(newBundle().Probes()["feed and catalogue"])
	require.NoError(t, err)
	none := 0.0
	d.AlertAbove, d.Timeout, d.Examples = &none, 30, 10 // as the database completes it
	runner := probe.New(probe.Config{Pool: pool, Roles: []string{"towpath_probe"}, Logger: slog.New(slog.DiscardHandler)})
	compare := func() store.ProbeEnd { return runner.Run(context.WithoutCancel(ctx), d) }

	require.Equal(t, probe.Empty, compare().Outcome, "before the first report")
	for _, r := range i.reports[:20] {
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return i.take(ctx, tx, r) }))
	}
	end := compare()
	require.Equal(t, probe.OK, end.Outcome, end.Detail)
	_, err = pool.Exec(ctx, `DELETE FROM quakes.event WHERE id = $1`, i.reports[0].id)
	require.NoError(t, err)
	end = compare()
	require.Equal(t, probe.Beyond, end.Outcome)
	require.Equal(t, "missing is 1, above 0", end.Detail)
	require.Equal(t, map[string][]string{"missing": {i.reports[0].id}}, end.Found.Examples)
	_, err = pool.Exec(ctx, `DELETE FROM quakes.event`)
	require.NoError(t, err)
	end = compare()
	require.Equal(t, probe.Empty, end.Outcome)
	require.Equal(t, "the query compared with returned nothing", end.Detail)
}
