package checkin

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// answerLimit bounds how long a ping waits for the database.
	answerLimit = 5 * time.Second
	// atOnce bounds how many pings use the database at the same time, so that pings leave connections to others.
	atOnce = 4
	// readMax is how much of a body is read; who sends more is cut off, and the ping counts.
	readMax = 4 << 20

	// perSecond and burst bound the pings of one check.
	perSecond = 2
	burst     = 60
	// maxLimits bounds how many checks' rates are remembered.
	maxLimits = 10_000
)

// Prefix begins the addresses of checks.
const Prefix = "/ping/"

// HandlerConfig says what a handler takes.
type HandlerConfig struct {
	Database Beginner
	PingKey  string // with it a check is addressed by its name; "" for never
	Create   bool   // whether a check that is addressed so comes to be with its first ping
	Logger   *slog.Logger
}

// handler takes pings.
type handler struct {
	config HandlerConfig
	slots  chan struct{}

	mu     sync.Mutex
	limits map[string]*rate.Limiter
}

// NewHandler returns what serves Prefix:
//
//	/ping/KEY  /ping/KEY/start  /ping/KEY/fail  /ping/KEY/log  /ping/KEY/EXIT_STATUS
//	/ping/PING_KEY/NAME and the same four ends
//
// by GET, POST and HEAD, with ?rid=RUN_ID. What is wrong is told in one line of text: 400 for an exit status or a run id
// that is none, 404 for an address that is none, whichever part of it is wrong, 429 for too many pings of one check, 503
// when the database cannot be asked. A ping that was taken is answered with 200.
func NewHandler(config HandlerConfig) http.Handler {
	return &handler{config: config, slots: make(chan struct{}, atOnce), limits: map[string]*rate.Limiter{}}
}

// answer is what the pinger is told.
type answer struct {
	status int
	text   string
	again  int // seconds after which to try again
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := h.answer(r)
	if a.again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.again))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address is a secret
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, a.text+"\n")
	}
}

func (h *handler) answer(r *http.Request) answer {
	switch r.Method {
	case http.MethodGet, http.MethodPost, http.MethodHead:
	default:
		return answer{http.StatusMethodNotAllowed, "use GET, POST or HEAD", 0}
	}
	target, ping, refused := h.read(r)
	if refused != nil {
		return *refused
	}
	if !h.allows(target) {
		return answer{http.StatusTooManyRequests, fmt.Sprintf("too many pings of this check: %d a second are taken; try again", perSecond), 1}
	}
	ping.Body, ping.BodyBytes = body(r)
	ctx, cancel := context.WithTimeout(r.Context(), answerLimit)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return busy
	}
	err := TakePing(ctx, h.config.Database, target, ping)
	if errors.Is(err, ErrUnknown) && target.Name != "" && h.config.Create {
		if err = create(ctx, h.config.Database, target.Name); err == nil {
			err = TakePing(ctx, h.config.Database, target, ping)
		}
	}
	switch {
	case err == nil:
		return answer{http.StatusOK, "OK", 0}
	case errors.Is(err, ErrUnknown):
		return unknown
	case errors.Is(err, errTooMany):
		return answer{http.StatusNotFound, "there is no such check, and too many were made by pings; make it with `towpath checks put`", 0}
	}
	h.config.Logger.WarnContext(r.Context(), "take a ping", slog.Any("error", err))
	return busy
}

var (
	unknown = answer{http.StatusNotFound, "there is no such check", 0}
	busy    = answer{http.StatusServiceUnavailable, "the database cannot be asked; try again", 10}
)

var (
	key    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)
	runID  = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,100}$`)
	digits = regexp.MustCompile(`^[0-9]+$`)
)

// read takes the address apart. A key is told from a ping key by being another one, so a wrong key is nobody's.
func (h *handler) read(r *http.Request) (Target, Ping, *answer) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, Prefix), "/")
	var target Target
	if h.isPingKey(parts[0]) && len(parts) > 1 {
		target.Name, parts = parts[1], parts[1:]
		if !nameFits(target.Name) {
			return target, Ping{}, &unknown
		}
	} else {
		target.Key = parts[0]
	}
	ping := Ping{Kind: Success, RunID: r.URL.Query().Get("rid"), Source: source(r)}
	if target.Name == "" && !key.MatchString(target.Key) || len(parts) > 2 {
		return target, ping, &unknown
	}
	if ping.RunID != "" && !runID.MatchString(ping.RunID) {
		return target, ping, &answer{http.StatusBadRequest, fmt.Sprintf("rid %.40q is no run id: write up to 100 letters, digits or ._:-, such as ?rid=4711", ping.RunID), 0}
	}
	if len(parts) == 1 {
		return target, ping, nil
	}
	switch end := parts[1]; {
	case end == Start || end == Fail || end == Log:
		ping.Kind = end
	case digits.MatchString(end):
		status, err := strconv.Atoi(end)
		if err != nil || status > 255 {
			return target, ping, &answer{http.StatusBadRequest, fmt.Sprintf("exit status %.20s is none: write 0 to 255, such as /1", end), 0}
		}
		ping.ExitStatus = &status
		if status != 0 {
			ping.Kind = Fail
		}
	default:
		return target, ping, &unknown
	}
	return target, ping, nil
}

func (h *handler) isPingKey(part string) bool {
	return h.config.PingKey != "" && subtle.ConstantTimeCompare([]byte(part), []byte(h.config.PingKey)) == 1
}

// allows bounds the rate of each check.
func (h *handler) allows(target Target) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := target.Key + "/" + target.Name
	limit := h.limits[id]
	if limit == nil {
		if len(h.limits) >= maxLimits {
			clear(h.limits)
		}
		limit = rate.NewLimiter(perSecond, burst)
		h.limits[id] = limit
	}
	return limit.Allow()
}

// body returns the beginning of a request's body, and how long it was as far as it was read.
func body(r *http.Request) (string, int64) {
	if r.Body == nil {
		return "", 0
	}
	kept, err := io.ReadAll(io.LimitReader(r.Body, BodyMax))
	if err != nil || len(kept) < BodyMax {
		return string(kept), int64(len(kept))
	}
	rest, _ := io.CopyN(io.Discard, r.Body, readMax) // what is missing then was not to be kept
	return string(kept), int64(len(kept)) + rest
}

// source says where a request came from.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %.100s", r.Method, host, r.UserAgent()))
}
