package builtin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers/builtin"
	"github.com/towpath/towpath/workers/workerstest"
)

// serve starts a real server on loopback.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// request is what a server has received.
type request struct {
	method, path, body string
	header             http.Header
}

// record serves an answer and tells what was asked.
func record(t *testing.T, status int, answer string) (string, <-chan request) {
	t.Helper()
	received := make(chan request, 10)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- request{r.Method, r.URL.Path, string(body), r.Header}
		w.Header().Set("Set-Cookie", "session=geheim")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}), received
}

func TestHTTPRequest(t *testing.T) {
	t.Parallel()
	address, received := record(t, http.StatusCreated, `{"ok": true}`)
	result := work(t, loopback, jobs.HTTPArgs{URL: address + "/orders?x=1", JSON: []byte(`{"id":7}`), Headers: map[string]string{"X-Shop": "a"}})
	require.NoError(t, result.Err)
	require.Equal(t, rivertype.JobStateCompleted, result.Job.State)
	got := <-received
	require.Equal(t, http.MethodPost, got.method, "a body makes it a POST")
	require.Equal(t, "/orders", got.path)
	require.JSONEq(t, `{"id": 7}`, got.body)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.Equal(t, "a", got.header.Get("X-Shop"))
	require.Equal(t, "1", got.header.Get("Towpath-Attempt"))
	require.Equal(t, fmt.Sprint(result.Job.ID), got.header.Get("Towpath-Job-Id"))
	require.Equal(t, fmt.Sprintf("job_%d_%d", result.Job.ID, result.Job.CreatedAt.Unix()), got.header.Get("Webhook-Id"))
	require.Empty(t, got.header.Get("Webhook-Signature"), "nothing was said about signing")
	kept := output[builtin.HTTPOutput](t, result.Job)
	require.Equal(t, http.StatusCreated, kept.Status)
	require.Equal(t, `{"ok": true}`, kept.Body)
	require.False(t, kept.Truncated)
	require.NotContains(t, string(result.Job.Output()), "geheim", "cookies are not kept")

	result = work(t, loopback, jobs.HTTPArgs{URL: address, Method: "delete"})
	require.NoError(t, result.Err)
	require.Equal(t, http.MethodDelete, (<-received).method)
}

// A receiver that knows one of two keys accepts the request, as the scheme's own library judges.
func TestHTTPSignature(t *testing.T) {
	t.Parallel()
	address, received := record(t, http.StatusOK, "")
	config := loopback
	config.HTTPKeys = map[string][]string{"orders": {key("old"), key("new")}}
	result := work(t, config, jobs.HTTPArgs{URL: address, Body: "hello", Sign: "orders"})
	require.NoError(t, result.Err)
	got := <-received
	for _, one := range config.HTTPKeys["orders"] {
		hook, err := standardwebhooks.NewWebhook(one)
		require.NoError(t, err)
		require.NoError(t, hook.Verify([]byte(got.body), got.header))
		require.Error(t, hook.Verify([]byte("hullo"), got.header))
	}
	other, err := standardwebhooks.NewWebhook(key("other"))
	require.NoError(t, err)
	require.Error(t, other.Verify([]byte(got.body), got.header))

	result = work(t, config, jobs.HTTPArgs{URL: address, Sign: "crm"})
	require.EqualError(t, result.Err, `sign: this worker has no key "crm"; add it to TOWPATH_HTTP_KEYS`)
	require.NotEqual(t, rivertype.JobStateDiscarded, result.Job.State, "another worker may have it")
}

// What is secret reaches the receiver and nothing else, even when the receiver sends it back.
func TestHTTPSecrets(t *testing.T) {
	t.Parallel()
	config := loopback
	config.HTTPSecrets = map[string]string{"crm_token": "Bearer geheim"}
	for _, status := range []int{http.StatusOK, http.StatusForbidden} {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", r.Header.Get("Authorization"))
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "you sent "+r.Header.Get("Authorization"))
		})
		result := work(t, config, jobs.HTTPArgs{URL: address, SecretHeaders: map[string]string{"Authorization": "crm_token"}})
		kept := output[builtin.HTTPOutput](t, result.Job)
		require.Equal(t, "you sent [secret crm_token]", kept.Body)
		require.Equal(t, "[secret crm_token]", kept.Headers["X-Request-Id"])
		require.NotContains(t, fmt.Sprint(result.Err, result.Job.Errors, string(result.Job.Metadata), string(result.Job.EncodedArgs)), "geheim")
	}
	result := work(t, config, jobs.HTTPArgs{URL: "https://example.com", SecretHeaders: map[string]string{"Authorization": "other"}})
	require.EqualError(t, result.Err, `secret_headers: this worker has no secret "other"; add it to TOWPATH_HTTP_SECRETS`)

	// An address that cannot be reached is shown without what often is secret.
	result = work(t, config, jobs.HTTPArgs{URL: "http://127.0.0.1:1/path?token=geheim"})
	require.ErrorContains(t, result.Err, "GET http://127.0.0.1:1/path: ")
	require.NotContains(t, result.Err.Error(), "geheim")
}

