package checkin_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/agenda"
	"github.com/towpath/towpath/internal/checkin"
	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/internal/store"
	"github.com/towpath/towpath/internal/testdb"
)

const pingKey = "ping-key-of-the-test-0123456789"

// serve starts a real server for pings and returns its address.
func serve(t *testing.T, db checkin.Beginner, create bool) string {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	server := httptest.NewServer(checkin.NewHandler(checkin.HandlerConfig{Database: db, PingKey: pingKey, Create: create, Logger: logger}))
	t.Cleanup(server.Close)
	return server.URL
}

func put(t *testing.T, pool *pgxpool.Pool, name string) (key string) {
	t.Helper()
	period := time.Hour
	key, created, err := store.PutCheck(t.Context(), pool, store.CheckDefinition{Name: name, Period: &period, Zone: "UTC", Grace: time.Minute})
	require.NoError(t, err)
	require.True(t, created)
	return key
}

func ask(t *testing.T, method, address, body string) (status int, text string, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	require.NoError(t, err)
	client := &http.Client{Timeout: time.Minute}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(read), response.Header
}

func show(t *testing.T, pool *pgxpool.Pool, name string) *store.Check {
	t.Helper()
	check, err := store.ShowCheck(t.Context(), pool, name)
	require.NoError(t, err)
	return check
}

func pings(t *testing.T, pool *pgxpool.Pool, name string) []store.CheckPing {
	t.Helper()
	found, err := store.ListCheckPings(t.Context(), pool, name, 0, 10_000)
	require.NoError(t, err)
	return found
}

func statuses(t *testing.T, pool *pgxpool.Pool, name string) (words []string) {
	t.Helper()
	events, err := store.ListCheckEvents(t.Context(), pool, name, 100)
	require.NoError(t, err)
	for _, event := range events {
		words = append(words, event.Was+" "+event.Status)
	}
	return words
}

func TestPingsOverHTTP(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	address := serve(t, pool, false) + checkin.Prefix + put(t, pool, "backup")
	require.Equal(t, "new", show(t, pool, "backup").Status)

	for _, step := range []struct{ method, end, body, want, kind string }{
		{http.MethodGet, "/start?rid=1", "", "ok", "start"},
		{http.MethodPost, "/start?rid=2", "", "ok", "start"},
		{http.MethodPost, "/log?rid=2", "half way", "ok", "log"},
		{http.MethodPost, "/3?rid=2", "disk is full", "failed", "fail"},
		{http.MethodHead, "/0?rid=1", "", "ok", "success"},
		{http.MethodGet, "/fail", "", "failed", "fail"},
		{http.MethodGet, "", "", "ok", "success"},
	} {
		status, text, _ := ask(t, step.method, address+step.end, step.body)
		require.Equal(t, http.StatusOK, status, text)
		if step.method != http.MethodHead {
			require.Equal(t, "OK\n", text)
		}
		require.Equal(t, step.want, show(t, pool, "backup").Status, step.end)
		latest := pings(t, pool, "backup")[0]
		require.Equal(t, step.kind, latest.Kind)
		require.Contains(t, latest.Source, "127.0.0.1")
		if step.body != "" {
			require.Equal(t, step.body, *latest.Body)
		}
	}
	require.Equal(t, []string{"failed ok", "ok failed", "failed ok", "ok failed", "new ok"}, statuses(t, pool, "backup"))
	check := show(t, pool, "backup")
	require.EqualValues(t, 7, check.Pings)
	require.Zero(t, check.Running)
	require.NotNil(t, check.LastDuration)
	require.NotNil(t, pings(t, pool, "backup")[2].Duration, "the run ended by HEAD /0")
}

