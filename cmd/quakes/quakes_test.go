package main

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
)

func TestFeed(t *testing.T) {
	t.Parallel()
	i := &importer{}
	events, err := i.readFeed(feedCSV)
	require.NoError(t, err)
	require.Equal(t, 1707, events)
	require.Len(t, i.reports, 2*events)
	seen := make(map[string]bool)
	for n, r := range i.reports {
		if n > 0 {
			require.False(t, r.at.Before(i.reports[n-1].at), "the reports are in the order of time")
		}
		require.Equal(t, seen[r.id], r.update, "the first report of an event comes before its update")
		seen[r.id] = true
	}

	_, err = (&importer{}).readFeed("id,time,updated\nx,yesterday,today")
	require.Error(t, err)
}

func TestRegionOf(t *testing.T) {
	t.Parallel()
	for place, region := range map[string]string{
		"37km NNE of Amboy, Washington": "Washington",
		"9km NE of Shasta Lake, CA":     "California",
		"South of the Fiji Islands":     "Fiji Islands",
		"Kuril Islands":                 "Kuril Islands",
	} {
		require.Equal(t, region, regionOf(place), place)
	}
}

func TestAlertOf(t *testing.T) {
	t.Parallel()
	great := 7.2
	for want, e := range map[string]event{
		"none":  {eventType: "explosion", significance: 2000},
		"red":   {eventType: "earthquake", significance: 700, tsunami: true, magnitude: &great},
		"green": {eventType: "earthquake", significance: 700},
	} {
		require.Equal(t, want, alertOf(&e))
	}
}

// The digests follow the feed: at half the speed an hour of it takes twice as long. Without a pause they run as usual, and
// no speed asks for a period that cannot be.
func TestDigestsFollowTheSpeed(t *testing.T) {
	t.Parallel()
	for speed, want := range map[float64][2]string{
		3600: {"1s", "168s"}, 1800: {"2s", "336s"}, 100: {"36s", "6048s"}, 0: {"1s", "168s"}, 1e9: {"1s", "1s"}, 1e-9: {"1000000000s", "1000000000s"},
	} {
		bundle := newBundle()
		addSchedules(bundle, speed)
		for i, name := range []string{"hourly digest", "weekly digest"} {
			require.Contains(t, string(bundle.Schedules()[name]), `"@every `+want[i]+`"`, "%s at speed %g", name, speed)
		}
	}
	require.Empty(t, newBundle().Schedules(), "who only works leaves them to the replay")
}

// An update that comes before the work joins the job that waits; after it, it gets one of its own. A report that is
// rolled back leaves neither an event nor a job.
func TestTake(t *testing.T) {
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

	first := i.reports[0]
	update := report{event: first.event, at: first.at, update: true}
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, i.take(ctx, tx, first))
	require.NoError(t, tx.Rollback(ctx))
	f, err := i.count(ctx)
	require.NoError(t, err)
	require.Equal(t, figures{}, f)

	for _, r := range []report{first, update} {
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return i.take(ctx, tx, r) }))
	}
	f, err = i.count(ctx)
	require.NoError(t, err)
	require.Equal(t, figures{events: 1, expected: 4}, f, "locate, one assess, two index")
	require.Equal(t, 4, f.lost())
}
