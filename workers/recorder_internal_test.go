package workers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/store"
)

// sink takes what a recorder writes, or refuses it.
type sink struct {
	mu     sync.Mutex
	fail   func(events []store.JobEvent) error
	events []store.JobEvent
	calls  int
}

func (s *sink) write(_ context.Context, events []store.JobEvent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if err := s.fail(events); err != nil {
			return err
		}
	}
	s.events = append(s.events, events...)
	return nil
}

func (s *sink) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, e := range s.events {
		all = append(all, e.Message)
	}
	return all
}

func (s *sink) failWith(fail func([]store.JobEvent) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func always(err error) func([]store.JobEvent) error {
	return func([]store.JobEvent) error { return err }
}

func testRuntime(s *sink) (*runtime, *bytes.Buffer) {
	var process bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&process, nil))
	return newRuntime(nil, newRecorder(logger, s.write), logger, nil), &process
}

func (rt *runtime) testAttempt(id int64) *attempt {
	ctx := context.Background()
	return rt.begin(ctx, &rivertype.JobRow{ID: id, Attempt: 1, MaxAttempts: 25}, &settings{}, (&seats{}).take(ctx))
}

func line(message string) store.JobEvent {
	return store.JobEvent{Event: store.EventLog, Message: message}
}

var errAway = errors.New("the database is away")

func TestLinesThatDoNotFitAreCountedAndSaid(t *testing.T) {
	t.Parallel()
	s := &sink{}
	rt, _ := testRuntime(s)
	a, other := rt.testAttempt(1), rt.testAttempt(2)
	for i := range noteMaxWaiting + 7 {
		a.note(line(fmt.Sprint(i)))
	}
	other.note(line("there is room for others"))
	rt.recorder.flush()
	a.note(line("room again"))
	rt.recorder.flush()

	messages := s.messages()
	require.Len(t, messages, noteMaxWaiting+3)
	require.Equal(t, "1999", messages[noteMaxWaiting-1])
	require.Equal(t, []string{
		"there is room for others", "7 log lines were dropped here, because the database did not keep up", "room again",
	}, messages[noteMaxWaiting:])
	require.Equal(t, "WARN", s.events[noteMaxWaiting+1].Level)
	require.JSONEq(t, `{"dropped": 7}`, s.events[noteMaxWaiting+1].Attrs)
}

func TestDroppedLinesAreSaidAtTheEnd(t *testing.T) {
	t.Parallel()
	s := &sink{}
	rt, _ := testRuntime(s)
	rt.recorder.direct = true
	a := rt.testAttempt(1)
	for range noteMaxWaiting + 1 {
		a.note(line("x"))
	}
	rt.end(a)
	require.Equal(t, "1 log lines were dropped here, because the database did not keep up", s.messages()[noteMaxWaiting])
	require.Empty(t, rt.attempts())
}

func TestAllAttemptsTogetherAreBounded(t *testing.T) {
	t.Parallel()
	s := &sink{}
	rt, _ := testRuntime(s)
	big := strings.Repeat("x", noteMaxMessage)
	for id := range int64(10) {
		a := rt.testAttempt(id)
		for range noteMaxWaiting {
			a.note(line(big))
		}
		a.note(store.JobEvent{Event: store.EventStuck, Message: "never dropped"})
	}
	require.LessOrEqual(t, rt.recorder.bytes, recordMaxBytes+11*(noteMaxMessage+64))
	rt.recorder.flush()
	require.Zero(t, rt.recorder.bytes)
	kept := 0
	for _, message := range s.messages() {
		if message == "never dropped" {
			kept++
		}
	}
	require.Equal(t, 10, kept)
}

func TestFailedBatchesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s := &sink{fail: always(errAway)}
	rt, process := testRuntime(s)
	a := rt.testAttempt(1)
	a.note(line("one"))
	require.False(t, rt.recorder.flush())
	a.note(line("two"))
	require.False(t, rt.recorder.flush())
	require.Equal(t, 1, strings.Count(process.String(), "job events cannot be written"))
	s.failWith(nil)
	require.True(t, rt.recorder.flush())
	require.Equal(t, []string{"one", "two"}, s.messages())
	require.Positive(t, s.events[0].Age)
	require.Greater(t, s.events[0].Age, s.events[1].Age)

	s.failWith(always(errAway))
	a.note(line("three"))
	require.False(t, rt.recorder.flush())
	require.Equal(t, 2, strings.Count(process.String(), "job events cannot be written"), "said again after it went well")
}

func TestOneBadEventDoesNotTakeTheOthersAlong(t *testing.T) {
	t.Parallel()
	refuse := func(events []store.JobEvent) error {
		for _, e := range events {
			if e.Message == "bad" {
				return &pgconn.PgError{Code: "22P05", Message: "no such character"}
			}
		}
		return nil
	}
	s := &sink{fail: refuse}
	rt, process := testRuntime(s)
	a := rt.testAttempt(1)
	for _, message := range []string{"one", "bad", "two", "bad", "three"} {
		a.note(line(message))
	}
	require.True(t, rt.recorder.flush())
	require.Equal(t, []string{"one", "two", "three"}, s.messages())
	require.Contains(t, process.String(), "job events were refused")
	require.Contains(t, process.String(), "events=2")
	require.True(t, rt.recorder.hasWritten(a.notes.last), "nobody waits for what is given up")

	// The database goes away in the middle of that.
	s.failWith(func(events []store.JobEvent) error {
		if events[0].Message == "five" {
			return errAway
		}
		return refuse(events)
	})
	for _, message := range []string{"bad", "four", "five", "six"} {
		a.note(line(message))
	}
	require.False(t, rt.recorder.flush())
	s.failWith(nil)
	require.True(t, rt.recorder.flush())
	require.Equal(t, []string{"one", "two", "three", "four", "five", "six"}, s.messages())
}

func TestEndWaitsForItsLinesButNotForADeadDatabase(t *testing.T) {
	t.Parallel()
	s := &sink{}
	rt, process := testRuntime(s)
	rt.recorder.start()
	a := rt.testAttempt(1)
	a.note(line("one"))
	rt.end(a)
	require.Equal(t, []string{"one"}, s.messages())

	began := time.Now()
	rt.end(rt.testAttempt(2))
	require.Less(t, time.Since(began), recordLinger, "one without lines waits for nothing")

	hang := make(chan struct{})
	s.failWith(func([]store.JobEvent) error {
		<-hang
		return errAway
	})
	a = rt.testAttempt(3)
	a.note(line("two"))
	began = time.Now()
	rt.end(a)
	require.GreaterOrEqual(t, time.Since(began), finishWait)
	require.Less(t, time.Since(began), 10*finishWait)

	close(hang)
	rt.recorder.stop()
	require.Contains(t, process.String(), "job events were lost at the stop")
}

func TestManyAttemptsShareStatements(t *testing.T) {
	t.Parallel()
	var noted sync.WaitGroup
	noted.Add(500)
	// The first statement takes as long as it takes all others to have something to write.
	s := &sink{fail: func([]store.JobEvent) error {
		noted.Wait()
		return nil
	}}
	rt, _ := testRuntime(s)
	rt.recorder.start()
	var ended sync.WaitGroup
	for id := range int64(500) {
		ended.Go(func() {
			a := rt.testAttempt(id)
			a.note(line("x"))
			noted.Done()
			rt.end(a)
		})
	}
	ended.Wait()
	rt.recorder.stop()
	require.Len(t, s.messages(), 500)
	require.LessOrEqual(t, s.calls, 2)
}
