package alert_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/alert"
	"github.com/towpath/towpath/internal/store"
)

// a is what happened n times to a kind in the queue q, in a bucket of 2^(b-1) to 2^b milliseconds.
func a(kind, event string, bucket int16, n int64, seconds float64) store.KindActivity {
	return store.KindActivity{Queue: "q", Kind: kind, Event: event, Bucket: bucket, N: n, Seconds: seconds}
}

// A kind that runs for half a minute has nearly all of the queue, and those that run for 50 ms wait for half a minute.
func TestStarvation(t *testing.T) {
	t.Parallel()
	hog := []store.KindActivity{a("report", "started", 3, 50, 1), a("report", "completed", 15, 50, 1500)}
	mates := []store.KindActivity{a("mail", "started", 15, 20, 400), a("mail", "completed", 6, 20, 1)}
	for name, test := range map[string]struct {
		activity [][]store.KindActivity
		want     []string
	}{
		"Starves":       {[][]store.KindActivity{hog, mates}, []string{"q/report 512"}},
		"Alone":         {[][]store.KindActivity{hog}, nil},
		"Nothing":       {nil, nil},
		"UnderWay":      {[][]store.KindActivity{{a("report", "running", 0, 5, 4500)}, mates}, []string{"q/report 512"}},
		"TheyDoNotRun":  {[][]store.KindActivity{hog, {a("mail", "started", 15, 20, 400)}}, nil},
		"TheyAreFew":    {[][]store.KindActivity{hog, {a("mail", "started", 15, 9, 400), a("mail", "completed", 6, 9, 1)}}, nil},
		"TheyDoNotWait": {[][]store.KindActivity{hog, {a("mail", "started", 10, 20, 10), a("mail", "completed", 6, 20, 1)}}, nil},
		"AsLong":        {[][]store.KindActivity{hog, {a("mail", "started", 15, 20, 400), a("mail", "completed", 15, 20, 600)}}, nil},
		"LittleOfIt":    {[][]store.KindActivity{{a("report", "started", 3, 1, 1), a("report", "completed", 15, 1, 20)}, {a("mail", "started", 15, 900, 400), a("mail", "completed", 6, 900, 45)}}, nil},
		"SeveralMates":  {[][]store.KindActivity{hog, mates, {a("sms", "started", 14, 20, 200), a("sms", "completed", 5, 20, 1)}}, []string{"q/report 512"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all []store.KindActivity
			for _, part := range test.activity {
				all = append(all, part...)
			}
			require.Equal(t, test.want, alert.Starving(all))
		})
	}
}

// The quantile is the one of SQL.
func TestQuantile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	buckets := map[int16]int64{0: 3, 2: 10, 7: 5, 12: 2}
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.95, 1} {
		got, some := alert.Quantile(buckets, q)
		require.True(t, some)
		want := one[float64](t, r.pool, `SELECT extract(epoch FROM towpath.histogram_quantile('{0,2,7,12}', '{3,10,5,2}', $1))::double precision`, q)
		require.InDelta(t, want, got, 0.0001, "%g", q)
	}
	_, some := alert.Quantile(nil, 0.5)
	require.False(t, some)
}

