package pilot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/pilot"
)

// rowsOfPlans is how many jobs there are in each table while plans are looked at. TOWPATH_TEST_ROWS=10000000 is the
// large form, for which `go test -timeout 60m -run TestPlans` is enough time.
func rowsOfPlans(t *testing.T) int {
	t.Helper()
	given := os.Getenv("TOWPATH_TEST_ROWS")
	if given == "" {
		return 10_000
	}
	n, err := strconv.Atoi(given)
	require.NoError(t, err)
	return n
}

// fill puts n jobs into river_job and as many into job_history: half of the live ones wait in the default queue at all
// priorities, some elsewhere, a quarter for their time, and a few run.
func (r *rig) fill(t *testing.T, n int) {
	t.Helper()
	r.run(t, `
		INSERT INTO towpath.river_job (args, attempt, attempted_at, attempted_by, kind, max_attempts, priority, queue, scheduled_at, state)
		SELECT jsonb_build_object('n', i), CASE WHEN i % 100 = 99 THEN 1 ELSE 0 END, CASE WHEN i % 100 = 99 THEN now() - i * interval '1 second' END,
			CASE WHEN i % 100 = 99 THEN ARRAY['somebody'] END, 'kind ' || i % 20, 25, 1 + i % 4, CASE WHEN i % 100 < 50 THEN 'default' ELSE 'queue ' || i % 7 END,
			now() + CASE WHEN i % 100 < 75 THEN - i * interval '1 ms' ELSE i * interval '1 ms' + interval '1 hour' END,
			(CASE WHEN i % 100 < 75 THEN 'available' WHEN i % 100 < 90 THEN 'scheduled' WHEN i % 100 < 99 THEN 'retryable' ELSE 'running' END)::towpath.river_job_state
		FROM generate_series(1, $1::int) i`, n)
	r.run(t, `
		INSERT INTO towpath.job_history (id, args, attempt, attempted_at, attempted_by, created_at, finalized_at, kind, max_attempts, metadata, priority, queue,
			state, scheduled_at, tags)
		SELECT nextval('towpath.river_job_id_seq'), jsonb_build_object('n', i), 1, now(), ARRAY['somebody'], now(), now() - i * interval '1 ms', 'kind ' || i % 20, 25, '{}', 1,
			'default', (CASE WHEN i % 10 < 8 THEN 'completed' WHEN i % 10 < 9 THEN 'cancelled' ELSE 'discarded' END)::towpath.river_job_state, now(), '{}'
		FROM generate_series(1, $1::int) i`, n)
}

// asked is an operation whose statements are looked at, and what their plans may not have.
type asked struct {
	name string
	do   func(ctx context.Context, a *actor) error
}

func ignore[T any](_ T, err error) error { return err }