func TestHTTPStatuses(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]rivertype.JobState{
		200: rivertype.JobStateCompleted, 204: rivertype.JobStateCompleted,
		301: rivertype.JobStateDiscarded, 400: rivertype.JobStateDiscarded, 404: rivertype.JobStateDiscarded, 410: rivertype.JobStateDiscarded,
		408: rivertype.JobStateAvailable, 425: rivertype.JobStateAvailable, 429: rivertype.JobStateAvailable, // due within seconds
		500: rivertype.JobStateAvailable, 503: rivertype.JobStateAvailable,
	} {
		address, _ := record(t, status, "because")
		result := work(t, loopback, jobs.HTTPArgs{URL: address})
		require.Equal(t, want, result.Job.State, "%d: %v", status, result.Err)
		require.Equal(t, status, output[builtin.HTTPOutput](t, result.Job).Status, "failures keep their answers too")
		if want != rivertype.JobStateCompleted {
			require.ErrorContains(t, result.Err, fmt.Sprintf("answered %d ", status))
		}
	}
	address, _ := record(t, 404, "")
	require.NoError(t, work(t, loopback, jobs.HTTPArgs{URL: address, Expect: []int{404}}).Err)
	address, _ = record(t, 200, "")
	require.Equal(t, rivertype.JobStateDiscarded, work(t, loopback, jobs.HTTPArgs{URL: address, Expect: []int{202}}).Job.State)
}

func TestHTTPRetryAfter(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(90 * time.Minute).UTC().Truncate(time.Second)
	for header, want := range map[string]time.Time{
		"3600":                          time.Now().Add(time.Hour),
		at.Format(http.TimeFormat):      at,
		"999999999":                     time.Now().Add(24 * time.Hour),
		"Mon, 02 Jan 2006 15:04:05 GMT": time.Now().Add(time.Second), // the policy's
		"soon":                          time.Now().Add(time.Second), // the policy's
	} {
		for _, status := range []int{429, 503} {
			address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", header)
				w.WriteHeader(status)
			})
			result := work(t, loopback, jobs.HTTPArgs{URL: address})
			require.Error(t, result.Err)
			require.WithinDuration(t, want, result.Job.ScheduledAt, 30*time.Second, "Retry-After: %s", header)
			require.Equal(t, 1, result.Job.Attempt, "it counts as an attempt")
		}
	}
}

// A private address is refused when it is connected to, whatever the name was that led there, and redirects cannot
// lead to one.
func TestHTTPPrivateAddresses(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	inside := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	parsed, err := url.Parse(inside)
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0x7f000001"} {
		result := work(t, builtin.Config{}, jobs.HTTPArgs{URL: "http://" + host + ":" + parsed.Port()})
		require.Error(t, result.Err, host)
		if host != "127.1" && host != "0x7f000001" { // forms that no resolver here knows
			require.ErrorContains(t, result.Err, "is loopback and is not called; a worker whose TOWPATH_HTTP_ALLOW_PRIVATE names it may", host)
			require.Equal(t, rivertype.JobStateDiscarded, result.Job.State, host)
		}
	}
	require.Zero(t, asked.Load())

	redirect := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside, http.StatusFound) })
	only := builtin.Config{HTTPAllowPrivate: strings.TrimPrefix(redirect, "http://")}
	result := work(t, only, jobs.HTTPArgs{URL: redirect})
	require.ErrorContains(t, result.Err, "answered 302 Found")
	require.ErrorContains(t, result.Err, "redirects are followed as far as")
	result = work(t, only, jobs.HTTPArgs{URL: strings.Replace(redirect, "127.0.0.1", "localhost", 1)})
	require.ErrorContains(t, result.Err, "is loopback", "another name is another host")
	require.Zero(t, asked.Load())

	result = work(t, only, jobs.HTTPArgs{URL: redirect, Redirects: 1})
	require.ErrorContains(t, result.Err, "is loopback", "the redirect's address is looked at too")
	require.Zero(t, asked.Load())
	result = work(t, loopback, jobs.HTTPArgs{URL: redirect, Redirects: 1})
	require.NoError(t, result.Err)
	require.EqualValues(t, 1, asked.Load())

	config := loopback
	config.HTTPKeys = map[string][]string{"k": {key("k")}}
	result = work(t, config, jobs.HTTPArgs{URL: redirect, Redirects: 1, Sign: "k"})
	require.ErrorContains(t, result.Err, "302", "what is signed does not go to another host")
	require.EqualValues(t, 1, asked.Load())
}