func TestRefusedPings(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	base := serve(t, pool, false) + checkin.Prefix
	key := put(t, pool, "backup")
	for end, want := range map[string]struct {
		status int
		text   string
	}{
		key + "/256":                  {400, "exit status 256 is none: write 0 to 255, such as /1\n"},
		key + "/99999999999999999999": {400, "exit status 99999999999999999999 is none"},
		key + "/-1":                   {404, "there is no such check\n"},
		key + "/begin":                {404, "there is no such check\n"},
		key + "/start/now":            {404, "there is no such check\n"},
		key + "?rid=a%20b":            {400, `rid "a b" is no run id: write up to 100 letters, digits or ._:-`},
		strings.Repeat("0", 32):       {404, "there is no such check\n"},
		"":                            {404, "there is no such check\n"},
		"backup":                      {404, "there is no such check\n"},
		"wrong-key/backup":            {404, "there is no such check\n"},
		pingKey:                       {404, "there is no such check\n"},
		pingKey + "/other":            {404, "there is no such check\n"},
		pingKey + "/start":            {404, "there is no such check\n"},
		pingKey + "/bad%20name":       {404, "there is no such check\n"},
		pingKey + "/%27%3B--":         {404, "there is no such check\n"},
		key + "/%00":                  {404, "there is no such check\n"},
		"%00%ff":                      {404, "there is no such check\n"},
	} {
		status, text, _ := ask(t, http.MethodPost, base+end, "")
		require.Equal(t, want.status, status, "%s: %s", end, text)
		require.Contains(t, text, want.text, end)
	}
	status, _, _ := ask(t, http.MethodDelete, base+key, "")
	require.Equal(t, http.StatusMethodNotAllowed, status)
	require.Empty(t, pings(t, pool, "backup"))
	require.Equal(t, "new", show(t, pool, "backup").Status)
}

