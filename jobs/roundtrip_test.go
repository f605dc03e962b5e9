package jobs_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// trips notes whatever a pool's only connection sends and waits for: statements, preparations, batches and copies.
type trips struct{ sent []string }

func (n *trips) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	n.sent = append(n.sent, data.SQL)
	return ctx
}

func (n *trips) TracePrepareStart(ctx context.Context, _ *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	n.sent = append(n.sent, "prepare "+data.SQL)
	return ctx
}

func (n *trips) TracePrepareEnd(_ context.Context, _ *pgx.Conn, data pgx.TracePrepareEndData) {
	if data.AlreadyPrepared { // nothing was sent
		n.sent = n.sent[:len(n.sent)-1]
	}
}

func (n *trips) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	n.sent = append(n.sent, "batch")
	return ctx
}

func (n *trips) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	n.sent = append(n.sent, "copy")
	return ctx
}

func (*trips) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData)       {}
func (*trips) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData)   {}
func (*trips) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)       {}
func (*trips) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// txInserter is what our client and River's have in common here.
type txInserter interface {
	InsertTx(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error)
	InsertManyTx(ctx context.Context, tx pgx.Tx, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error)
}

// sentInTx returns what each of several inserts in a transaction makes the connection send between BEGIN and COMMIT, the
// first of them included.
func sentInTx(t *testing.T, makeClient func(pool *pgxpool.Pool) txInserter, insert func(n int, client txInserter, tx pgx.Tx) error) (each [][]string) {
	t.Helper()
	config, err := pgxpool.ParseConfig(testdb.URL(t))
	require.NoError(t, err)
	tracer := &trips{}
	config.MaxConns, config.ConnConfig.Tracer = 1, tracer
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	client := makeClient(pool)
	for n := range 3 {
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			tracer.sent = nil
			err := insert(n, client, tx)
			each = append(each, slices.Clone(tracer.sent))
			return err
		}))
	}
	return each
}

// An insert in the caller's transaction, the notification of its queue included, is one statement and one round trip once
// the connection knows the statement. Plain River never sends less, the first time included.
func TestInsertTxIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	ours := func(pool *pgxpool.Pool) txInserter { return newClient(t, pool, nil, nil) }
	plain := func(pool *pgxpool.Pool) txInserter {
		client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: "towpath"})
		require.NoError(t, err)
		return client
	}
	unique := &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}}
	for name, insert := range map[string]func(n int, client txInserter, tx pgx.Tx) error{
		"one": func(n int, client txInserter, tx pgx.Tx) error {
			_, err := client.InsertTx(t.Context(), tx, numbered{N: n}, nil)
			return err
		},
		"one that is unique": func(n int, client txInserter, tx pgx.Tx) error {
			_, err := client.InsertTx(t.Context(), tx, numbered{N: n}, unique)
			return err
		},
		"one that is there": func(n int, client txInserter, tx pgx.Tx) error {
			result, err := client.InsertTx(t.Context(), tx, numbered{}, unique)
			if err == nil && result.UniqueSkippedAsDuplicate != (n > 0) {
				return fmt.Errorf("insert %d: skipped is %t", n, result.UniqueSkippedAsDuplicate)
			}
			return err
		},
		"many": func(n int, client txInserter, tx pgx.Tx) error {
			params := make([]river.InsertManyParams, 100)
			for i := range params {
				params[i] = river.InsertManyParams{Args: numbered{N: 100*n + i}, InsertOpts: &river.InsertOpts{Queue: fmt.Sprintf("q%d", i%3)}}
			}
			_, err := client.InsertManyTx(t.Context(), tx, params)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, theirs := sentInTx(t, ours, insert), sentInTx(t, plain, insert)
			for n := range got {
				t.Logf("insert %d: ours sends %d, plain River %d", n, len(got[n]), len(theirs[n]))
				require.LessOrEqual(t, len(got[n]), len(theirs[n]), "insert %d: %q against %q", n, got[n], theirs[n])
			}
			for _, sent := range got[1:] {
				require.Len(t, sent, 1, "%q", sent)
				require.Contains(t, sent[0], "INSERT INTO")
			}
		})
	}
}
