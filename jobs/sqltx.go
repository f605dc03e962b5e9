package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/towpath/towpath/internal/pilot"
)

// errNoSQLTx is returned by InsertSQLTx without a transaction.
var errNoSQLTx = errors.New("insert in a transaction of database/sql: the transaction is nil")

// InsertSQLTx is InsertTx for a transaction of database/sql, and so for every ORM on it: the job is there when the
// transaction commits. Unique keys, hooks, middleware, defaults and checks of the args are those of the client.
func (c *Client) InsertSQLTx(ctx context.Context, tx *sql.Tx, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error) {
	results, err := c.InsertManySQLTx(ctx, tx, []river.InsertManyParams{{Args: args, InsertOpts: opts}})
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// InsertManySQLTx is InsertManyTx for a transaction of database/sql.
func (c *Client) InsertManySQLTx(ctx context.Context, tx *sql.Tx, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
	if tx == nil {
		return nil, errNoSQLTx
	}
	if err := c.rules.checkMany(params); err != nil {
		return nil, err
	}
	client, err := c.sqlClient()
	if err != nil {
		return nil, err
	}
	results, err := client.InsertManyTx(ctx, tx, params)
	return results, noJSON(err)
}

// newSQLClient returns a client that does nothing but insert, with the configuration of another that may do more.
func newSQLClient(rc river.Config) (*river.Client[*sql.Tx], error) {
	rc.Queues, rc.Workers, rc.PeriodicJobs = nil, nil, nil
	client, err := river.NewClient(pilot.NewSQLDriver(), &rc)
	if err != nil {
		return nil, fmt.Errorf("make a client for database/sql: %w", err)
	}
	return client, nil
}