// operations are those whose time must not depend on how many jobs there are.
func operations(t *testing.T, r *rig) []asked {
	t.Helper()
	var all []asked
	add := func(name string, do func(ctx context.Context, a *actor) error) { all = append(all, asked{name, do}) }
	fetch := func(ctx context.Context, a *actor, limit int) ([]*rivertype.JobRow, error) {
		result, err := a.pilot.JobGetAvailable(ctx, a.exec, a.state, a.fetchParams(limit))
		if err != nil {
			return nil, err
		}
		return result.Jobs, nil
	}
	finish := func(ctx context.Context, a *actor, params []*setState) error {
		return ignore(a.pilot.JobSetStateIfRunningMany(ctx, a.exec, a.many(params...)))
	}
	for _, limit := range []int{1, 100, 2000} {
		for _, from := range []string{"front", "watermark"} {
			add(fmt.Sprintf("fetch %d from the %s", limit, from), func(ctx context.Context, a *actor) error {
				pilot.SetSlow(a.state, from == "watermark")
				return ignore(fetch(ctx, a, limit))
			})
		}
		for name, ending := range map[string]func(int64) *setState{
			"complete": completed, "settle": discarded, "retry later": func(id int64) *setState { return failed(id, time.Now().Add(time.Hour)) },
			"complete with metadata": func(id int64) *setState { return completedWith(id, `{"x": 1}`) },
		} {
			add(fmt.Sprintf("%s %d", name, limit), func(ctx context.Context, a *actor) error {
				pilot.SetSlow(a.state, false)
				rows, err := fetch(ctx, a, limit)
				if err != nil {
					return err
				}
				params := make([]*setState, len(rows))
				for i, row := range rows {
					params[i] = ending(row.ID)
				}
				if err := finish(ctx, a, params); err != nil {
					return err
				}
				return finish(ctx, a, params) // and the answer that was lost
			})
		}
	}
	add("probe", func(ctx context.Context, a *actor) error { return pilot.Probe(ctx, a.state, a.exec, a.fetchParams(1)) })
	add("schedule", func(ctx context.Context, a *actor) error {
		return ignore(a.exec.JobSchedule(ctx, &riverdriver.JobScheduleParams{Max: 1000, Schema: schema}))
	})
	live := func(state rivertype.JobState, offset int) (id int64) {
		r.queryRow(t, `SELECT id FROM towpath.river_job WHERE state = $1 AND queue <> 'default' ORDER BY id OFFSET $2 LIMIT 1`, state, offset)(&id)
		return id
	}
	finished := func(offset int) (id int64) {
		r.queryRow(t, `SELECT id FROM towpath.job_history ORDER BY id OFFSET $1 LIMIT 1`, offset)(&id)
		return id
	}
	for name, change := range map[string]func(*actor, context.Context, int64) (*rivertype.JobRow, error){
		"retry": (*actor).retry, "cancel": (*actor).cancel, "delete": (*actor).remove,
	} {
		offset := 3 * int(name[0]-'a')
		waiting, running, done := live("scheduled", offset), live("running", offset), finished(offset)
		for place, id := range map[string]int64{"waiting": waiting, "running": running, "done": done} {
			add(name+" "+place, func(ctx context.Context, a *actor) error {
				err := ignore(change(a, ctx, id))
				if place == "running" && name == "delete" {
					require.ErrorIs(t, err, rivertype.ErrJobRunning)
					return nil
				}
				return err
			})
		}
	}
	waiting, done := live("scheduled", 50), finished(50)
	for _, id := range []int64{waiting, done} {
		add("show", func(ctx context.Context, a *actor) error {
			return ignore(a.exec.JobGetByID(ctx, &riverdriver.JobGetByIDParams{ID: id, Schema: schema}))
		})
	}
	add("update", func(ctx context.Context, a *actor) error { return ignore(a.update(ctx, a.exec, done, `{"x": 1}`)) })
	add("show many", func(ctx context.Context, a *actor) error {
		return ignore(a.exec.JobGetByIDMany(ctx, &riverdriver.JobGetByIDManyParams{ID: []int64{waiting, done}, Schema: schema}))
	})
	for _, order := range []string{"id", "id DESC", "finalized_at DESC, id DESC"} {
		where := "true"
		if strings.HasPrefix(order, "finalized") {
			where = "finalized_at IS NOT NULL"
		}
		add("list by "+order, func(ctx context.Context, a *actor) error {
			return ignore(a.exec.JobList(ctx, &riverdriver.JobListParams{Max: 100, OrderByClause: order, WhereClause: where, Schema: schema}))
		})
	}
	return all
}

// TestPlans looks at the plan of every statement on small and large tables, whatever the statistics say about them.
func TestPlans(t *testing.T) {
	t.Parallel()
	n := rowsOfPlans(t)
	for name, prepare := range map[string]func(r *rig){
		"never analyzed": func(r *rig) { r.fill(t, n) },
		"analyzed": func(r *rig) {
			r.fill(t, n)
			r.run(t, `ANALYZE towpath.river_job`)
			r.run(t, `ANALYZE towpath.job_history`)
		},
		"analyzed while tiny": func(r *rig) {
			r.fill(t, 20)
			r.run(t, `VACUUM ANALYZE towpath.river_job`)
			r.run(t, `ANALYZE towpath.job_history`)
			r.fill(t, n)
		},
		"analyzed before the jobs came": func(r *rig) {
			r.fill(t, n)
			r.run(t, `UPDATE towpath.river_job SET state = 'pending' WHERE state <> 'pending' AND id % 200 <> 0`)
			r.run(t, `VACUUM ANALYZE towpath.river_job`)
			r.fill(t, n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.run(t, `ALTER TABLE towpath.river_job SET (autovacuum_enabled = false)`)
			prepare(r)
			a := r.actor(t, "a")
			pilot.HoldProbes(a.state)
			small := r.smallRelations(t)
			kept := make(map[string]bool)
			for _, operation := range operations(t, r) {
				e := r.explained(t, "")
				a.exec = e.Executor
				require.NoError(t, operation.do(t.Context(), a), operation.name)
				require.NotEmpty(t, e.plans, operation.name)
				for i, p := range e.plans {
					checkPlan(t, operation.name, e.sql[i], p, small)
					if pilot.Hot(e.sql[i], schema) && !kept[e.sql[i]] {
						kept[e.sql[i]] = true
						checkPlan(t, operation.name+" by a kept plan", e.sql[i], r.keptPlan(t, e.sql[i]), small)
					}
				}
			}
			require.Len(t, kept, 3, "the fetch from the front, and the finish by either statement")
		})
	}
}

