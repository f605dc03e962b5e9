package builtin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/outbound"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

const (
	// drainMax is how much of an answer is read beyond what is kept, so that its connection can be used again.
	drainMax = 256 << 10
	// httpSlack is what a job may take beside its request.
	httpSlack = 5 * time.Second
)

// HTTPOutput is the output of a job of the kind "http".
type HTTPOutput struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	// Body is what was kept of the body; BodyBase64 takes its place when it is no text.
	Body       string `json:"body,omitempty"`
	BodyBase64 string `json:"body_base64,omitempty"`
	Truncated  bool   `json:"truncated"` // whether there was more
	Millis     int64  `json:"duration_ms"`
}

// keptHeaders are those of an answer that are kept. Cookies and the like are not.
var keptHeaders = []string{"Content-Type", "Content-Length", "Date", "Etag", "Last-Modified", "Location", "Retry-After", "Server", "X-Request-Id"}

type httpWorker struct {
	river.WorkerDefaults[jobs.HTTPArgs]

	client  *http.Client
	keys    map[string][]string
	secrets map[string]string

	// later holds when a server wants a job's next attempt, from the handler's return until River asks for it.
	mu    sync.Mutex
	later map[int64]time.Time
}

func newHTTPWorker(reach config.Reach, keys map[string][]string, secrets map[string]string) *httpWorker {
	return &httpWorker{client: outbound.NewClient(reach), keys: keys, secrets: secrets, later: map[int64]time.Time{}}
}

func (w *httpWorker) Timeout(job *river.Job[jobs.HTTPArgs]) time.Duration {
	return job.Args.Timeout() + httpSlack
}

// NextRetry is when the server asked to be called again, or left to the client's policy.
func (w *httpWorker) NextRetry(job *river.Job[jobs.HTTPArgs]) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.later[job.ID]
	delete(w.later, job.ID)
	return at
}