// Whatever a rule is about is found, once, with words for people; and what belongs to delivery itself is not.
func TestRulesFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	const (
		job     = `INSERT INTO towpath.river_job (args, kind, max_attempts, queue, state, scheduled_at, attempted_at, attempted_by) VALUES `
		process = `INSERT INTO towpath.process (client_id, host, pid, started_at, beat_at, running, dead_at, stopped_at) VALUES `
		counter = `INSERT INTO towpath.counter_delta (queue, kind, event, bucket, n, seconds) VALUES `
		check   = `SELECT towpath.put_check('backup', period => '1 hour', grace => '10 minutes', longest => '1 hour'); `
		probe   = `INSERT INTO towpath.probe (name, edited, last_run_at, last_ok_at, status, outcome, value, detail) VALUES ('orders', '{"query": "SELECT 1", "every": 600, "timeout": 10}', now(), now(), `
	)
	for name, test := range map[string]struct {
		sql  string
		want string // the alerts, some of which are pending
	}{
		"Nothing":            {`SELECT 1`, ""},
		"QueueOld":           {job + `('{}', 'k', 1, 'mail', 'available', now() - interval '6 minutes', NULL, NULL)`, "queue_old mail pending"},
		"QueueYoung":         {job + `('{}', 'k', 1, 'mail', 'available', now() - interval '4 minutes', NULL, NULL)`, ""},
		"QueuePaused":        {`INSERT INTO towpath.river_queue (name, paused_at) VALUES ('mail', now()); ` + job + `('{}', 'k', 1, 'mail', 'available', now() - interval '6 minutes', NULL, NULL)`, ""},
		"OwnQueue":           {job + `('{}', 'towpath.notify', 1, 'towpath', 'available', now() - interval '1 day', NULL, NULL)`, ""},
		"Running":            {job + `('{}', 'k', 1, 'mail', 'running', now(), now() - interval '61 minutes', '{web-1}'), ('{}', 'k', 1, 'mail', 'running', now(), now() - interval '65 minutes', '{web-1}')`, "work_stuck k pending"},
		"RunningAsUsual":     {`INSERT INTO towpath.counter (queue, kind, event, bucket, n, seconds) VALUES ('mail', 'k', 'completed', 22, 100, 300000); ` + job + `('{}', 'k', 1, 'mail', 'running', now(), now() - interval '65 minutes', '{web-1}')`, ""},
		"RunningOwn":         {job + `('{}', 'towpath.notify', 1, 'towpath', 'running', now(), now() - interval '65 minutes', '{web-1}')`, ""},
		"HandlerStuck":       {`INSERT INTO towpath.river_job (id, args, kind, max_attempts, state) VALUES (1, '{}', 'k', 1, 'retryable'); INSERT INTO towpath.job_event (job_id, attempt, event) VALUES (1, 1, 'stuck'), (1, 1, 'log')`, "work_stuck k pending"},
		"Failing":            {counter + `('mail', 'k', 'retried', 3, 8, 1), ('mail', 'k', 'discarded', 3, 4, 1), ('mail', 'k', 'completed', 3, 12, 1)`, "kind_failing k pending"},
		"FailingLittle":      {counter + `('mail', 'k', 'retried', 3, 12, 1), ('mail', 'k', 'completed', 3, 13, 1)`, ""},
		"FailingSeldom":      {counter + `('mail', 'k', 'retried', 3, 9, 1)`, ""},
		"FailingOwn":         {counter + `('towpath', 'towpath.notify', 'retried', 3, 90, 1)`, ""},
		"Starving":           {counter + `('mail', 'report', 'started', 3, 50, 1), ('mail', 'report', 'completed', 15, 50, 1500), ('mail', 'k', 'started', 15, 20, 400), ('mail', 'k', 'completed', 6, 20, 1)`, "kind_starving mail/report pending"},
		"ScheduleFailed":     {schedule("failed"), "schedule_failed nightly firing"},
		"ScheduleTooLong":    {schedule("too_long"), "schedule_too_long nightly firing"},
		"ScheduleLate":       {schedule("late"), "schedule_late nightly firing; schedule_missed nightly pending"},
		"SchedulePaused":     {schedule("paused"), ""},
		"CheckMissed":        {check + `UPDATE towpath.heartbeat SET last_sign_at = now() - interval '2 hours', expected_by = now() - interval '1 hour'`, "check_missed backup firing"},
		"CheckLate":          {check + `UPDATE towpath.heartbeat SET last_sign_at = now() - interval '2 hours', expected_by = now() - interval '1 minute'`, "check_late backup firing; check_missed backup pending"},
		"CheckFailed":        {check + `UPDATE towpath.heartbeat SET last_sign_at = now(), expected_by = now() + interval '1 hour', last_failure_at = now(), last_exit_status = 3`, "check_failed backup firing"},
		"CheckTooLong":       {check + `UPDATE towpath.heartbeat SET last_sign_at = now(), expected_by = now() + interval '1 hour', running_since = now() - interval '2 hours'`, "check_too_long backup firing"},
		"ProbeEmpty":         {probe + `'empty', 'empty', NULL, 'the source is empty')`, "probe_empty orders firing"},
		"ProbeBeyond":        {probe + `'beyond', 'beyond', 12, '12 is above 10')`, "probe_beyond orders firing"},
		"ProbeFailed":        {probe + `'failed', 'failed', NULL, 'no such table')`, "probe_failed orders firing"},
		"ProbeStale":         {probe + `'ok', 'ok', 1, ''); UPDATE towpath.probe SET last_run_at = now() - interval '1 hour', watched_since = now() - interval '1 day'`, "probe_stale orders firing"},
		"NoLeader":           {`UPDATE towpath.river_leader SET expires_at = now() - interval '1 second'`, "no_leader leader pending"},
		"RiverLeads":         {`UPDATE towpath.river_leader SET leader_id = 'a client of plain River'`, ""},
		"Silent":             {process + `('web-2', 'b', 7, now() - interval '1 day', now() - interval '25 seconds', 3, NULL, NULL)`, "process_gone web-2 firing"},
		"Dead":               {process + `('web-2', 'b', 7, now() - interval '1 day', now() - interval '2 minutes', 3, now() - interval '1 minute', NULL)`, "process_gone web-2 firing"},
		"DeadLongAgo":        {process + `('web-2', 'b', 7, now() - interval '1 day', now() - interval '17 minutes', 3, now() - interval '16 minutes', NULL)`, ""},
		"DeadWithJobs":       {process + `('web-2', 'b', 7, now() - interval '1 day', now() - interval '17 minutes', 3, now() - interval '16 minutes', NULL); ` + job + `('{}', 'k', 1, 'mail', 'running', now(), now() - interval '20 minutes', '{web-2}')`, "process_gone web-2 firing"},
		"DeadAndReplaced":    {process + `('web-2', 'b', 7, now() - interval '1 day', now() - interval '2 minutes', 3, now() - interval '1 minute', NULL), ('web-3', 'b', 8, now() - interval '30 seconds', now(), 0, NULL, NULL)`, ""},
		"Stopped":            {process + `('web-2', 'b', 7, now() - interval '1 day', now() - interval '2 minutes', 0, NULL, now() - interval '1 minute')`, ""},
		"PartitionsMissing":  {`DO $$ BEGIN EXECUTE 'DROP TABLE towpath.job_history_cancelled_' || to_char((now() AT TIME ZONE 'UTC')::date + 1, 'YYYYMMDD'); END $$`, "partitions_missing towpath.job_history_cancelled pending"},
		"PartitionsAllThere": {`SELECT towpath.ensure_partitions(2)`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.exec(`SELECT towpath.ensure_partitions(2)`)
			r.exec(test.sql)
			e := r.evaluator()
			r.round(e)
			r.round(e)
			require.Equal(t, test.want, one[string](t, r.pool, `SELECT coalesce(string_agg(rule || ' ' || subject || ' ' || state, '; ' ORDER BY rule, subject), '') FROM towpath.alerts`))
			require.Zero(t, one[int](t, r.pool, `SELECT count(*) FROM towpath.alerts WHERE summary = '' OR summary LIKE '%%!%%'`))
		})
	}
}

