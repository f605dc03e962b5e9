// Package help waits for jobs on behalf of others.
package help

import (
	"context"

	"github.com/towpath/towpath/jobs"
)

// Result waits.
func Result(ctx context.Context, client *jobs.Client, id int64) error {
	return wait(ctx, client, id)
}

func wait(ctx context.Context, client *jobs.Client, id int64) error {
	_, err := client.Await(ctx, id)
	return err
}
