package jobs_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
)

func TestProbeDocument(t *testing.T) {
	t.Parallel()
	none, some := 0.0, 4.5
	document, err := jobs.Probe{Name: "orders", Query: "SELECT 1", Every: time.Minute}.Document()
	require.NoError(t, err)
	require.JSONEq(t, `{"query": "SELECT 1", "every": 60}`, string(document))
	document, err = jobs.Probe{
		Name: "orders", Query: "SELECT 1", CompareWith: "SELECT 2", Every: time.Minute, Timeout: 500 * time.Millisecond, Role: "r", KeyColumns: []string{"id"},
		Description: "d", EmptyIsFine: true, AlertAbove: &some, AlertBelow: &none, Examples: -1,
	}.Document()
	require.NoError(t, err)
	require.JSONEq(t, `{"query": "SELECT 1", "compare_with": "SELECT 2", "every": 60, "timeout": 0.5, "role": "r", "key_columns": ["id"], "description": "d",
		"empty_is_fine": true, "alert_above": 4.5, "alert_below": 0, "examples": 0}`, string(document))
}

func TestProbeFaults(t *testing.T) {
	t.Parallel()
	one, two := 1.0, 2.0
	for want, change := range map[string]func(p *jobs.Probe){
		`define probe "orders": it needs a query`:                       func(p *jobs.Probe) { p.Query = "" },
		`define probe "": name "" must have`:                            func(p *jobs.Probe) { p.Name = "" },
		`every 0s must be from one second to 366 days`:                  func(p *jobs.Probe) { p.Every = 0 },
		`every -1m0s must be from one second`:                           func(p *jobs.Probe) { p.Every = -time.Minute },
		`timeout 2m0s must be no more than every, 1m0s`:                 func(p *jobs.Probe) { p.Timeout = 2 * time.Minute },
		`examples 101 must be at most 100`:                              func(p *jobs.Probe) { p.Examples = 101 },
		`alert above 1 is less than alert below 2, so that every value`: func(p *jobs.Probe) { p.AlertAbove, p.AlertBelow = &one, &two },
	} {
		p := jobs.Probe{Name: "orders", Query: "SELECT 1", Every: time.Minute}
		change(&p)
		_, err := p.Document()
		require.ErrorContains(t, err, want)
	}
}
