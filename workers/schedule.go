package workers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/jobs"
)

// AddSchedule adds a schedule that the program's code defines. It panics where AddScheduleSafely returns an error.
//
// When a process of cmd.Main starts, the schedules of its bundle are written to the database, and those that the code no
// longer has are taken out. The leader fires them, whichever process that is; workers for their kinds must run somewhere.
// A schedule that was edited at run time keeps what was edited until somebody goes back to the code's.
func (b *Bundle) AddSchedule(s jobs.Schedule) {
	if err := b.AddScheduleSafely(s); err != nil {
		panic(err)
	}
}

// AddScheduleSafely adds a schedule, or says what is wrong with it.
func (b *Bundle) AddScheduleSafely(s jobs.Schedule) error {
	document, err := s.Document()
	if err != nil {
		return err
	}
	if _, taken := b.schedules[s.Name]; taken {
		return fmt.Errorf("add schedule %q: there is one of that name", s.Name)
	}
	if b.schedules == nil {
		b.schedules = make(map[string]json.RawMessage)
	}
	b.schedules[s.Name] = document
	return nil
}

// Schedules returns the definitions of the bundle's schedules by name, as towpath.define_schedule takes them.
func (b *Bundle) Schedules() map[string]json.RawMessage { return maps.Clone(b.schedules) }

// Tick tells a handler which schedule enqueued its job, and for which tick: the moment that the schedule's expression
// names, whenever the job runs. ok is false for a job that no schedule enqueued.
func Tick(ctx context.Context) (name string, tick time.Time, ok bool) {
	a := attemptOf(ctx)
	if a == nil {
		return "", time.Time{}, false
	}
	return schedule.TickOf(a.row.Metadata)
}