func (w *httpWorker) Work(ctx context.Context, job *river.Job[jobs.HTTPArgs]) error {
	if err := job.Args.Check(); err != nil {
		return workers.Permanent(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, job.Args.Timeout(), errHTTPTimeout)
	defer cancel()
	request, secrets, err := w.request(ctx, job)
	if err != nil {
		return err
	}
	began := time.Now()
	response, err := w.send(request, job.Args)
	if err != nil {
		return w.failure(ctx, request, err)
	}
	defer response.Body.Close()
	output, err := keep(response, job.Args.KeepBytes, secrets)
	output.Millis = time.Since(began).Milliseconds()
	if recordErr := river.RecordOutput(ctx, output); recordErr != nil {
		return fmt.Errorf("keep the answer: %w", recordErr)
	}
	if judged := w.judge(job, response, output); judged != nil || err == nil {
		return judged
	}
	return w.failure(ctx, request, err)
}

var errHTTPTimeout = errors.New("no whole answer within timeout_seconds")

// request makes the request and the replacer that hides its secrets.
func (w *httpWorker) request(ctx context.Context, job *river.Job[jobs.HTTPArgs]) (*http.Request, *strings.Replacer, error) {
	args, body := job.Args, job.Args.Body
	if len(args.JSON) > 0 {
		body = string(args.JSON)
	}
	method := strings.ToUpper(args.Method)
	if method == "" {
		method = http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, args.URL, strings.NewReader(body))
	if err != nil {
		return nil, nil, workers.Permanent(errors.New("the request cannot be made of its args"))
	}
	request.Header.Set("User-Agent", "towpath")
	if len(args.JSON) > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range args.Headers {
		request.Header.Set(name, value)
	}
	var hidden []string
	for _, name := range slices.Sorted(maps.Keys(args.SecretHeaders)) {
		secret, known := w.secrets[args.SecretHeaders[name]]
		if !known {
			return nil, nil, fmt.Errorf("secret_headers: this worker has no secret %q; add it to TOWPATH_HTTP_SECRETS", args.SecretHeaders[name])
		}
		request.Header.Set(name, secret)
		hidden = append(hidden, secret, "[secret "+args.SecretHeaders[name]+"]")
	}
	keys := w.keys[args.Sign]
	if args.Sign != "" && len(keys) == 0 {
		return nil, nil, fmt.Errorf("sign: this worker has no key %q; add it to TOWPATH_HTTP_KEYS", args.Sign)
	}
	// The same over all attempts, and not that of another database's job of this number.
	id := fmt.Sprintf("job_%d_%d", job.ID, job.CreatedAt.Unix())
	if err := outbound.Sign(request.Header, id, time.Now(), []byte(body), keys); err != nil {
		return nil, nil, fmt.Errorf("sign: key %q of TOWPATH_HTTP_KEYS cannot be used; it is whsec_ followed by base64", args.Sign)
	}
	request.Header.Set("Towpath-Job-Id", strconv.FormatInt(job.ID, 10))
	request.Header.Set("Towpath-Attempt", strconv.Itoa(job.Attempt))
	return request, strings.NewReplacer(hidden...), nil
}

// send sends the request and follows as many redirects as args allow. What is secret or signed goes to its own host only.
func (w *httpWorker) send(request *http.Request, args jobs.HTTPArgs) (*http.Response, error) {
	client := *w.client
	if args.Redirects > 0 {
		client.CheckRedirect = func(next *http.Request, before []*http.Request) error {
			if len(before) > args.Redirects {
				return http.ErrUseLastResponse
			}
			if next.URL.Host != before[0].URL.Host && (len(args.SecretHeaders) > 0 || args.Sign != "") {
				return http.ErrUseLastResponse
			}
			return nil
		}
	}
	return client.Do(request) //nolint:wrapcheck // failure words it
}

// keep reads what is kept of an answer. An error is that the answer broke off; what came is kept.
func keep(response *http.Response, limit int, secrets *strings.Replacer) (HTTPOutput, error) {
	output := HTTPOutput{Status: response.StatusCode, Headers: map[string]string{}}
	for _, name := range keptHeaders {
		if value := response.Header.Get(name); value != "" {
			output.Headers[name] = secrets.Replace(clean(value))
		}
	}
	switch {
	case limit == 0:
		limit = jobs.HTTPKeepDefault
	case limit < 0:
		limit = 0
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if len(body) > limit {
		body, output.Truncated = body[:limit], true
	}
	_, _ = io.CopyN(io.Discard, response.Body, drainMax) // for the connection's sake alone
	text := body
	if output.Truncated { // the cut may be inside of a character
		for n := 0; n < utf8.UTFMax && len(text) > 0 && !utf8.Valid(text); n++ {
			text = text[:len(text)-1]
		}
	}
	if utf8.Valid(text) && !slices.Contains(text, 0) {
		output.Body = secrets.Replace(string(text))
	} else {
		output.BodyBase64 = base64.StdEncoding.EncodeToString(body)
	}
	return output, err
}

// judge says what an answer means for the job.
//
// Answers that another try may change are failures: 408, 425, 429 and all of 500 and above. The other ones of 400 and
// above, redirects and successes that were not expected are permanent.
func (w *httpWorker) judge(job *river.Job[jobs.HTTPArgs], response *http.Response, output HTTPOutput) error {
	status := response.StatusCode
	if slices.Contains(job.Args.Expect, status) || len(job.Args.Expect) == 0 && status >= 200 && status < 300 {
		return nil
	}
	shown := strconv.Itoa(status)
	if text := http.StatusText(status); text != "" {
		shown += " " + text
	}
	err := fmt.Errorf("%s answered %s%s", response.Request.URL.Host, shown, outbound.Excerpt(output.Body))
	switch {
	case status >= 300 && status < 400:
		return workers.Permanent(fmt.Errorf("%w; redirects are followed as far as \"redirects\" says, and with secrets or a signature on the same host only", err))
	case outbound.Retryable(status):
		if at, asked := outbound.RetryAfter(response.Header.Get("Retry-After"), time.Now()); asked && job.Attempt < job.MaxAttempts {
			w.mu.Lock()
			w.later[job.ID] = at
			w.mu.Unlock()
			return fmt.Errorf("%w; it asks to be called again at %s", err, at.UTC().Format(time.RFC3339))
		}
		return err
	}
	return workers.Permanent(err)
}

// failure words an error of the way there. The client's own would show the whole address, where secrets may be.
func (w *httpWorker) failure(ctx context.Context, request *http.Request, err error) error {
	if ctx.Err() != nil && !errors.Is(context.Cause(ctx), errHTTPTimeout) {
		return ctx.Err() // the job was cancelled, or the process stops
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if refused, ok := errors.AsType[*outbound.AddressError](err); ok {
		return workers.Permanent(refused)
	}
	return fmt.Errorf("%s %s://%s%s: %w", request.Method, request.URL.Scheme, request.URL.Host, request.URL.EscapedPath(), err)
}

// clean makes text that Postgres takes.
func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
}
