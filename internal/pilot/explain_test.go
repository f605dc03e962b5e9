package pilot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

// plan is a node of a plan as EXPLAIN writes it.
type plan map[string]any

func (p plan) text(key string) string {
	s, _ := p[key].(string)
	return s
}

func (p plan) number(key string) float64 {
	n, _ := p[key].(float64)
	return n
}

// walk visits a node and all below it.
func (p plan) walk(visit func(plan)) {
	visit(p)
	children, _ := p["Plans"].([]any)
	for _, child := range children {
		plan(child.(map[string]any)).walk(visit)
	}
}

// outline is the plan for people to read.
func (p plan) outline() string {
	var lines strings.Builder
	var write func(p plan, depth int)
	write = func(p plan, depth int) {
		fmt.Fprintf(&lines, "%*s%s", 2*depth, "", p.text("Node Type"))
		for _, key := range []string{"Subplan Name", "Relation Name", "CTE Name", "Index Name", "Index Cond", "Filter", "Sort Key"} {
			if value, ok := p[key]; ok {
				fmt.Fprintf(&lines, " [%s: %.200v]", key, value)
			}
		}
		lines.WriteByte('\n')
		children, _ := p["Plans"].([]any)
		for _, child := range children {
			write(child.(map[string]any), depth+1)
		}
	}
	write(p, 0)
	return lines.String()
}

// explainer is an executor that asks for the plan of each statement before it runs it.
type explainer struct {
	*pilot.Executor
	plans []plan
	sql   []string
}

// explained returns one; the options are those of EXPLAIN. With ANALYZE the statement runs in a transaction of its own
// that is rolled back.
func (r *rig) explained(t failer, options string) *explainer {
	t.Helper()
	e := &explainer{}
	e.Executor = r.overheard(func(ctx context.Context, sql string, args []any) {
		if strings.Contains(sql, "to_regclass") {
			return
		}
		require.ErrorIs(t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			var raw []byte
			err := tx.QueryRow(ctx, fmt.Sprintf("EXPLAIN (FORMAT JSON, COSTS OFF%s) %s", comma(options), sql), args...).Scan(&raw)
			require.NoError(t, err)
			var explained []struct{ Plan plan }
			require.NoError(t, json.Unmarshal(raw, &explained))
			e.plans, e.sql = append(e.plans, explained[0].Plan), append(e.sql, sql)
			return errRollBack
		}), errRollBack)
	})
	return e
}

func comma(options string) string {
	if options == "" {
		return ""
	}
	return ", " + options
}
