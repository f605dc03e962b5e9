package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// tickArgs is a schedule's job: its effect is a row with the tick that it was enqueued for.
type tickArgs struct{}

func (tickArgs) Kind() string { return "crash.tick" }

// scheduleEnv is the expression of a schedule in the application's code, another one in each version.
const scheduleEnv = "CRASH_TEST_SCHEDULE"

func addSchedules(bundle *workers.Bundle) {
	addKind(bundle, 0, func(ctx context.Context, job *river.Job[tickArgs]) error {
		schedule, tick, ok := workers.Tick(ctx)
		if !ok {
			return workers.Permanent(errors.New("the job does not know its tick"))
		}
		return workers.DoTx(ctx, job, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "INSERT INTO crash.tick (schedule, tick, job_id) VALUES ($1, $2, $3)", schedule, tick, job.ID)
			return err
		})
	})
	if expression := os.Getenv(scheduleEnv); expression != "" {
		bundle.AddSchedule(jobs.Schedule{Name: "in code", Expression: expression, Args: tickArgs{}})
	}
}

// scheduling makes a rig's database ready for schedules, whose jobs nobody announces to the auditor.
func scheduling(r *rig) {
	r.t.Helper()
	r.auditor.stop()
	r.exec("CREATE TABLE crash.tick (schedule text, tick timestamptz, job_id bigint)")
}

// requireEveryTick demands that each tick of a second's schedule has one run, one job and one effect.
func requireEveryTick(r *rig, schedule string, least int) {
	r.t.Helper()
	r.awaitTrue(patience, "the jobs of "+schedule+" have ended",
		"SELECT NOT EXISTS (SELECT FROM towpath.schedule_runs WHERE schedule = $1 AND outcome IN ('waiting', 'running', 'retrying'))", schedule)
	require.Empty(r.t, r.strings(`SELECT format('run %s: tick %s follows %s', n, tick, before)
		FROM (SELECT n, tick, lag(tick) OVER (ORDER BY n) AS before FROM towpath.schedule_runs WHERE schedule = $1) r
		WHERE tick <> before + interval '1 second'`, schedule), "each tick follows the one before")
	require.Empty(r.t, r.strings(`SELECT format('tick %s: %s jobs, %s effects, %s', r.tick, count(DISTINCT j.id), count(t.job_id), min(r.outcome))
		FROM towpath.schedule_runs r LEFT JOIN towpath.jobs j ON j.id = r.job_id
		LEFT JOIN crash.tick t ON t.schedule = r.schedule AND t.tick = r.tick
		WHERE r.schedule = $1 GROUP BY r.tick HAVING count(DISTINCT j.id) <> 1 OR count(t.job_id) <> 1 OR min(r.outcome) <> 'succeeded'`, schedule),
		"each tick has one job, and that one effect")
	ran := r.strings("SELECT n::text FROM towpath.schedule_runs WHERE schedule = $1", schedule)
	require.GreaterOrEqual(r.t, len(ran), least)
	require.Len(r.t, r.strings(`SELECT id::text FROM towpath.jobs WHERE metadata ->> 'towpath:schedule' = $1`, schedule), len(ran), "no job besides")
}

// startScheduler starts a process that may lead and works no jobs of ours.
func (r *rig) startScheduler() *process {
	r.t.Helper()
	p := r.start(true, map[string]string{"TOWPATH_LISTEN": "off", "TOWPATH_LOG_FORMAT": "text", "TOWPATH_DATABASE_MAX_CONNS": "10"}, "scheduler")
	r.awaitWorker(p)
	return p
}

// The leader is killed in the middle of ticks, time and again; each tick has one job.
func TestLeaderKilledWhileItFires(t *testing.T) {
	t.Parallel()
	const schedules, kills = 10, 3
	r := newRig(t)
	scheduling(r)
	r.startWorker(map[string]string{"TOWPATH_LEAD": "off"})
	r.startScheduler()
	for i := range schedules {
		r.exec("SELECT towpath.put_schedule($1, '@every 1s', 'crash.tick', missed => 'catch_up')", fmt.Sprintf("s%d", i))
	}
	for range kills {
		r.startScheduler()
		victim := r.leader()
		var runs int
		r.await(patience, "the leader fires", func(ctx context.Context) (bool, error) {
			if runs == 0 {
				return false, r.pool.QueryRow(ctx, "SELECT count(*) FROM towpath.schedule_run").Scan(&runs)
			}
			return r.is(ctx, "SELECT count(*) > $1 FROM towpath.schedule_run", runs+3*schedules)
		})
		// At some moment around the next tick.
		<-time.After(time.Until(time.Now().Truncate(time.Second).Add(time.Second + time.Duration(r.dice.IntN(20))*time.Millisecond)))
		victim.kill()
	}
	r.leader()
	r.awaitTrue(patience, "two hundred ticks are fired", "SELECT (SELECT count(*) FROM towpath.schedule_run) >= 200 AND (SELECT min(runs) FROM towpath.schedule) >= 20")
	r.exec("SELECT towpath.pause_schedule(name) FROM towpath.schedules")
	for i := range schedules {
		requireEveryTick(r, fmt.Sprintf("s%d", i), 20)
	}
}

