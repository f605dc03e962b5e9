// Command sqlx places an order and enqueues the job that confirms it: both, or neither.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/riverqueue/river"

	"github.com/towpath/towpath/jobs"
)

type order struct {
	ID       int64  `db:"id"`
	Customer string `db:"customer"`
}

type confirmArgs struct {
	Order int64 `json:"order"`
}

func (confirmArgs) Kind() string { return "order.confirm" }

func place(ctx context.Context, db *sqlx.DB, client *jobs.Client, o order) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.NamedExecContext(ctx, `INSERT INTO orders (id, customer) VALUES (:id, :customer)`, o); err != nil {
		return err
	}
	if _, err := client.InsertSQLTx(ctx, tx.Tx, confirmArgs{o.ID}, &river.InsertOpts{Queue: "mail"}); err != nil {
		return err
	}
	if o.Customer == "nobody" {
		return fmt.Errorf("order %d has no customer", o.ID)
	}
	return tx.Commit()
}

func main() {
	ctx := context.Background()
	db, err := sqlx.ConnectContext(ctx, "postgres", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	client, err := jobs.NewClient(nil, nil) // it works in transactions of ours and needs no pool of its own
	if err != nil {
		log.Fatal(err)
	}
	if err := place(ctx, db, client, order{1, "Zoë"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("rolled back:", place(ctx, db, client, order{2, "nobody"}))
}
