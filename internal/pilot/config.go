package pilot

import (
	"context"
	"time"
)

// Config is what a client may say about itself and its storage. The zero value is River's behaviour.
type Config struct {
	Process   Process
	Retention Retention

	// Cooldown is the least time between two fetches from the database for a queue; what was fetched ahead does not wait for
	// it. Where none is set, River's cooldown alone holds.
	Cooldown map[string]time.Duration

	// SeparateInserts gives each insert on the pool a commit of its own, instead of one with the inserts that come at the
	// same time.
	SeparateInserts bool

	// Lead is what else the leader does. Each function is called in a goroutine of its own when the client becomes the
	// leader and must return soon after its context ends, with the leadership or the client. For moments two clients may
	// lead at once, so what they do must bear that.
	Lead []func(ctx context.Context)
}

// Process describes the process to those who read towpath.process.
type Process struct {
	// Host defaults to the host's name, PID to the process's id.
	Host string
	PID  int
	// Version is the version of the application.
	Version string
	// Roles are the parts this process plays: api, worker, scheduler.
	Roles []string
	// Slots is how many jobs a queue may run at once here.
	Slots map[string]int
	// NeverLeads says that it does not stand for leader.
	NeverLeads bool
}

// Retention is how long job_history keeps finished jobs, counted in whole days of the day they were moved. Where a
// period is zero, River's period for the state holds for both tables.
type Retention struct {
	Completed, Cancelled, Discarded time.Duration
}
