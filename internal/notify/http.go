package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/towpath/towpath/internal/outbound"
)

// service is what the notifiers that speak HTTP have in common.
type service struct {
	name    string // of the notifier
	what    string // of the service, for people
	remedy  string // what to look at when it refuses
	secrets secrets
	links   links
	client  *http.Client
}

func (s *service) Name() string { return s.name }

// exchange is one request and what became of it. It keeps what libraries lose: the answer's headers and body, and the
// error itself.
type exchange struct {
	inner  http.RoundTripper
	status int // 0: there was no answer
	after  string
	body   string
	err    error
}

// maxAnswer is how much of an answer is looked at.
const maxAnswer = 4 << 10

func (x *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", "towpath")
	response, err := x.inner.RoundTrip(request)
	if err != nil {
		x.err = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil { // the status says enough
		body = nil
	}
	response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(body))
	x.status, x.after, x.body = response.StatusCode, response.Header.Get("Retry-After"), string(body)
	return response, nil
}

// exchange has a request sent with a client of its own, and judges what came of it. The error of send is asked only where
// nothing was sent.
func (s *service) exchange(ctx context.Context, send func(*http.Client) error) error {
	x := &exchange{inner: s.client.Transport}
	client := *s.client
	client.Transport = x
	err := send(&client)
	switch {
	case x.status >= 200 && x.status < 300:
		return nil
	case x.status != 0:
		return s.refused(x)
	case x.err != nil:
		err = x.err
	case err == nil:
		err = errors.New("nothing was sent")
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	reason := err.Error()
	if ctx.Err() != nil {
		reason = "no answer in time"
	}
	return &Error{Reason: s.secrets.hide(fmt.Sprintf("%s: %s", s.what, reason))}
}

// refused is what an answer other than a success means.
func (s *service) refused(x *exchange) error {
	reason := fmt.Sprintf("%s answered %d %s%s", s.what, x.status, http.StatusText(x.status), outbound.Excerpt(s.secrets.hide(x.body)))
	if !outbound.Retryable(x.status) {
		return &Error{Reason: fmt.Sprintf("%s; check %s", reason, s.remedy), Permanent: true}
	}
	failure := &Error{Reason: reason}
	now := time.Now()
	if at, asked := outbound.RetryAfter(x.after, now); asked {
		failure.RetryAfter = at.Sub(now)
	}
	return failure
}

// post sends a value as JSON. edit may change the request.
func (s *service) post(ctx context.Context, address string, value any, edit func(*http.Request, []byte) error) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("write a message for %s: %w", s.name, err)
	}
	return s.exchange(ctx, func(client *http.Client) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
		if err != nil {
			return errors.New("its address cannot be used")
		}
		request.Header.Set("Content-Type", "application/json")
		if err := edit(request, body); err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
}