// keptPlan is the plan of a statement that is made without regard to its parameters.
func (r *rig) keptPlan(t *testing.T, sql string) plan {
	t.Helper()
	parameters := 0
	for strings.Contains(sql, fmt.Sprintf("$%d", parameters+1)) {
		parameters++
	}
	var explained []struct{ Plan plan }
	require.ErrorIs(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		var raw []byte
		for _, sql := range []string{"SET LOCAL plan_cache_mode = force_generic_plan", "PREPARE kept AS " + sql} {
			_, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err)
		}
		nulls := strings.TrimSuffix(strings.Repeat("NULL, ", parameters), ", ")
		require.NoError(t, tx.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE kept ("+nulls+")", pgx.QueryExecModeSimpleProtocol).Scan(&raw))
		require.NoError(t, json.Unmarshal(raw, &explained))
		_, err := tx.Exec(t.Context(), "DEALLOCATE kept", pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
		return errRollBack
	}), errRollBack)
	return explained[0].Plan
}

// smallRelations are those that are read as a whole in no time: in the small form, the days of history that have few jobs.
func (r *rig) smallRelations(t *testing.T) map[string]bool {
	t.Helper()
	rows, err := r.pool.Query(t.Context(), `SELECT relname::text FROM pg_class WHERE relkind = 'r' AND pg_relation_size(oid) <= 50 * 8192`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	small := make(map[string]bool)
	for _, name := range names {
		small[name] = true
	}
	require.False(t, small["river_job"])
	return small
}

// readsJobs reports whether a node's input are rows of river_job as they lie there, other than by their ids.
func readsJobs(p plan) bool {
	children, _ := p["Plans"].([]any)
	for _, child := range children {
		input := plan(child.(map[string]any))
		if input.text("Parent Relationship") == "Outer" {
			byID := false
			input.walk(func(node plan) { byID = byID || strings.Contains(node.text("Index Cond"), "id = ANY") })
			return input.text("Relation Name") == "river_job" && !byID
		}
	}
	return false
}

func checkPlan(t *testing.T, operation, sql string, p plan, small map[string]bool) {
	t.Helper()
	var bad []string
	// A fetch, a probe and a look for due jobs read their index in its order, and no further than they need.
	inOrder := strings.Contains(sql, "claimed AS") || strings.Contains(sql, "due AS") || strings.Contains(sql, "AS late\n")
	p.walk(func(node plan) {
		relation := node.text("Relation Name")
		jobs := relation == "river_job" || strings.HasPrefix(relation, "job_history")
		condition := node.text("Index Cond")
		switch {
		case node.text("Node Type") == "Seq Scan" && jobs && !small[relation]:
			bad = append(bad, "Seq Scan on "+relation)
		case inOrder && node.text("Node Type") == "Sort" && readsJobs(node):
			bad = append(bad, node.text("Node Type")+" of what waits")
		case strings.Contains(condition, "= ANY") && strings.Contains(condition, " AND "):
			bad = append(bad, "an array sorted again and again: "+condition)
		}
	})
	if slices.Sort(bad); len(bad) > 0 {
		t.Errorf("%s: %v in\n%s\n%s", operation, slices.Compact(bad), sql, p.outline())
	}
}
