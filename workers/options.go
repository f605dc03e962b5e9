package workers

import (
	"fmt"
	"time"

	"github.com/towpath/towpath/jobs"
)

// Option adjusts how jobs of one kind are worked.
type Option func(*settings) error

// settings are what the options of a kind add up to.
type settings struct {
	softLimit   time.Duration // 0: four fifths of the hard one
	retryIf     func(error) bool
	backoff     *jobs.Backoff
	maxAttempts int // 0: what the row says
}

func newSettings(options []Option) (*settings, error) {
	s := &settings{}
	for _, option := range options {
		if err := option(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// WithSoftLimit sets the soft time limit, counted from the start of an attempt. It works without a hard limit too. One
// that is not below the hard limit is never reached.
func WithSoftLimit(limit time.Duration) Option {
	return func(s *settings) error {
		if limit <= 0 {
			return fmt.Errorf("soft limit %s: it must be positive", limit)
		}
		s.softLimit = limit
		return nil
	}
}

// WithRetryIf says which errors are worth a retry. An error for which retry returns false is treated as Permanent. It is
// not asked about errors that are Permanent already, cancel or snooze the job, or come from a stop of the process, nor
// about panics, which are retried. It gets the error as the handler returned it, for errors.Is and errors.As.
func WithRetryIf(retry func(err error) bool) Option {
	return func(s *settings) error {
		s.retryIf = retry
		return nil
	}
}

// WithBackoff sets the delays between the attempts of the kind. A worker's own NextRetry goes first.
func WithBackoff(backoff jobs.Backoff) Option {
	return func(s *settings) error {
		s.backoff = &backoff
		return nil
	}
}

// WithMaxAttempts bounds the attempts of jobs of the kind, whatever their rows allow. A job whose row allows fewer gets
// fewer. How many a row allows is set at insert: river.InsertOpts, the InsertOpts of the args, else the client's 25.
func WithMaxAttempts(n int) Option {
	return func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("max attempts %d: it must be at least 1", n)
		}
		s.maxAttempts = n
		return nil
	}
}
