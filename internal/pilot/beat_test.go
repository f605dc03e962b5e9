package pilot

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestBeatGetsThroughABusyPool(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
	}
	p.clock.advance(10 * time.Second)
	p.beat()
	require.NotNil(t, p.fleet.lifeline.spare)
	require.Equal(t, p.clock.Now(), p.fleet.lastBeat)
}

func TestBeatsGoOnUntilStop(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := unregisteredProcess(t, pool, "p", Config{})
	p.fleet.now = time.Now
	p.fleet.pace.beat = 10 * time.Millisecond
	ctx, cancel := context.WithCancelCause(t.Context())
	require.NoError(t, p.fleet.Start(ctx))
	p.register()
	beats := func() int { return number(t, pool, `SELECT beat FROM towpath.process`) }
	require.Eventually(t, func() bool { return beats() > 3 }, 20*time.Second, 5*time.Millisecond)
	cancel(errors.New("the client begins to stop"))
	n := beats()
	require.Eventually(t, func() bool { return beats() > n+3 }, 20*time.Second, 5*time.Millisecond, "its last jobs are still at work")
	p.fleet.Stop()
	// One that was under way may arrive all the same, since the server need not have heard that nobody waits for it.
	n = beats()
	require.Eventually(t, func() bool {
		was := n
		n = beats()
		return n == was
	}, 20*time.Second, 20*p.fleet.pace.beat)
}

// reelect extends the leadership that began at a moment as River's elector does.
func (p *process) reelect(electedAt time.Time) (*riverdriver.Leader, error) {
	return p.exec.LeaderAttemptReelect(p.t.Context(), &riverdriver.LeaderReelectParams{
		ElectedAt: electedAt, LeaderID: p.clientID, Schema: testSchema, TTL: 15 * time.Second,
	})
}

// elect makes the process the leader, for so long.
func (p *process) elect(ttl time.Duration) (electedAt time.Time) {
	p.t.Helper()
	require.NoError(p.t, p.pool.QueryRow(p.t.Context(), `INSERT INTO towpath.river_leader (elected_at, expires_at, leader_id)
		VALUES (now(), now() + $1::interval, $2) RETURNING elected_at`, ttl, p.clientID).Scan(&electedAt))
	return electedAt
}

func TestReelectionCarriesABeat(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p, silent := newProcess(t, pool, "p"), newProcess(t, pool, "silent")
	electedAt := p.elect(10 * time.Second)
	require.Zero(t, p.fleet.carriedFor())
	beats := func(client string) int {
		return number(t, pool, `SELECT beat FROM towpath.process WHERE client_id = $1`, client)
	}
	for n := range 5 {
		p.clock.advance(5 * time.Second)
		leader, err := p.reelect(electedAt)
		require.NoError(t, err)
		require.Equal(t, p.clientID, leader.LeaderID)
		require.True(t, electedAt.Equal(leader.ElectedAt))
		require.Equal(t, n+2, beats(p.clientID))
		require.Equal(t, p.clock.Now(), p.fleet.lastBeat)
		require.Equal(t, 6*time.Second, p.fleet.carriedFor(), "another beat would come too early")
	}
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.river_leader WHERE expires_at > now() + interval '14 seconds'`))
	p.fleet.attendTo(t.Context(), <-p.fleet.duty)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.process WHERE dead_at IS NOT NULL AND client_id = $1`, silent.clientID),
		"what a reelection sees of the others counts like what a beat sees")

	p.clock.advance(7 * time.Second)
	require.Negative(t, p.fleet.carriedFor(), "no reelection came")
	p.beat()
	require.Zero(t, p.fleet.carriedFor(), "and none is expected")

	_, _, err := p.ProducerInit(t.Context(), p.exec, &riverpilot.ProducerInitParams{ClientID: p.clientID, Queue: "other", Schema: testSchema})
	require.NoError(t, err)
	_, err = p.reelect(electedAt)
	require.NoError(t, err)
	require.Equal(t, 1, number(t, pool, `SELECT count(*) FROM towpath.process WHERE queues ? 'other' AND client_id = 'p'`), "queues are shown by whatever comes first")
}

func TestReelectionThatLost(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	electedAt := p.elect(-time.Second)
	_, err := p.reelect(electedAt)
	require.ErrorIs(t, err, rivertype.ErrNotFound, "it had run out")
	_, err = p.reelect(electedAt.Add(-time.Minute))
	require.ErrorIs(t, err, rivertype.ErrNotFound, "that was another term")
	require.Equal(t, 3, number(t, pool, `SELECT beat FROM towpath.process`), "but the process is alive")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.fleet.changed = true
	_, err = p.exec.LeaderAttemptReelect(ctx, &riverdriver.LeaderReelectParams{ElectedAt: electedAt, LeaderID: "p", Schema: testSchema})
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, p.fleet.changed, "what did not get through is to be shown yet")
}

func TestReelectionOfAProcessDeclaredDead(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	electedAt := p.elect(10 * time.Second)
	exec(t, pool, `UPDATE towpath.process SET dead_at = now()`)
	<-p.fleet.wake // of the registration
	p.clock.advance(5 * time.Second)
	_, err := p.reelect(electedAt)
	require.NoError(t, err, "it leads all the same")
	require.NotEqual(t, p.clock.Now(), p.fleet.lastBeat)
	<-p.fleet.wake
	p.beat()
	require.Equal(t, 2, number(t, pool, `SELECT count(*) FROM towpath.process`), "the beat that follows has registered anew")
	_, err = p.reelect(electedAt)
	require.NoError(t, err)
	require.Equal(t, 2, number(t, pool, `SELECT beat FROM towpath.process WHERE dead_at IS NULL`))
}

func TestReelectionOfAnother(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	p := newProcess(t, pool, "p")
	other := unregisteredProcess(t, pool, "other", Config{})
	electedAt := other.elect(10 * time.Second)
	_, err := other.reelect(electedAt)
	require.NoError(t, err, "a client that has no row")
	exec(t, pool, `DELETE FROM towpath.process`)
	exec(t, pool, `UPDATE towpath.river_leader SET leader_id = 'p'`)
	_, err = p.reelect(electedAt)
	require.NoError(t, err, "or whose row is gone")
	require.Zero(t, p.fleet.carriedFor())
}
