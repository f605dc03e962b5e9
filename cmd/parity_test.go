package cmd_test

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "github.com/lib/pq"              // the driver "postgres"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

// plainArgs and taggedArgs are the same job but for what makes it unique by its args.
type plainArgs struct {
	Customer int    `json:"customer"`
	Note     string `json:"note"`
}

func (plainArgs) Kind() string { return "parity" }

type taggedArgs struct {
	Customer int    `json:"customer" river:"unique"`
	Note     string `json:"note"`
}

func (taggedArgs) Kind() string { return "parity" }

// A parity is one job, as Go says it and as the parameters of towpath.enqueue do.
type parity struct {
	name string
	args river.JobArgs // nil: Go has no such option
	opts river.InsertOpts
	sql  map[string]any
}

func parities() []parity {
	due := time.Date(2150, 3, 4, 5, 6, 7, 0, time.UTC)
	plain := plainArgs{42, "a <b> & \"c\" é"}
	unique := func(opts river.UniqueOpts) river.InsertOpts { return river.InsertOpts{UniqueOpts: opts} }
	states := []string{"available", "pending", "running", "scheduled", "cancelled"}
	return []parity{
		{"plain", plain, river.InsertOpts{}, nil},
		{
			"everything", plain,
			river.InsertOpts{Queue: "slow-mail", Priority: 4, MaxAttempts: 3, ScheduledAt: due, Tags: []string{"red", "blue"}, Metadata: []byte(`{"trace": "x"}`)},
			map[string]any{
				"queue": "slow-mail", "priority": 4, "max_attempts": 3, "scheduled_at": due, "tags": []string{"red", "blue"},
				"metadata": json.RawMessage(`{"trace": "x"}`),
			},
		},
		{"by args", plain, unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_by_args": true}},
		{"by tagged args", taggedArgs(plain), unique(river.UniqueOpts{ByArgs: true}), map[string]any{"unique_args": []string{"customer"}}},
		{
			"by period", plain,
			river.InsertOpts{ScheduledAt: due, UniqueOpts: river.UniqueOpts{ByPeriod: time.Hour}},
			map[string]any{"unique_period": "1 hour", "scheduled_at": due},
		},
		{
			"by queue", plain,
			river.InsertOpts{Queue: "mail", UniqueOpts: river.UniqueOpts{ByQueue: true}},
			map[string]any{"unique_queue": true, "queue": "mail"},
		},
		{
			"by states", plain,
			unique(river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{"available", "pending", "running", "scheduled", "cancelled"}}),
			map[string]any{"unique_by_args": true, "unique_states": states},
		},
		{
			"of any kind", plain, unique(river.UniqueOpts{ByArgs: true, ExcludeKind: true}),
			map[string]any{"unique_by_args": true, "unique_exclude_kind": true},
		},
		{"own key", nil, river.InsertOpts{}, map[string]any{"unique_key": "order-42"}},
	}
}

// An entrance is a way in which a job comes into the queue. It returns the job's id and whether an equal one was there.
type entrance struct {
	name   string
	enters func(t *testing.T, p parity) (id int64, skipped bool)
	inGo   bool
}

func entrances(t *testing.T, pool *pgxpool.Pool) []entrance {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	ways := []entrance{{"pgx.Tx", func(t *testing.T, p parity) (id int64, skipped bool) {
		t.Helper()
		require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			result, err := client.InsertTx(ctx, tx, p.args, &p.opts)
			if err == nil {
				id, skipped = result.Job.ID, result.UniqueSkippedAsDuplicate
			}
			return err
		}))
		return id, skipped
	}, true}}
	for _, driver := range []string{"pgx", "postgres"} {
		db, err := stdsql.Open(driver, pool.Config().ConnString())
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		ways = append(ways, entrance{"*sql.Tx of " + driver, func(t *testing.T, p parity) (int64, bool) {
			t.Helper()
			tx, err := db.BeginTx(ctx, nil)
			require.NoError(t, err)
			result, err := client.InsertSQLTx(ctx, tx, p.args, &p.opts)
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			return result.Job.ID, result.UniqueSkippedAsDuplicate
		}, true})
	}
	for name, call := range map[string]string{"enqueue": enqueueByName, "enqueue_many": `SELECT id, skipped FROM towpath.enqueue_many(json_build_array($1::text::json))`} {
		ways = append(ways, entrance{name, func(t *testing.T, p parity) (id int64, skipped bool) {
			t.Helper()
			encoded, err := json.Marshal(p.parameters(t))
			require.NoError(t, err)
			require.NoError(t, pool.QueryRow(ctx, call, string(encoded)).Scan(&id, &skipped))
			return id, skipped
		}, false})
	}
	return append(ways, entrance{"towpath enqueue", func(t *testing.T, p parity) (int64, bool) {
		t.Helper()
		stdout, stderr, code := enqueueByCommand(t, pool, p.parameters(t), "--json")
		require.Zero(t, code, stderr)
		var answer struct {
			ID      int64
			Skipped bool
		}
		require.NoError(t, json.Unmarshal([]byte(stdout), &answer))
		return answer.ID, answer.Skipped
	}, false})
}

