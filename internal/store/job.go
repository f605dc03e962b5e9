package store

import (
	"context"
	"fmt"
)

// UnfinishedJobs returns those of the ids that are in the live table of the schema and have not ended.
func UnfinishedJobs(ctx context.Context, db DB, schema string, ids []int64) ([]int64, error) {
	unfinished, err := queries.UnfinishedJobs(ctx, inSchema{db, schema}, ids)
	if err != nil {
		return nil, fmt.Errorf("look for unfinished jobs: %w", err)
	}
	return unfinished, nil
}

// HasWork reports whether the client runs a job, or the queues, as far as they are not paused, hold one of the kinds that
// could run now.
func HasWork(ctx context.Context, db DB, clientID string, queueNames, kinds []string) (bool, error) {
	has, err := queries.HasWork(ctx, db, HasWorkParams{ClientID: clientID, Queues: queueNames, Kinds: kinds})
	if err != nil {
		return false, fmt.Errorf("look for due jobs: %w", err)
	}
	return has, nil
}
