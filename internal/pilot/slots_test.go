package pilot

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func newSlots() *slots { return &slots{freed: make(chan struct{}, 1)} }

// A fetch takes the slots that became free since River counted them, and no more.
func TestSlotsFill(t *testing.T) {
	t.Parallel()
	s := newSlots()
	require.Equal(t, 100, s.fill(t.Context(), 100), "nothing is known of the queue yet")
	s.take(100)
	s.note(true)
	var freeing sync.WaitGroup
	freeing.Go(func() {
		for range 80 {
			s.release(true)
		}
	})
	got := s.fill(t.Context(), 1) // whatever was freed before the fetch began is in River's number
	freeing.Wait()
	require.GreaterOrEqual(t, got, 1)
	require.LessOrEqual(t, got, 81)

	s = newSlots()
	s.take(4)
	s.note(true)
	s.release(true)
	require.Equal(t, 1, s.fill(t.Context(), 1), "long jobs are not waited for")

	s = newSlots()
	s.take(99)
	s.note(false)
	s.release(true)
	require.Equal(t, 1, s.fill(t.Context(), 1), "a queue that has no more is not waited for")

	s = newSlots()
	s.take(100)
	s.note(true)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, 3, s.fill(ended, 3))
}

func TestStuckSlotIsNotFreedTwice(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	insertMany(t, pool, 2)
	jobs := p.fetch(2)
	require.Len(t, jobs, 2)
	p.held.overrule(jobs[0].ID, *jobs[0].AttemptedAt)
	p.producer.JobFinish(jobs[0])
	p.producer.JobFinish(jobs[1])
	slots := &p.producer.(*producer).slots
	require.Equal(t, 1, slots.freeNow())
	require.Equal(t, 5, slots.total(5), "none of them runs any more")
}

// The process can wake itself while its listener waits for the server, which says nothing.
func TestListenerIsWoken(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	storage := NewStorage(pool.Config().ConnConfig.DefaultQueryExecMode, func() bool { return true })
	for _, named := range []string{testSchema, ""} {
		l := NewListener(riverpgxv5.New(pool).GetListener(&riverdriver.GetListenenerParams{Schema: named}), storage)
		require.NoError(t, l.Connect(t.Context()))
		t.Cleanup(func() { _ = l.Close(context.Background()) })
		require.NoError(t, l.Listen(t.Context(), insertTopic))
		told := make(chan *riverdriver.Notification, 1)
		go func() {
			n, err := l.WaitForNotification(t.Context())
			if err != nil {
				t.Error(err)
			}
			told <- n
		}()
		require.Eventually(t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.interrupt != nil
		}, 10*time.Second, time.Millisecond)
		require.True(t, storage.canWake(l.Schema()))
		storage.wake(l.Schema(), testQueue)
		select {
		case n := <-told:
			require.Equal(t, &riverdriver.Notification{Topic: insertTopic, Payload: insertPayload(testQueue)}, n)
		case <-time.After(10 * time.Second):
			t.Fatal("the listener was not woken")
		}
	}
	require.False(t, storage.canWake("elsewhere"))
}