func TestHTTPBounds(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 1000 {
			if _, err := io.WriteString(w, strings.Repeat("ü", 1000)); err != nil {
				return
			}
		}
	})
	result := work(t, loopback, jobs.HTTPArgs{URL: address})
	require.NoError(t, result.Err)
	kept := output[builtin.HTTPOutput](t, result.Job)
	require.True(t, kept.Truncated)
	require.Equal(t, strings.Repeat("ü", jobs.HTTPKeepDefault/2), kept.Body)

	result = work(t, loopback, jobs.HTTPArgs{URL: address, KeepBytes: 3})
	require.Equal(t, "ü", output[builtin.HTTPOutput](t, result.Job).Body, "cut between characters")
	result = work(t, loopback, jobs.HTTPArgs{URL: address, KeepBytes: -1})
	require.Empty(t, output[builtin.HTTPOutput](t, result.Job).Body)

	address, _ = record(t, 200, "\x00\x01\xff")
	result = work(t, loopback, jobs.HTTPArgs{URL: address})
	require.NoError(t, result.Err)
	require.Equal(t, "AAH/", output[builtin.HTTPOutput](t, result.Job).BodyBase64)

	// A server that never answers, and one that never ends.
	for name, handler := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no end": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		result = work(t, loopback, jobs.HTTPArgs{URL: serve(t, handler), TimeoutSeconds: 0.2})
		require.ErrorContains(t, result.Err, "no whole answer within timeout_seconds", name)
		require.Equal(t, rivertype.JobStateAvailable, result.Job.State, name)
	}
}

// What the database holds is read strictly: a misspelt field is not ignored.
func TestArgsFromSQL(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ kind, args, want string }{
		{"http", `{"url": "http://a.example", "mehtod": "PUT"}`, `args cannot be read: unknown field "mehtod"; see docs/kinds.md for the fields`},
		{"http", `{"url": 7}`, "url is a JSON number and should be of type string"},
		{"http", `{}`, "url is missing; give an address such as https://example.com/hook"},
		{"sql", `{"statemnt": "SELECT 1"}`, `unknown field "statemnt"`},
		{"shell", `{"argv": "ls"}`, "argv is a JSON string and should be of type []string"},
	} {
		pool := testdb.Pool(t)
		r := start(t, pool, builtin.Config{Shell: true, SQLRoles: []string{"nobody"}})
		var id int64
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT id FROM towpath.enqueue($1::text, args => $2::text::json)`, test.kind, test.args).Scan(&id))
		result := await(t, r, id)
		require.ErrorContains(t, result.Err(), test.want)
		require.Equal(t, rivertype.JobStateDiscarded, result.Job.State)
		require.Len(t, result.Job.Errors, 1)
	}
}

// A job that is cancelled does not wait for its server.
func TestHTTPCancel(t *testing.T) {
	t.Parallel()
	began, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	r := start(t, testdb.Pool(t), loopback)
	id := insert(t, r, jobs.HTTPArgs{URL: address})
	<-began
	_, err := r.Client().JobCancel(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, rivertype.JobStateCancelled, await(t, r, id).Job.State)
	<-gone
}

func TestHTTPMaxAttempts(t *testing.T) {
	t.Parallel()
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	result := workerstest.Work(t, testdb.Tx(t), bundleOf(t, loopback), jobs.HTTPArgs{URL: address}, &river.InsertOpts{MaxAttempts: 1})
	require.Equal(t, rivertype.JobStateDiscarded, result.Job.State, "a server cannot keep a job for ever")
}