// The database is away for many ticks; each policy does what it says about them.
func TestSchedulesWithoutDatabase(t *testing.T) {
	t.Parallel()
	r := newRigWithPostgres(t)
	scheduling(r)
	r.startWorker(nil)
	for name, more := range map[string]string{
		"all": ", missed => 'catch_up'", "one": ", missed => 'coalesce'", "none": ", missed => 'skip'", "some": ", missed => 'skip', skip_after => '4 seconds'",
	} {
		r.exec("SELECT towpath.put_schedule($1, '@every 1s', 'crash.tick'"+more+")", name)
	}
	began := func() {
		r.t.Helper()
		r.awaitTrue(patience, "every schedule fires", "SELECT min(last_due) > clock_timestamp() - interval '2 seconds' FROM towpath.schedule")
	}
	began()
	r.killPostgres(*awayFlag)
	began()
	r.exec("SELECT towpath.pause_schedule(name) FROM towpath.schedules")
	requireEveryTick(r, "all", 20)
	// The others account for every tick, too.
	for _, name := range []string{"one", "none", "some"} {
		r.awaitTrue(patience, "the jobs of "+name+" have ended",
			"SELECT NOT EXISTS (SELECT FROM towpath.schedule_runs WHERE schedule = $1 AND outcome IN ('waiting', 'running', 'retrying'))", name)
		require.Empty(t, r.strings(`SELECT format('run %s: tick %s follows %s and stands for %s', n, tick, before, ticks)
			FROM (SELECT n, tick, ticks, lag(tick) OVER (ORDER BY tick) AS before FROM towpath.schedule_runs WHERE schedule = $1) r
			WHERE tick <> before + ticks * interval '1 second'`, name))
		require.Empty(t, r.strings(`SELECT schedule || ' ' || tick FROM crash.tick WHERE schedule = $1 GROUP BY schedule, tick HAVING count(*) > 1`, name))
	}
	largest := func(name, which string) string {
		return r.strings("SELECT coalesce(max(ticks), 0)::text FROM towpath.schedule_runs WHERE schedule = $1 AND "+which, name)[0]
	}
	require.Regexp(t, `^[1-9][0-9]+$`, largest("one", "outcome = 'succeeded'"), "one run stands for ten ticks and more")
	require.Equal(t, "0", largest("one", "outcome = 'skipped'"))
	require.Regexp(t, `^[1-9][0-9]+$`, largest("none", "note = 'missed'"))
	require.Equal(t, "1", largest("none", "outcome = 'succeeded'"))
	require.Regexp(t, `^[1-9][0-9]+$`, largest("some", "note = 'missed'"))
}

// Two versions of the application run beside each other, with different expressions, and restart. The new one holds.
func TestRollingDeployment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	scheduling(r)
	older, newer := map[string]string{scheduleEnv: "@every 1s"}, map[string]string{scheduleEnv: "@every 2s"}
	expression := func() string { return r.strings("SELECT expression FROM towpath.schedules")[0] }
	first := r.startWorker(older)
	second := r.startWorker(older)
	r.awaitTrue(patience, "the old version's schedule fires", "SELECT runs > 1 FROM towpath.schedule")
	require.Equal(t, "@every 1s", expression())

	third := r.startWorker(newer)
	require.Equal(t, "@every 2s", expression())
	first.kill()
	fourth := r.startWorker(older) // the platform starts it anew, as it was
	require.Equal(t, "@every 2s", expression())
	second.terminate()
	r.startWorker(newer)
	fourth.terminate()
	third.terminate()
	require.Equal(t, "@every 2s", expression())
	r.awaitTrue(patience, "the new version's schedule fires", "SELECT count(*) > 2 FROM towpath.schedule_runs WHERE fired_at > (SELECT code_at FROM towpath.schedule)")
	require.Len(t, r.strings("SELECT id::text FROM towpath.audit WHERE action = 'deploy_schedules'"), 2, "it went over once")
	require.Empty(t, r.strings(`SELECT tick::text FROM towpath.schedule_runs WHERE tick > (SELECT code_at + interval '1 second' FROM towpath.schedule) AND extract(epoch FROM tick)::bigint % 2 = 1`))
}
