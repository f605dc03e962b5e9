package migrations_test

import (
	"flag"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

// With -rows=10000000 the questions below are asked at full size, and must be answered in time.
var rowsFlag = flag.Int("rows", 100_000, "how many finished jobs the tests of query plans make; a tenth as many wait")

const (
	// smallTable is how many rows a table or partition has at most for which reading it from end to end is the right plan.
	// The partition of today has any number of rows, from none after midnight (UTC) on.
	smallTable = 5000

	// mostRead is how many rows a question may meet while it walks a larger table, as one that stops at the first does.
	mostRead = 1000

	// inTime is how long a question may take at full size.
	inTime = 50 * time.Millisecond
)

// fill makes a busy queue, in which a tenth as many jobs wait as have finished, and a process that leads.
func fill(t *testing.T, pool *pgxpool.Pool, finished int) {
	t.Helper()
	process(t, pool, "a", `{"default": 200, "mail": 100}`, "kind.0", "kind.1")
	lead(t, pool, "a")
	testdb.Fill(t, pool, finished, finished/10)
	require.EqualValues(t, finished/10+200, one[int64](t, pool, `SELECT sum(n)::bigint FROM towpath.queue_depth`))
}

// No question that people ask all day reads a big table from end to end.
func TestQuestionsReadLittle(t *testing.T) {
	pool := testdb.Pool(t)
	fill(t, pool, *rowsFlag)
	waiting := one[int64](t, pool, `SELECT id FROM towpath.river_job WHERE state = 'available' AND queue = 'mail' ORDER BY id DESC LIMIT 1`)
	finished := one[int64](t, pool, `SELECT id FROM towpath.job_history WHERE state = 'discarded' ORDER BY id DESC LIMIT 1`)

	tests := []struct {
		name, sql string
		args      []any
		rows      int64
	}{
		{"QueuesView", `SELECT * FROM towpath.queues`, nil, 3},
		{"KindsView", `SELECT * FROM towpath.kinds`, nil, 20},
		{"KindsSince", `SELECT * FROM towpath.kinds_since($1::text::interval)`, []any{"10 minutes"}, 20},
		{"CountersView", `SELECT * FROM towpath.counters`, nil, 0},
		{"ActivityOfAnHour", `SELECT minute, sum(n) FROM towpath.activity WHERE minute >= now() - interval '1 hour' GROUP BY minute`, nil, 30},
		{"ProcessesView", `SELECT * FROM towpath.processes`, nil, 1},
		{"FailuresView", `SELECT * FROM towpath.failures`, nil, 2},
		{"LiveJob", `SELECT * FROM towpath.jobs WHERE id = $1`, []any{waiting}, 1},
		{"FinishedJob", `SELECT * FROM towpath.jobs WHERE id = $1`, []any{finished}, 1},
		{"NewestFinished", `SELECT * FROM towpath.jobs WHERE finalized_at IS NOT NULL ORDER BY finalized_at DESC, id DESC LIMIT 50`, nil, 50},
		{"NextPage", `SELECT * FROM towpath.jobs WHERE finalized_at IS NOT NULL AND (finalized_at, id) < (now() - interval '1 day', $1)
			ORDER BY finalized_at DESC, id DESC LIMIT 50`, []any{finished}, 50},
		{"NewestDiscarded", `SELECT * FROM towpath.jobs WHERE state = 'discarded' AND finalized_at IS NOT NULL ORDER BY finalized_at DESC, id DESC LIMIT 50`, nil, 50},
		{"NewestOfAKind", `SELECT * FROM towpath.jobs WHERE kind = 'kind.3' AND finalized_at > now() - interval '1 hour' ORDER BY finalized_at DESC, id DESC LIMIT 50`, nil, 50},
		{"NextInLine", `SELECT * FROM towpath.jobs WHERE state = 'available' AND queue = 'mail' ORDER BY priority, scheduled_at, id LIMIT 50`, nil, 50},
		{"NextDue", `SELECT * FROM towpath.jobs WHERE state IN ('retryable', 'scheduled') ORDER BY scheduled_at, id LIMIT 50`, nil, 50},
		{"Running", `SELECT * FROM towpath.jobs WHERE state = 'running' ORDER BY attempted_at, id LIMIT 50`, nil, 50},
		{"WaitingInLine", `SELECT * FROM towpath.waiting WHERE state = 'available' AND queue = 'mail' ORDER BY priority, scheduled_at, id LIMIT 50`, nil, 50},
		{"WhyWaiting", `SELECT * FROM towpath.why($1)`, []any{waiting}, 1},
		{"WhyFinished", `SELECT * FROM towpath.why($1)`, []any{finished}, 1},
		{"TimelineOfLive", `SELECT * FROM towpath.timeline WHERE job_id = $1 ORDER BY at`, []any{waiting}, 1},
		{"TimelineOfFinished", `SELECT * FROM towpath.timeline WHERE job_id = $1 ORDER BY at`, []any{finished}, 4},
		{"FindFailed", `SELECT * FROM towpath.find_jobs(states => '{discarded}', newer_than => '1 hour', max_jobs => 50)`, nil, 1},
		{"FindAny", `SELECT * FROM towpath.find_jobs(max_jobs => 50)`, nil, 50},
		{
			"FindFinishedPage", `SELECT * FROM towpath.find_jobs(states => '{completed,discarded}', after_id => $1, after_finished => now() - interval '1 day', max_jobs => 50)`,
			[]any{finished},
			50,
		},
		{"FindByID", `SELECT * FROM towpath.find_jobs(kind => 'kind.0', ids => ARRAY[$1::bigint, $2])`, []any{waiting, finished}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { ask(t, pool, test.rows, test.sql, test.args...) })
	}
	for _, question := range documentedQuestions(t, waiting, finished) {
		t.Run(question.name, func(t *testing.T) { ask(t, pool, 0, question.sql) })
	}
}

// ask puts a question several times, in a transaction that is rolled back.
func ask(t *testing.T, pool *pgxpool.Pool, rows int64, sql string, args ...any) {
	t.Helper()
	acts := acting.MatchString(sql)
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	before := seqRead(t, tx)
	best := time.Hour
	for range 5 {
		begun := time.Now()
		got := exec(t, tx, sql, args...)
		best = min(best, time.Since(begun))
		require.GreaterOrEqual(t, got, rows)
		if acts {
			break // it finds nothing the second time
		}
	}
	t.Logf("%s", best.Round(10*time.Microsecond))
	if acts {
		return // how long it takes is up to how much it changes
	}
	if *rowsFlag >= 10_000_000 {
		require.Less(t, best, inTime)
	}
	require.LessOrEqual(t, seqRead(t, tx)-before, 5*mostRead, "rows read from one end of a table to the other")
}

var acting = regexp.MustCompile(`towpath\.(cancel|retry|delete|pause|resume)_`)

type question struct{ name, sql string }

// documentedQuestions returns the statements of docs/sql.md that operators run, with the names of what fill has made.
func documentedQuestions(t *testing.T, waiting, finished int64) []question {
	t.Helper()
	doc, err := os.ReadFile("../docs/sql.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(doc), "\n## Twenty questions of an operator\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	chapters := strings.Split(section, "\n### ")[1:]
	require.Len(t, chapters, 20, "questions")

	var questions []question
	for _, chapter := range chapters {
		title, _, _ := strings.Cut(chapter, "\n")
		blocks := sqlBlock.FindAllStringSubmatch(chapter, -1)
		require.NotEmpty(t, blocks, "%s: no query", title)
		require.Contains(t, chapter, "```text\n", "%s: no answer", title)
		for _, block := range blocks {
			for statement := range strings.SplitSeq(strings.TrimSpace(block[2]), ";\n") {
				sql := strings.NewReplacer("'mail.send'", "'kind.3'", "'i/o timeout'", "'refused'").Replace(statement)
				sql = jobInDoc.ReplaceAllStringFunc(sql, func(id string) string {
					if strings.HasPrefix(id, "80") {
						return strconv.FormatInt(finished, 10)
					}
					return strconv.FormatInt(waiting, 10)
				})
				questions = append(questions, question{"Doc " + title, strings.TrimSuffix(sql, ";")})
			}
		}
	}
	return questions
}

// seqRead is how many rows of big tables this connection has read by walking a table, inside functions as well.
func seqRead(t *testing.T, db querier) int {
	t.Helper()
	return one[int](t, db, `SELECT coalesce(sum(s.seq_tup_read), 0) FROM pg_stat_xact_user_tables s JOIN pg_class c ON c.oid = s.relid
		WHERE c.reltuples > $1 AND (s.relname ~ '^(river_job|job_history)' OR s.relname = 'counter_minute')`, smallTable)
}

// Nor does one that acts on single jobs.
func TestOperatingReadsLittle(t *testing.T) {
	pool := testdb.Pool(t)
	fill(t, pool, *rowsFlag)

	for _, call := range []string{
		`cancel_job((SELECT max(id) FROM towpath.river_job WHERE state = 'available' AND queue = 'mail'))`,
		`retry_job((SELECT max(id) FROM towpath.job_history WHERE state = 'discarded'))`,
		`delete_job((SELECT max(id) FROM towpath.job_history WHERE state = 'cancelled'))`,
		`enqueue('mail.send', unique_key => 'k')`,
		`enqueue_many('[{"kind": "mail.send", "unique_key": "k"}, {"kind": "mail.send", "unique_key": "l"}]')`,
	} {
		t.Run(call[:11], func(t *testing.T) {
			tx, err := pool.Begin(t.Context())
			require.NoError(t, err)
			defer tx.Rollback(t.Context())
			before := seqRead(t, tx)
			exec(t, tx, `SELECT * FROM towpath.`+call)
			require.LessOrEqual(t, seqRead(t, tx)-before, mostRead)
		})
	}
}
