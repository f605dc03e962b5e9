package jobs_test

import (
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
)

type digestArgs struct {
	Team int `json:"team"`
}

func (digestArgs) Kind() string { return "report.digest" }

func (digestArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: "reports", MaxAttempts: 3}
}

func TestScheduleDocument(t *testing.T) {
	t.Parallel()
	s := jobs.Schedule{
		Name: "digest", Expression: "0 6 * * MON", Zone: "Europe/Paris", Args: digestArgs{Team: 7}, Opts: &river.InsertOpts{Priority: 2},
		Missed: jobs.SkipMissed, SkipAfter: time.Hour, Overlap: jobs.QueueOverlap, Longest: time.Minute,
	}
	document, err := s.Document()
	require.NoError(t, err)
	require.JSONEq(t, `{"expression": "0 6 * * MON", "zone": "Europe/Paris", "kind": "report.digest", "args": {"team": 7}, "queue": "reports",
		"priority": 2, "max_attempts": 3, "missed": "skip", "skip_after": 3600, "overlap": "queue", "longest": 60}`, string(document))
	next, err := s.Next(time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, "2026-11-30T06:00:00+01:00", next.Format(time.RFC3339))
}

func TestScheduleFaults(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(s *jobs.Schedule){
		`define schedule "digest": expression "0 6 30 2 *" never comes`: func(s *jobs.Schedule) { s.Expression = "0 6 30 2 *" },
		`define schedule "digest": zone "Mars" is not known`:            func(s *jobs.Schedule) { s.Zone = "Mars" },
		`is longer than the shortest time between two runs`:             func(s *jobs.Schedule) { s.Jitter = 48 * time.Hour },
		`is before starts_at`: func(s *jobs.Schedule) {
			s.Start, s.End = time.Now(), time.Now().Add(-time.Hour)
		},
		`it needs args`:     func(s *jobs.Schedule) { s.Args = nil },
		`name "" must have`: func(s *jobs.Schedule) { s.Name = "" },
		`queue, priority, max attempts and tags can be set`: func(s *jobs.Schedule) {
			s.Opts = &river.InsertOpts{ScheduledAt: time.Now()}
		},
	} {
		s := jobs.Schedule{Name: "digest", Expression: "@daily", Args: digestArgs{}}
		change(&s)
		_, err := s.Document()
		require.ErrorContains(t, err, want)
	}
}