// A check that is addressed by name with the ping key comes to be with its first ping, once, where that is allowed.
func TestPingsByName(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	base := serve(t, pool, true) + checkin.Prefix + pingKey + "/nightly"
	var pinging sync.WaitGroup
	for range 5 {
		pinging.Go(func() {
			status, text, _ := ask(t, http.MethodGet, base+"/start", "")
			if status != http.StatusOK {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	pinging.Wait()
	status, _, _ := ask(t, http.MethodPost, base+"/0", "done")
	require.Equal(t, http.StatusOK, status)
	check := show(t, pool, "nightly")
	require.Equal(t, "ok", check.Status)
	require.Equal(t, 24*time.Hour, *check.Period)
	require.Equal(t, time.Hour, check.Grace)
	require.Equal(t, "first ping", check.UpdatedBy)
	require.EqualValues(t, 6, check.Pings)
}

func TestLargeBodies(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	address := serve(t, pool, false) + checkin.Prefix + put(t, pool, "backup")
	status, _, _ := ask(t, http.MethodPost, address, strings.Repeat("ä", 1<<20))
	require.Equal(t, http.StatusOK, status)
	kept := pings(t, pool, "backup")[0]
	require.Equal(t, strings.Repeat("ä", checkin.BodyMax/2), *kept.Body)
	require.EqualValues(t, 2<<20, kept.BodyBytes)
	status, _, _ = ask(t, http.MethodPost, address, "a\x00b\xff")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "a\ufffdb\ufffd", *pings(t, pool, "backup")[0].Body)
}

// One check that is pinged without end takes nothing from the others, and its pings are no more than a thousand.
func TestRate(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	base := serve(t, pool, false) + checkin.Prefix
	busy, calm := base+put(t, pool, "busy"), base+put(t, pool, "calm")
	var last int
	var header http.Header
	for range 1000 {
		if last, _, header = ask(t, http.MethodGet, busy, ""); last != http.StatusOK {
			break
		}
	}
	require.Equal(t, http.StatusTooManyRequests, last)
	require.Equal(t, "1", header.Get("Retry-After"))
	status, _, _ := ask(t, http.MethodGet, calm, "")
	require.Equal(t, http.StatusOK, status)

	_, err := pool.Exec(t.Context(), `INSERT INTO towpath.heartbeat_ping (heartbeat_id, at, kind) SELECT id, now(), 'log' FROM towpath.heartbeat, generate_series(1, 2000) WHERE name = 'calm'`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `UPDATE towpath.heartbeat SET pings = 2049 WHERE name = 'calm'`)
	require.NoError(t, err)
	require.NoError(t, checkin.TakePing(t.Context(), pool, checkin.Target{Name: "calm"}, checkin.Ping{Kind: checkin.Success}))
	require.Len(t, pings(t, pool, "calm"), 1000)
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://u:geheim@127.0.0.1:1/d?connect_timeout=1")
	require.NoError(t, err)
	defer pool.Close()
	status, text, header := ask(t, http.MethodGet, serve(t, pool, true)+checkin.Prefix+"key", "")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "the database cannot be asked; try again\n", text)
	require.Equal(t, "10", header.Get("Retry-After"))
}

// The leader notes what time changes, once, and wakes those who listen. The view has it at once.
func TestWatch(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	put(t, pool, "backup")
	watcher := &checkin.Watcher{Pool: pool, Retention: time.Hour, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Agenda: agenda.NewBook(pool)}
	_, err := watcher.Turn(t.Context())
	require.NoError(t, err)
	require.NoError(t, checkin.TakePing(t.Context(), pool, checkin.Target{Name: "backup"}, checkin.Ping{Kind: checkin.Success}))
	require.Nil(t, show(t, pool, "backup").LateBy)
	next, err := watcher.Turn(t.Context())
	require.NoError(t, err)
	require.Greater(t, next, 10*time.Second)
	require.LessOrEqual(t, next, agenda.Idle, "it looks now and then in any case")

	listener, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	require.NoError(t, err)
	defer listener.Close(context.WithoutCancel(t.Context()))
	_, err = listener.Exec(t.Context(), `LISTEN "towpath.check_event"`)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), `UPDATE towpath.heartbeat SET watched_since = watched_since - interval '2 hours', status_since = status_since - interval '2 hours',
		last_sign_at = last_sign_at - interval '2 hours', expected_by = expected_by - interval '2 hours', turns_at = turns_at - interval '2 hours'`)
	require.NoError(t, err)
	require.Equal(t, "missed", show(t, pool, "backup").Status, "before anybody has noted it")
	require.InDelta(t, time.Hour, *show(t, pool, "backup").LateBy, float64(time.Minute))

	var turning sync.WaitGroup
	for range 4 { // as many leaders as there may be for a moment
		turning.Go(func() {
			if _, err := watcher.Turn(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	turning.Wait()
	require.Equal(t, []string{"late missed", "ok late", "new ok"}, statuses(t, pool, "backup"))
	for _, want := range []string{"late", "missed"} {
		notification, err := listener.WaitForNotification(t.Context())
		require.NoError(t, err)
		var told struct{ Check, Status string }
		require.NoError(t, json.Unmarshal([]byte(notification.Payload), &told))
		require.Equal(t, "backup "+want, told.Check+" "+told.Status)
	}

	_, err = store.ChangeCheck(t.Context(), pool, "pause", "backup")
	require.NoError(t, err)
	require.Equal(t, "paused", show(t, pool, "backup").Status)
	_, err = watcher.Turn(t.Context())
	require.NoError(t, err)
	_, err = store.ChangeCheck(t.Context(), pool, "resume", "backup")
	require.NoError(t, err)
	_, err = watcher.Turn(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"paused ok", "missed paused"}, statuses(t, pool, "backup")[:2])
	require.WithinDuration(t, time.Now().Add(time.Hour), *show(t, pool, "backup").ExpectedBy, time.Minute)
}

// What is over is deleted.
func TestRetention(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	put(t, pool, "backup")
	for range 3 {
		require.NoError(t, checkin.TakePing(t.Context(), pool, checkin.Target{Name: "backup"}, checkin.Ping{Kind: checkin.Success}))
	}
	_, err := pool.Exec(t.Context(), `UPDATE towpath.heartbeat_ping SET at = at - interval '2 hours' WHERE id < (SELECT max(id) FROM towpath.heartbeat_ping)`)
	require.NoError(t, err)
	n, err := store.DeleteOldHeartbeatRows(t.Context(), pool, time.Hour, time.Hour, 100)
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Len(t, pings(t, pool, "backup"), 1)
}

func TestPinger(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	base := serve(t, pool, false)
	key := put(t, pool, "backup")
	three := 3
	for _, address := range []string{checkin.KeyAddress(base+"/", key), checkin.NameAddress(base, pingKey, "backup")} {
		pinger, err := checkin.HTTP(address)
		require.NoError(t, err)
		require.NoError(t, pinger.Ping(t.Context(), checkin.Ping{Kind: checkin.Start, RunID: "r"}))
		require.NoError(t, pinger.Ping(t.Context(), checkin.Ping{Kind: checkin.Fail, ExitStatus: &three, RunID: "r", Body: "out"}))
		latest := pings(t, pool, "backup")[0]
		require.EqualValues(t, 3, *latest.ExitStatus)
		require.Equal(t, "out", *latest.Body)
		require.NotNil(t, latest.Duration)
	}
	pinger, err := checkin.HTTP(checkin.KeyAddress(base, "geheim"))
	require.NoError(t, err)
	err = pinger.Ping(t.Context(), checkin.Ping{Kind: checkin.Success})
	require.ErrorContains(t, err, "it answers 404 Not Found: there is no such check")
	require.NotContains(t, err.Error(), "geheim")
	require.ErrorIs(t, checkin.Database(pool, "other").Ping(t.Context(), checkin.Ping{Kind: checkin.Success}), checkin.ErrUnknown)

	// What may pass is tried again.
	asked := 0
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer flaky.Close()
	pinger, err = checkin.HTTP(flaky.URL + "/ping/k")
	require.NoError(t, err)
	require.NoError(t, pinger.Ping(t.Context(), checkin.Ping{Kind: checkin.Success}))
	require.Equal(t, 3, asked)

	for _, address := range []string{"ftp://h/ping/k", "https://h/other", "://", "https:///ping/k"} {
		_, err := checkin.HTTP(address)
		require.Error(t, err, address)
	}
}

// Bad values are refused by the database too, with the parameter, the value and an example.
func TestPutCheckRefuses(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	for call, want := range map[string][2]string{ // the parameter, and how the message begins
		`'a b', period => '1 day'`:                             {"name", `name "a b" must have 1 to 100 letters`},
		`'17', period => '1 day'`:                              {"name", `name "17" would not be told from the end of an address`},
		`'start', period => '1 day'`:                           {"name", `name "start" would not be told`},
		`NULL, period => '1 day'`:                              {"name", `name NULL must have`},
		`'a'`:                                                  {"period", `a check needs either a period or a cron expression`},
		`'a', period => '1 day', cron => '0 0 * * *'`:          {"period", `a check needs either`},
		`'a', period => '1 second'`:                            {"period", `period 00:00:01 is out of range`},
		`'a', cron => 'soon'`:                                  {"cron", `cron "soon" `},
		`'a', cron => '61 * * * *'`:                            {"cron", `cron "61 * * * *" `},
		`'a', cron => 'fortnightly> 1'`:                        {"cron", `cron "fortnightly> 1" has an unknown form; the forms are hourly>, daily>, weekly>, monthly> and cron>`},
		`'a', cron => '0 0 30 2 *'`:                            {"cron", `cron "0 0 30 2 *" `},
		`'a', cron => 'a b c d e'`:                             {"cron", `cron "a b c d e" `},
		`'a', cron => 'daily> 7'`:                              {"cron", `cron "daily> 7" is not of that form`},
		`'a', cron => '@every 90s'`:                            {"cron", `cron "@every 90s" is a length of time`},
		`'a', cron => 'minutes_interval> 5'`:                   {"cron", `cron "minutes_interval> 5" is a length of time`},
		`'a', cron => repeat('0', 300)`:                        {"cron", `cron "000000`},
		`'a', cron => '0 0 * * *', zone => 'Mars'`:             {"zone", `zone "Mars" is not known`},
		`'a', cron => '0 0 * * *', zone => 'posix/Asia/Tokyo'`: {"zone", `zone "posix/Asia/Tokyo" is not known`},
		`'a', cron => '0 0 * * *', zone => NULL`:               {"zone", `zone NULL is not known`},
		`'a', period => '1 day', grace => '-1 minute'`:         {"grace", `grace -00:01:00 is out of range`},
		`'a', period => '1 day', longest => '0 seconds'`:       {"longest", `longest 00:00:00 is out of range`},
	} {
		inner, err := tx.Begin(t.Context())
		require.NoError(t, err)
		_, err = inner.Exec(t.Context(), `SELECT towpath.put_check(`+call+`)`)
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused, call)
		require.Equal(t, "22023", refused.Code, call)
		require.Equal(t, want[0], refused.ColumnName, call)
		require.True(t, strings.HasPrefix(refused.Message, want[1]), "%s: %s", call, refused.Message)
		require.Equal(t, "Parameter "+want[0]+" of put_check.", refused.Detail)
		require.Regexp(t, `^[A-Z].*\.$`, refused.Hint, call)
		require.NotContains(t, refused.Hint, "@every", call)
		require.NoError(t, inner.Rollback(t.Context()))
	}
}

// What the leader can compute is taken: the forms with fields, and those with a name.
func TestPutCheckTakes(t *testing.T) {
	t.Parallel()
	tx := testdb.Tx(t)
	for _, cron := range []string{"0 6 * * MON", "30 0 6 * * *", " @daily ", "daily> 07:00:00", "cron> 0 6 * * 1"} {
		_, err := schedule.Parse(cron, "Europe/Paris")
		require.NoError(t, err, cron)
		_, err = tx.Exec(t.Context(), `SELECT towpath.put_check('a', cron => $1, zone => 'Europe/Paris')`, cron)
		require.NoError(t, err, cron)
	}
}

// Rights: readers see checks and not their keys, operators change them, producers do neither.
func TestCheckRights(t *testing.T) {
	t.Parallel()
	pool := testdb.Pool(t)
	put(t, pool, "backup")
	super := testdb.Super(t, pool)
	tests := map[string]map[string]bool{
		"towpath_producer": {`SELECT * FROM towpath.checks`: false, `SELECT towpath.check_key('backup')`: false, `SELECT towpath.put_check('a', '1 day')`: false},
		"towpath_reader": {
			`SELECT * FROM towpath.checks`: true, `SELECT * FROM towpath.check_pings`: true, `SELECT * FROM towpath.check_events`: true,
			`SELECT key FROM towpath.heartbeat`: false, `SELECT towpath.check_key('backup')`: false, `SELECT towpath.pause_check('backup')`: false,
		},
		"towpath_operator": {
			`SELECT towpath.put_check('a', '1 day')`: true, `SELECT towpath.pause_check('backup')`: true, `SELECT towpath.resume_check('backup')`: true,
			`SELECT towpath.check_key('backup', true)`: true, `SELECT towpath.delete_check('backup')`: true, `UPDATE towpath.heartbeat SET status = 'ok'`: false,
		},
	}
	for role, statements := range tests {
		for statement, allowed := range statements {
			err := pgx.BeginFunc(t.Context(), super, func(tx pgx.Tx) error {
				if _, err := tx.Exec(t.Context(), `SET LOCAL ROLE `+role); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), statement); err != nil {
					return err
				}
				return tx.Rollback(t.Context())
			})
			if allowed {
				require.ErrorIs(t, err, pgx.ErrTxClosed, "%s: %s", role, statement)
			} else {
				require.ErrorContains(t, err, "permission denied", "%s: %s", role, statement)
			}
		}
	}
}
