package ticker

import (
	"context"
	"time"
)

// Leader is a leadership that takes its steps when a test says so.
type Leader struct{ l *leadership }

// NewLeader begins a leadership.
func NewLeader(config Config) *Leader { return &Leader{New(config).lead()} }

// Step does what is to do now.
func (l *Leader) Step(ctx context.Context) (time.Duration, error) {
	l.l.noteNext = time.Time{}
	return l.l.step(ctx)
}

// StepAgain is Step for a leader that has just looked at the runs.
func (l *Leader) StepAgain(ctx context.Context) (time.Duration, error) { return l.l.step(ctx) }
