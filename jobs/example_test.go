package jobs_test

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs"
)

type WelcomeArgs struct {
	UserID int64 `json:"user_id"`
}

func (WelcomeArgs) Kind() string { return "welcome" }

// A user and the mail that welcomes them are written in one transaction: neither comes without the other.
func ExampleNewClient() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@localhost/app")
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	client, err := jobs.NewClient(pool, nil)
	if err != nil {
		panic(err)
	}

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		var id int64
		if err := tx.QueryRow(ctx, `INSERT INTO app_user (name) VALUES ('Ann') RETURNING id`).Scan(&id); err != nil {
			return err
		}
		_, err := client.InsertTx(ctx, tx, WelcomeArgs{UserID: id}, &river.InsertOpts{Tags: []string{"signup"}})
		return err
	})
	if err != nil {
		panic(err)
	}
}

// A caller that needs the result waits for the job's end.
func ExampleClient_Await() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://app@localhost/app")
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	client, err := jobs.NewClient(pool, nil)
	if err != nil {
		panic(err)
	}

	inserted, err := client.Insert(ctx, WelcomeArgs{UserID: 1}, nil)
	if err != nil {
		panic(err)
	}
	result, err := client.Await(ctx, inserted.Job.ID)
	if err != nil {
		panic(err)
	}
	if err := result.Err(); err != nil {
		panic(err) // cancelled, or discarded after its last attempt
	}
	messageID, err := jobs.Output[string](result) // what the worker gave to river.RecordOutput
	if err != nil {
		panic(err)
	}
	fmt.Println(messageID)
}
