package main

import (
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// jobArgs are the args of every kind here: they name the event that the job is about.
type jobArgs interface {
	river.JobArgs
	ref() eventRef
}

type eventRef struct {
	Replay int64  `json:"replay"`
	Event  string `json:"event"`
}

func (r eventRef) ref() eventRef { return r }

// The kinds: find the region of an event; set its alert level; make it findable.
type (
	locateArgs struct{ eventRef }
	assessArgs struct{ eventRef }
	indexArgs  struct {
		eventRef
		ReportedAt time.Time `json:"reported_at"`
	}
)

// pastArgs is a scheduled job: compare the last hours of the feed with as many before.
type pastArgs struct{ Hours int }

func (pastArgs) Kind() string   { return "quakes.report" }
func (locateArgs) Kind() string { return "quakes.locate" }
func (assessArgs) Kind() string { return "quakes.assess" }
func (indexArgs) Kind() string  { return "quakes.index" }

// InsertOpts makes the job unique per event until it is done: an update that comes before joins the one that waits.
func (assessArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}}
}

// InsertOpts lets the search index wait for what matters more.
func (indexArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Priority: 3} }
