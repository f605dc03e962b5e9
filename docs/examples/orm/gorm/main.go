// Command gorm places an order and enqueues the job that confirms it: both, or neither.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"

	"github.com/riverqueue/river"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/towpath/towpath/jobs"
)

type Order struct {
	ID       int64
	Customer string
}

type confirmArgs struct {
	Order int64 `json:"order"`
}

func (confirmArgs) Kind() string { return "order.confirm" }

func place(ctx context.Context, db *gorm.DB, client *jobs.Client, order Order) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&order).Error; err != nil {
			return err
		}
		// What GORM's transaction runs on. (With PrepareStmt it is a *gorm.PreparedStmtTX, which holds this one.)
		sqlTx := tx.Statement.ConnPool.(*sql.Tx)
		if _, err := client.InsertSQLTx(ctx, sqlTx, confirmArgs{order.ID}, &river.InsertOpts{Queue: "mail"}); err != nil {
			return err
		}
		if order.Customer == "nobody" {
			return fmt.Errorf("order %d has no customer", order.ID)
		}
		return nil
	})
}

func main() {
	ctx := context.Background()
	db, err := gorm.Open(postgres.Open(os.Args[1]), &gorm.Config{Logger: logger.Default.LogMode(logger.Silent)})
	if err != nil {
		log.Fatal(err)
	}
	client, err := jobs.NewClient(nil, nil) // it works in transactions of ours and needs no pool of its own
	if err != nil {
		log.Fatal(err)
	}
	if err := place(ctx, db, client, Order{1, "Zoë"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("rolled back:", place(ctx, db, client, Order{2, "nobody"}))
}