func schedule(status string) string {
	return `INSERT INTO towpath.schedule (name, edited, next_tick, next_due, settled, status) VALUES
		('nightly', towpath.full_definition('{"expression": "@daily", "kind": "k"}'), now() + interval '1 day', now() + interval '1 day', true, '` + status + `')`
}

// A transaction that stays open is told with what it is.
func TestOldTransaction(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	second := 0.001
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "old_transaction", Threshold: &second, After: new(time.Duration)}))
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT 'the culprit'`)
	require.NoError(t, err)
	r.round(r.evaluator())
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, 1, one[int](t, r.pool, `SELECT count(*) FROM towpath.alerts WHERE rule = 'old_transaction' AND state = 'firing' AND detail LIKE '%the culprit%pg_terminate_backend%'`))
}

// Dead rows are told with their table.
func TestDeadRows(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	few := 10.0
	require.NoError(t, store.PutAlertRule(t.Context(), r.pool, store.RuleChange{Name: "dead_rows", Threshold: &few, After: new(time.Duration)}))
	r.exec(`ALTER TABLE towpath.lease SET (autovacuum_enabled = off)`)
	r.exec(`INSERT INTO towpath.lease (name, holder, expires_at) SELECT n::text, 'x', now() FROM generate_series(1, 50) n`)
	r.exec(`DELETE FROM towpath.lease`)
	require.Eventually(t, func() bool {
		r.exec(`SELECT pg_stat_force_next_flush()`)
		r.round(r.evaluator())
		return one[int](t, r.pool, `SELECT count(*) FROM towpath.alerts WHERE rule = 'dead_rows' AND subject = 'lease' AND state = 'firing' AND value = '50'`) == 1
	}, time.Minute, 50*time.Millisecond)
}
