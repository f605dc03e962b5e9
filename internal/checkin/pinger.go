package checkin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Pinger tells one check about runs.
type Pinger interface {
	Ping(ctx context.Context, p Ping) error
}

// Database returns a pinger that writes into the database.
func Database(db Beginner, name string) Pinger { return databasePinger{db, name} }

type databasePinger struct {
	db   Beginner
	name string
}

func (d databasePinger) Ping(ctx context.Context, p Ping) error {
	return TakePing(ctx, d.db, Target{Name: d.name}, p)
}

// HTTP returns a pinger of the address of a check.
func HTTP(address string) (Pinger, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the check's address is none; it looks like https://towpath.example.com/ping/KEY")
	}
	if !strings.Contains(u.Path, Prefix) {
		return nil, fmt.Errorf("the check's address on %s has no %sKEY; `towpath checks show NAME` prints it", u.Host, Prefix)
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.TrimRight(u.Path, "/"), "", "", ""
	return &httpPinger{base: u, client: &http.Client{Timeout: tryLimit}}, nil
}

// NameAddress is the address of a check by its name.
func NameAddress(base, pingKey, name string) string {
	return strings.TrimRight(base, "/") + Prefix + url.PathEscape(pingKey) + "/" + url.PathEscape(name)
}

// KeyAddress is the address of a check by its key.
func KeyAddress(base, key string) string { return strings.TrimRight(base, "/") + Prefix + key }

const (
	// tryLimit bounds one try of a ping.
	tryLimit = 5 * time.Second
	tries    = 3
)

type httpPinger struct {
	base   *url.URL
	client *http.Client
}

// Ping tries a few times what may pass: a connection that fails, and answers that say to try again.
func (h *httpPinger) Ping(ctx context.Context, p Ping) error {
	pause := 500 * time.Millisecond
	for try := 1; ; try++ {
		again, err := h.try(ctx, p)
		if err == nil || !again || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		pause *= 2
	}
}

func (h *httpPinger) try(ctx context.Context, p Ping) (again bool, err error) {
	u := *h.base
	switch {
	case p.ExitStatus != nil:
		u.Path += "/" + strconv.Itoa(*p.ExitStatus)
	case p.Kind != Success:
		u.Path += "/" + p.Kind
	}
	if p.RunID != "" {
		u.RawQuery = url.Values{"rid": {p.RunID}}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(p.Body))
	if err != nil {
		return false, fmt.Errorf("ping the check on %s: its address cannot be used", u.Host)
	}
	request.Header.Set("User-Agent", "towpath-exec")
	request.Header.Set("Content-Type", "text/plain; charset=utf-8")
	response, err := h.client.Do(request)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok { // which shows the address, a secret
			err = wrapped.Err
		}
		return true, fmt.Errorf("ping the check on %s: %w", u.Host, err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
	if response.StatusCode == http.StatusOK {
		return false, nil
	}
	again = response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500
	return again, fmt.Errorf("ping the check on %s: it answers %s: %s", u.Host, response.Status, strings.TrimSpace(string(text)))
}
