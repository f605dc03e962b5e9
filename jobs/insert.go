package jobs

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Insert is River's; a job that breaks a rule is refused with an InputError. Its commit may be shared with inserts that
// come at the same time, see Config.SeparateInserts. When it ends with an error of its context or of the connection, the
// job may be there all the same.
func (c *Client) Insert(ctx context.Context, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error) {
	if err := c.rules.check(args, opts); err != nil {
		return nil, err
	}
	result, err := c.Client.Insert(c.alone(ctx), args, opts)
	return result, noJSON(err)
}

// InsertTx is River's; a job that breaks a rule is refused with an InputError, and the transaction is as good as before.
func (c *Client) InsertTx(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error) {
	if err := c.rules.check(args, opts); err != nil {
		return nil, err
	}
	result, err := c.Client.InsertTx(ctx, tx, args, opts)
	return result, noJSON(err)
}

// InsertMany is River's, for up to 50,000 jobs; one that breaks a rule has all of them refused with an InputError. All
// are inserted or none; what Insert says of commits and errors holds here too.
func (c *Client) InsertMany(ctx context.Context, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
	if err := c.rules.checkMany(params); err != nil {
		return nil, err
	}
	results, err := c.Client.InsertMany(c.alone(ctx), params)
	return results, noJSON(err)
}

// InsertManyTx is InsertMany in a transaction.
func (c *Client) InsertManyTx(ctx context.Context, tx pgx.Tx, params []river.InsertManyParams) ([]*rivertype.JobInsertResult, error) {
	if err := c.rules.checkMany(params); err != nil {
		return nil, err
	}
	results, err := c.Client.InsertManyTx(ctx, tx, params)
	return results, noJSON(err)
}

// InsertManyFast is River's, for any number of jobs; one that breaks a rule has all of them refused with an InputError.
func (c *Client) InsertManyFast(ctx context.Context, params []river.InsertManyParams) (int, error) {
	if err := c.rules.checkAll(params); err != nil {
		return 0, err
	}
	n, err := c.Client.InsertManyFast(ctx, params)
	return n, noJSON(err)
}

// InsertManyFastTx is InsertManyFast in a transaction.
func (c *Client) InsertManyFastTx(ctx context.Context, tx pgx.Tx, params []river.InsertManyParams) (int, error) {
	if err := c.rules.checkAll(params); err != nil {
		return 0, err
	}
	n, err := c.Client.InsertManyFastTx(ctx, tx, params)
	return n, noJSON(err)
}
