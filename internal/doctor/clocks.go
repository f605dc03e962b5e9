package doctor

import (
	"context"
	"fmt"
	"time"
)

// lookAtClocks compares the database's clock with this host's and with those of the processes.
func lookAtClocks(ctx context.Context, e *examination) error {
	var there time.Time
	begun := e.options.Now()
	if err := e.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
		return err
	}
	way := e.options.Now().Sub(begun)
	// The database looked at its clock some time during the way.
	ahead := begun.Add(way / 2).Sub(there)
	if apart := ahead.Abs() - way/2; apart > e.options.ClockLimit {
		e.clock(ahead, "this host")
	}
	processes, err := e.live(ctx)
	if err != nil {
		return err
	}
	for _, p := range processes {
		if p.Ahead != nil && p.Ahead.Abs() > e.options.ClockLimit {
			e.clock(*p.Ahead, p.String())
		}
	}
	return nil
}

func (e *examination) clock(ahead time.Duration, where string) {
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	e.find(Warning, fmt.Sprintf("its clock is %s %s the database's: scheduled jobs start late or early, and times in lists do not fit together",
		ahead.Abs().Round(100*time.Millisecond), direction), where, "timedatectl set-ntp true   # there, or whatever keeps time on that host")
}
