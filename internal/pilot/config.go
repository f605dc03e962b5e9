package pilot

import "time"

// Config is what a client may say about itself and its storage. The zero value is River's behaviour.
type Config struct {
	Process   Process
	Retention Retention
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
}

// Retention is how long job_history keeps finished jobs, counted in whole days of the day they were moved. Where a
// period is zero, River's period for the state holds for both tables.
type Retention struct {
	Completed, Cancelled, Discarded time.Duration
}
