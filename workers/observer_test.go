package workers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/jobs/jobstest"
	"github.com/towpath/towpath/workers"
)

// watcher writes down what it is told.
type watcher chan string

func (w watcher) AttemptBegan(job *rivertype.JobRow) { w <- fmt.Sprintf("%d began", job.Attempt) }

func (w watcher) AttemptEnded(_ *rivertype.JobRow, outcome string, ran time.Duration) {
	if ran <= 0 {
		outcome = "an odd duration"
	}
	w <- outcome
}

func TestObserver(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		work        work
		maxAttempts int
		want        string
	}{
		"Succeeds":  {func(context.Context, *river.Job[taskArgs]) error { return nil }, 1, "succeeded"},
		"Fails":     {func(context.Context, *river.Job[taskArgs]) error { return errors.New("no") }, 2, "retried"},
		"FailsLast": {func(context.Context, *river.Job[taskArgs]) error { return errors.New("no") }, 1, "discarded"},
		"Permanent": {func(context.Context, *river.Job[taskArgs]) error { return workers.Permanent(errors.New("no")) }, 5, "discarded"},
		"Panics":    {func(context.Context, *river.Job[taskArgs]) error { panic("no") }, 2, "retried"},
		"Snoozes":   {func(context.Context, *river.Job[taskArgs]) error { return river.JobSnooze(time.Hour) }, 2, "snoozed"},
		"Cancels":   {func(context.Context, *river.Job[taskArgs]) error { return river.JobCancel(errors.New("no")) }, 2, "cancelled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(watcher, 100)
			c := config(jobstest.DB(t))
			c.Observer = told
			c.Client.RetryPolicy = jobs.Backoff{First: time.Hour, Max: time.Hour}
			r := start(t, c, bundleOf(test.work))
			_, err := r.Client().Insert(t.Context(), taskArgs{}, &river.InsertOpts{MaxAttempts: test.maxAttempts})
			require.NoError(t, err)
			require.Equal(t, "1 began", receive(t, told))
			require.Equal(t, test.want, receive(t, told))
		})
	}
}

// A job that ignores everything is told of once: when it is handed back, not when it returns.
func TestObserverOfAJobThatIsHandedBack(t *testing.T) {
	t.Parallel()
	told, release := make(watcher, 100), make(chan struct{})
	returned := make(chan struct{})
	c := config(jobstest.DB(t))
	c.Observer, c.Grace, c.CancelGrace = told, time.Millisecond, time.Millisecond
	r, err := workers.New(c, bundleOf(func(context.Context, *river.Job[taskArgs]) error {
		defer close(returned)
		<-release
		return nil
	}))
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context()))
	_, err = r.Client().Insert(t.Context(), taskArgs{}, nil)
	require.NoError(t, err)
	require.Equal(t, "1 began", receive(t, told))
	require.Equal(t, map[string]int{"default": 1}, r.Busy())
	require.Equal(t, map[string]int{"default": workers.SlotsDefault}, r.Slots())
	require.Error(t, r.Stop())
	require.Equal(t, "interrupted", receive(t, told))
	require.Empty(t, r.Busy(), "its slot is not its own any more")
	close(release)
	<-returned
	eventually(t, func() bool { return r.Running() == 0 }, "the handler is gone")
	require.Empty(t, told)
}

type mailArgs struct{}

func (mailArgs) Kind() string                 { return "mail" }
func (mailArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: "mails"} }

// A kind is known, with the queue of its jobs, before there is one.
func TestKnownKinds(t *testing.T) {
	t.Parallel()
	pool := jobstest.DB(t)
	bundle := bundleOf(nothing)
	workers.Add(bundle, river.WorkFunc(func(context.Context, *river.Job[mailArgs]) error { return nil }))
	workers.Add(bundle, river.WorkFunc(func(context.Context, *river.Job[*pointerArgs]) error { return nil }))
	start(t, config(pool), bundle)
	var known string
	require.NoError(t, pool.QueryRow(t.Context(),
		`SELECT string_agg(kind || ' in ' || queue, ', ' ORDER BY kind) FROM towpath.known_kind`).Scan(&known))
	require.Equal(t, "mail in mails, pointer in default, task in default", known)
}

// pointerArgs needs its values to say where it goes.
type pointerArgs struct{ queue string } //towpath:allow never read back: the test is about where it goes

func (*pointerArgs) Kind() string                   { return "pointer" }
func (a *pointerArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{Queue: a.queue} }