const enqueueByName = `SELECT e.id, e.skipped FROM json_to_record($1::text::json) AS r(kind text, args json, queue text, priority int,
	scheduled_at timestamptz, max_attempts int, tags text[], unique_key text, unique_by_args bool, unique_period interval, unique_queue bool,
	unique_states text[], unique_args text[], unique_exclude_kind bool, metadata json),
	towpath.enqueue(r.kind, r.args, r.queue, r.priority, r.scheduled_at, r.max_attempts, r.tags, r.unique_key, r.unique_by_args,
		r.unique_period, r.unique_queue, r.unique_states, r.unique_args, r.unique_exclude_kind, r.metadata) e`

// parameters are those of towpath.enqueue.
func (p parity) parameters(t *testing.T) map[string]any {
	t.Helper()
	args := p.args
	if args == nil {
		args = plainArgs{}
	}
	encoded, err := json.Marshal(args)
	require.NoError(t, err)
	job := map[string]any{"kind": "parity", "args": json.RawMessage(encoded)}
	maps.Copy(job, p.sql)
	return job
}

// enqueueByCommand says with the flags of `towpath enqueue` what the parameters say.
func enqueueByCommand(t *testing.T, pool *pgxpool.Pool, job map[string]any, more ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := exec.LookPath("towpath")
	require.NoError(t, err)
	args := append([]string{"enqueue"}, more...)
	for _, name := range slices.Sorted(maps.Keys(job)) {
		flag := "--" + strings.ReplaceAll(name, "_", "-")
		switch value := job[name].(type) {
		case []string:
			if name != "tags" {
				args = append(args, flag+"="+strings.Join(value, ","))
				continue
			}
			for _, tag := range value {
				args = append(args, "--tag="+tag)
			}
		case time.Time:
			args = append(args, flag+"="+value.Format(time.RFC3339))
		case json.RawMessage:
			if name != "args" {
				args = append(args, flag+"="+string(value))
			}
		default:
			if name == "metadata" {
				encoded, err := json.Marshal(value)
				require.NoError(t, err)
				value = string(encoded)
			}
			if name != "kind" && name != "args" {
				args = append(args, fmt.Sprintf("%s=%v", flag, value))
			}
		}
	}
	args = append(args, "--", fmt.Sprint(job["kind"]))
	input := ""
	if given, ok := job["args"]; ok {
		text, isText := given.(string)
		if !isText {
			encoded, err := json.Marshal(given)
			require.NoError(t, err)
			text = string(encoded)
		}
		args, input = append(args, "-"), text
	}
	c := exec.CommandContext(t.Context(), path, args...)
	c.Env = append(os.Environ(), "TOWPATH_DATABASE_URL="+pool.Config().ConnString())
	var out, errs strings.Builder
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(input), &out, &errs
	_ = c.Run() // the exit code says it
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// Every entrance leaves the same row but for its id and times, and the unique jobs of each meet those of every other.
func TestParity(t *testing.T) {
	t.Parallel()
	for _, p := range parities() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.Pool(t)
			ways := slices.DeleteFunc(entrances(t, pool), func(w entrance) bool { return w.inGo && p.args == nil })
			isUnique := strings.HasPrefix(p.name, "by ") || p.name == "of any kind" || p.name == "own key"
			var want string
			for _, first := range ways {
				id, skipped := first.enters(t, p)
				require.False(t, skipped, first.name)
				var row string
				require.NoError(t, pool.QueryRow(t.Context(), `SELECT (to_jsonb(j) - '{id,created_at}'::text[]
					|| jsonb_build_object('scheduled_at', CASE WHEN j.state = 'scheduled' THEN j.scheduled_at END))::text
					FROM towpath.river_job j WHERE id = $1`, id).Scan(&row))
				if want == "" {
					want = row
				}
				require.JSONEq(t, want, row, "%s and %s", ways[0].name, first.name)
				if isUnique {
					for _, second := range ways {
						met, skipped := second.enters(t, p)
						require.True(t, skipped, "%s after %s", second.name, first.name)
						require.Equal(t, id, met, "%s after %s", second.name, first.name)
					}
				}
				_, err := pool.Exec(t.Context(), `DELETE FROM towpath.river_job`)
				require.NoError(t, err)
			}
		})
	}
}
