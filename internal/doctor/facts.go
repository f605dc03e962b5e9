package doctor

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// fact is one thing that the schema has.
type fact struct {
	Kind       string // table, column, index, constraint, trigger, type, function, view, view column, sequence, grant
	Name       string
	Definition string
}

//go:embed facts.sql
var factsSQL string

// The generator asks the same statements of a database that it has just migrated.
//
//go:generate go run ../withpg go run ./genexpected

//go:embed expected.jsonl
var expectedJSON string

// expected returns what this program's migrations make.
var expected = sync.OnceValues(func() ([]fact, error) {
	var facts []fact
	for line := range strings.Lines(expectedJSON) {
		var f [3]string
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return nil, fmt.Errorf("read the expected schema: %w", err)
		}
		facts = append(facts, fact{f[0], f[1], f[2]})
	}
	return facts, nil
})

// expects reports whether the migrations make a thing.
func expects(kind, name string) bool {
	want, err := expected()
	return err == nil && slices.ContainsFunc(want, func(f fact) bool { return f.Kind == kind && f.Name == name })
}

// Expected writes down what a database has, in the form of expected.jsonl: one fact a line.
func Expected(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	facts, err := factsOf(ctx, pool)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, f := range facts {
		if err := encoder.Encode([3]string{f.Kind, f.Name, f.Definition}); err != nil {
			return "", fmt.Errorf("write the expected schema: %w", err)
		}
	}
	return b.String(), nil
}

// factsOf reads a database's facts. Names are written in full, whatever search_path the user has.
func factsOf(ctx context.Context, pool *pgxpool.Pool) (facts []fact, err error) {
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL search_path = pg_catalog`); err != nil {
			return err
		}
		for _, sql := range []string{factsSQL, grantsSQL} {
			rows, err := tx.Query(ctx, sql)
			if err != nil {
				return err
			}
			some, err := pgx.CollectRows(rows, pgx.RowToStructByPos[fact])
			if err != nil {
				return err
			}
			facts = append(facts, some...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return facts, nil
}
