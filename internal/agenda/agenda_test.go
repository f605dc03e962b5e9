package agenda_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/testdb"
)

func put(t *testing.T, pool *pgxpool.Pool, sql string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestPageSaysWhatIsDueNext(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	book := agenda.NewBook(pool)
	page, err := book.After(t.Context(), time.Time{})
	require.NoError(t, err)
	require.False(t, page.Probes)
	require.Nil(t, page.CheckDue)
	require.Nil(t, page.NextDue)

	put(t, pool, `SELECT towpath.put_probe('orders', 'SELECT 1', '1 minute'), towpath.put_check('backup', period => '1 hour')`)
	page, err = book.After(t.Context(), time.Now())
	require.NoError(t, err)
	require.True(t, page.Probes)
	require.LessOrEqual(t, page.Rest(&page.ProbeDue, time.Hour), time.Duration(0), "it has never run")
	put(t, pool, `UPDATE towpath.probe SET claimed_until = clock_timestamp() + interval '10 minutes'`)
	put(t, pool, `UPDATE towpath.heartbeat SET turns_at = clock_timestamp() + interval '20 minutes'`)
	page, err = book.After(t.Context(), time.Now())
	require.NoError(t, err)
	require.InDelta(t, 10, page.Rest(&page.ProbeDue, time.Hour).Minutes(), 1, "somebody runs it")
	require.InDelta(t, 20, page.Rest(page.CheckDue, time.Hour).Minutes(), 1)
	require.InDelta(t, 5, page.Rest(page.CheckDue, 5*time.Minute).Minutes(), 1, "by when the page is too old")
	require.InDelta(t, 5, page.Rest(nil, 5*time.Minute).Minutes(), 1)
	require.Zero(t, page.Rest(nil, 0))
}

func TestPagesAreShared(t *testing.T) {
	t.Parallel()
	book := agenda.NewBook(testdb.Pool(t))
	first, err := book.After(t.Context(), time.Time{})
	require.NoError(t, err)
	same, err := book.After(t.Context(), time.Time{})
	require.NoError(t, err)
	require.Same(t, first, same)
	next, err := book.After(t.Context(), first.Begun)
	require.NoError(t, err)
	require.NotSame(t, first, next, "whoever knows a page wants a newer one")
	require.True(t, next.Begun.After(first.Begun))

	reader, other := book.Reader(), book.Reader()
	read, err := reader.Next(t.Context())
	require.NoError(t, err)
	require.NotSame(t, next, read, "it is older than the reader")
	same, err = other.Next(t.Context())
	require.NoError(t, err)
	require.Same(t, read, same)
	other.Forget()
	same, err = other.Next(t.Context())
	require.NoError(t, err)
	require.NotSame(t, read, same)
	newer, err := reader.Next(t.Context())
	require.NoError(t, err)
	require.Same(t, same, newer, "another has read since")

	asked := time.Now()
	pages := make([]*agenda.Page, 20)
	var all sync.WaitGroup
	for i := range pages {
		all.Go(func() {
			page, err := book.After(t.Context(), asked)
			if err == nil {
				pages[i] = page
			}
		})
	}
	all.Wait()
	for _, page := range pages {
		require.Same(t, pages[0], page)
		require.NotNil(t, page)
	}
}

func TestFailureIsNoPage(t *testing.T) {
	t.Parallel()
	book := agenda.NewBook(testdb.Pool(t))
	known, err := book.After(t.Context(), time.Time{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = book.After(ctx, known.Begun)
	require.ErrorIs(t, err, context.Canceled)
	page, err := book.After(t.Context(), known.Begun)
	require.NoError(t, err)
	require.NotSame(t, known, page)
}
