package pilot

import "github.com/riverqueue/river/rivershared/riverpilot"

// HeldCount is how many jobs a client holds.
func HeldCount(p riverpilot.Pilot) int { return p.(*Pilot).held.count() }
