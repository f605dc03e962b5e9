// Command genexpected migrates an empty database and writes down what it then has, for the doctor to compare with. It is
// called by `go generate ./internal/doctor`.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/doctor"
	"github.com/towpath/towpath/internal/migrate"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "genexpected:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	cfg, err := config.Load()
	if err != nil {
		return err
	}
	pool, err := cfg.OpenPool(ctx, "genexpected")
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrate.Up(ctx, pool); err != nil {
		return err
	}
	text, err := doctor.Expected(ctx, pool)
	if err != nil {
		return err
	}
	return os.WriteFile("expected.jsonl", []byte(text), 0o600)
}
