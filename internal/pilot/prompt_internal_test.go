package pilot

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// A finisher waits for more ends, but not once there is a whole batch of them.
func TestLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &finisher{filled: make(chan struct{}, 1), active: true}
		begin := time.Now()
		f.linger(promptLinger)
		require.Equal(t, promptLinger, time.Since(begin))

		begin = time.Now()
		time.AfterFunc(time.Millisecond, func() { f.add("", make([]ending, promptBatch-1)...) })
		time.AfterFunc(2*time.Millisecond, func() { f.add("", ending{}) })
		f.linger(promptLinger)
		require.Equal(t, 2*time.Millisecond, time.Since(begin))
		f.linger(promptLinger)
		require.Equal(t, 2*time.Millisecond, time.Since(begin), "there still is one")
	})
}

// Whoever joins waits for what came before, and no longer than its context.
func TestJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &finisher{pilot: &Pilot{held: newHeld()}, filled: make(chan struct{}, 1), active: true}
		require.NoError(t, f.join(t.Context(), "", nil), "nothing is on its way")
		f.add("", ending{id: 1}, ending{id: 2})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, f.join(ctx, "", nil), context.DeadlineExceeded)

		joined := make(chan error)
		go func() { joined <- f.join(t.Context(), "", nil) }()
		synctest.Wait()
		f.pass(1)
		synctest.Wait()
		require.Empty(t, joined, "the other one is still on its way")
		f.add("", ending{id: 3})
		f.pass(1)
		require.NoError(t, <-joined, "what comes later is not waited for")
	})
}

// The short statement finds what belongs to a row by bisection: ends come in any order, some twice, and what was not
// measured is reckoned.
func TestCompleteInAnyOrder(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	insertMany(t, pool, 40)
	fetched := p.fetch(40)
	require.Len(t, fetched, 40)
	stale := fetched[7].AttemptedAt.Add(-time.Second)
	var endings []ending
	for i, job := range slices.Backward(fetched) {
		endedAt, ran := job.AttemptedAt.Add(time.Duration(i+1)*time.Second), float64(100+i)
		e := ending{id: job.ID, token: job.AttemptedAt, state: "completed", endedAt: &endedAt, ran: &ran}
		switch i {
		case 7:
			e.token = &stale
		case 8:
			endings = append(endings, e)
		case 9:
			e.ran = nil
		}
		endings = append(endings, e)
	}
	done, err := p.executor().complete(t.Context(), testSchema, endings)
	require.NoError(t, err)
	require.Len(t, done, 39)
	require.NotContains(t, done, fetched[7].ID)
	for i, job := range fetched {
		if i == 7 {
			continue
		}
		require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.job_history
			WHERE id = $1 AND finalized_at = attempted_at + $2 * interval '1 second'`, job.ID, i+1), "job %d", i)
	}
	measured := 0
	for i := range 40 {
		if i != 7 && i != 9 {
			measured += 100 + i
		}
	}
	require.Equal(t, measured+10, number(t, pool, `SELECT sum(seconds) FROM towpath.counter_delta WHERE event = 'completed'`))
}
