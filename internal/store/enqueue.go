package store

import (
	"context"
)

// EnqueueJob inserts a job. An error is the database's own, with the words of towpath.enqueue.
func EnqueueJob(ctx context.Context, db DB, job EnqueueParams) (EnqueueRow, error) {
	return queries.Enqueue(ctx, db, job)
}

// EnqueueJobs inserts jobs from a JSON array, all of them or none, and returns what became of each. An error is the
// database's own, with the words of towpath.enqueue_many.
func EnqueueJobs(ctx context.Context, db DB, jobs string) ([]EnqueueManyRow, error) {
	return queries.EnqueueMany(ctx, db, jobs)
}
