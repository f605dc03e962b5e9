package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
)

// feedVariable makes the test binary the program itself, with so many events of the feed.
const feedVariable = "QUAKES_TEST_EVENTS"

// replayEvents is how many events the tests replay.
const replayEvents = 60

func TestMain(m *testing.M) {
	if events, err := strconv.Atoi(os.Getenv(feedVariable)); err == nil {
		feedCSV = beginningOfFeed(events)
		main()
	}
	os.Exit(m.Run())
}

// beginningOfFeed is the feed's title and its first events.
func beginningOfFeed(events int) string {
	return strings.Join(strings.SplitAfter(feedCSV, "\n")[:1+events], "")
}

// runProgram runs the program to its end and returns what it wrote and its exit code.
func runProgram(t *testing.T, url string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	var out, complaints strings.Builder
	c := exec.CommandContext(t.Context(), program, args...)
	c.Env = append(os.Environ(), feedVariable+"="+strconv.Itoa(replayEvents), "TOWPATH_DATABASE_URL="+url, "TOWPATH_LISTEN=127.0.0.1:0")
	c.Stdout, c.Stderr = &out, &complaints
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return out.String(), complaints.String(), c.ProcessState.ExitCode()
}

// lastLine is the summary for scripts.
var lastLine = regexp.MustCompile(`(?m)^quakes: (\d+) events, (\d+) jobs completed, (\d+) lost, (\d+) duplicated\n\z`)

// The program replays a feed on real Postgres, works all that follows, and counts in the database what became of it. A
// row that is missing among the effects is a job lost, one too many is a duplicate, and either is an exit code of 1.
func TestReplay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := testdb.URL(t)
	summary := func(wantCode int) (stdout, stderr string, figures []string) {
		stdout, stderr, code := runProgram(t, url, "--once")
		require.Equal(t, wantCode, code, "%s\n%s", stdout, stderr)
		figures = lastLine.FindStringSubmatch(stdout)
		require.NotNil(t, figures, stdout)
		require.Equal(t, strconv.Itoa(replayEvents), figures[1])
		return stdout, stderr, figures[2:]
	}

	stdout, _, whole := summary(0)
	require.Equal(t, []string{"0", "0"}, whole[1:])
	// Each event is located once, and each that its network fails at first is tried again.
	i, failing := &importer{}, 0
	_, err := i.readFeed(beginningOfFeed(replayEvents))
	require.NoError(t, err)
	for _, r := range i.reports {
		if !r.update && askUpstream(&r.event, 1) != nil {
			failing++
		}
	}
	require.Positive(t, failing, "the slice shows failures")
	require.Regexp(t, `(?m)^quakes\.locate +`+strconv.Itoa(replayEvents)+` +`+strconv.Itoa(failing)+`$`, stdout)

	pool, err := pgxpool.New(ctx, url)
	require.NoError(t, err)
	defer pool.Close()
	var completed, finished, left int
	require.NoError(t, pool.QueryRow(ctx, `SELECT
		(SELECT count(*) FROM quakes.expected JOIN towpath.job_history ON id = job_id AND state = 'completed'),
		(SELECT count(DISTINCT job_id) FROM quakes.effect), (SELECT count(*) FROM quakes.expected JOIN towpath.river_job ON id = job_id)`).
		Scan(&completed, &finished, &left))
	require.Equal(t, []string{strconv.Itoa(completed), strconv.Itoa(completed), "0"}, []string{whole[0], strconv.Itoa(finished), strconv.Itoa(left)})

	// From here on the database loses the effect of one job of each replay.
	_, err = pool.Exec(ctx, `
		CREATE FUNCTION quakes.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			DELETE FROM quakes.effect WHERE ctid = (SELECT max(ctid) FROM quakes.effect
				WHERE replay = NEW.replay AND job_id = NEW.job_id);
			RETURN NULL;
		END $$`)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, `CREATE TRIGGER meddle AFTER INSERT ON quakes.effect FOR EACH ROW
		WHEN (NEW.kind = 'quakes.locate' AND NEW.event = '`+i.reports[0].id+`') EXECUTE FUNCTION quakes.meddle()`)
	require.NoError(t, err)
	_, stderr, figures := summary(1)
	require.Equal(t, []string{"1", "0"}, figures[1:])
	require.Contains(t, stderr, "the replay is not whole: 60 of 60 events, 1 jobs lost, 0 effects duplicated")

	// And from here on it writes that effect twice.
	_, err = pool.Exec(ctx, `
		CREATE OR REPLACE FUNCTION quakes.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF pg_trigger_depth() = 1 THEN
				INSERT INTO quakes.effect SELECT NEW.*;
			END IF;
			RETURN NULL;
		END $$`)
	require.NoError(t, err)
	_, stderr, figures = summary(1)
	require.Equal(t, []string{"0", "1"}, figures[1:])
	require.Contains(t, stderr, "the replay is not whole: 60 of 60 events, 0 jobs lost, 1 effects duplicated")
}

// Two networks fail, by the event and the attempt alone: every replay sees the same failures, and each event gets its
// answer in the end.
func TestFailuresAreTheSameInEveryReplay(t *testing.T) {
	t.Parallel()
	i := &importer{}
	_, err := i.readFeed(feedCSV)
	require.NoError(t, err)
	failed := map[string]int{}
	for _, r := range i.reports {
		if r.update {
			continue
		}
		attempt := 1
		for err := askUpstream(&r.event, attempt); err != nil; err = askUpstream(&r.event, attempt) {
			require.EqualError(t, askUpstream(&r.event, attempt), err.Error())
			failed[r.network]++
			attempt++
		}
		require.Less(t, attempt, 10, "event %q gets its answer", r.id)
	}
	require.Equal(t, map[string]int{"hv": 9, "nn": 51}, failed, "as seen when the rule was made")
}

// At a speed the reports come no sooner than the feed says; without one nothing is waited for.
func TestSpeedPacesTheImport(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	schema, err := migrations.ReadFile("migrations/001_quakes.up.sql")
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), string(schema))
	require.NoError(t, err)
	client, err := jobs.NewClient(pool, nil)
	require.NoError(t, err)
	i := &importer{pool: pool, client: client, speed: 7200}
	_, err = i.readFeed(feedCSV)
	require.NoError(t, err)
	i.reports = i.reports[:2]
	i.reports[1].at = i.reports[0].at.Add(time.Hour)
	require.NoError(t, i.begin(t.Context()))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	begun := time.Now()
	go func() { ended <- i.run(ctx) }()
	require.Eventually(t, func() bool { return i.imported.Load() == 2 }, time.Minute, time.Millisecond)
	require.GreaterOrEqual(t, time.Since(begun), 500*time.Millisecond)
	cancel() // nobody works the jobs
	require.ErrorIs(t, <-ended, context.Canceled)
}
