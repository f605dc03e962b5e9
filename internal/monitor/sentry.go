package monitor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"golang.org/x/time/rate"

	"github.com/towpath/towpath/internal/config"
)

const (
	// sentryRate and sentryBurst bound what is sent: a fleet that fails all at once tells it by some.
	sentryRate, sentryBurst = 20, 100
	// sentryFlush is how long a stop waits for what is on its way.
	sentryFlush = 5 * time.Second
	// sentryArgs is how many bytes of args are sent.
	sentryArgs = 8 << 10
)

// SentryConfig is what a Sentry needs.
type SentryConfig struct {
	Settings config.Sentry
	Pool     *pgxpool.Pool // for check-ins
	Logger   *slog.Logger
	ID       string // of the process
	Version  string // of the program
}

// Sentry tells Sentry of errors and panics of handlers, and of runs of schedules. It is told by the goroutines of the jobs,
// which it never keeps waiting: what finds no room is dropped and counted.
type Sentry struct {
	settings config.Sentry
	client   *sentry.Client
	limiter  *rate.Limiter
	redact   redaction
	crons    *sentryCrons // nil unless switched on
	dropped  atomic.Uint64
	logger   *slog.Logger
}

// NewSentry returns one that sends, until Stop.
func NewSentry(c SentryConfig) (*Sentry, error) {
	release := c.Settings.Release
	if release == "" {
		release = c.Version
	}
	client, err := sentry.NewClient(sentry.ClientOptions{
		Dsn: c.Settings.DSN, Environment: c.Settings.Environment, Release: release, ServerName: c.ID,
		// Neither the machine's modules nor source files belong into a message that a job's goroutine writes.
		Integrations: func([]sentry.Integration) []sentry.Integration { return nil },
	})
	if err != nil {
		return nil, errors.New("TOWPATH_SENTRY_DSN: Sentry's client does not take it; write https://key@host/project")
	}
	s := &Sentry{
		settings: c.Settings, client: client, limiter: rate.NewLimiter(sentryRate, sentryBurst),
		redact: newRedaction(c.Settings.Redact), logger: c.Logger,
	}
	if c.Settings.Crons {
		s.crons = newSentryCrons(client, c.Pool, c.Logger, &s.dropped)
		s.crons.start()
	}
	return s, nil
}

// Stop sends what there is, for some seconds, and ends.
func (s *Sentry) Stop() {
	if s.crons != nil {
		s.crons.end()
	}
	if !s.client.Flush(sentryFlush) {
		s.logger.Warn("Sentry was not reached in time; what was on its way is lost") //nolint:sloglint // a name
	}
	s.client.Close()
	if dropped := s.dropped.Load(); dropped > 0 {
		s.logger.Warn("not all was told to Sentry", slog.Uint64("dropped", dropped))
	}
}

// HandleError implements river.ErrorHandler.
func (s *Sentry) HandleError(_ context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	last := job.Attempt >= job.MaxAttempts
	if !last && s.settings.Attempts != config.AttemptsAll {
		return nil
	}
	level := sentry.LevelError
	if !last {
		level = sentry.LevelWarning
	}
	s.send(job, level, func() []sentry.Exception { return exceptionsOf(err) })
	return nil
}

// HandlePanic implements river.ErrorHandler.
func (s *Sentry) HandlePanic(_ context.Context, job *rivertype.JobRow, value any, trace string) *river.ErrorHandlerResult {
	s.send(job, sentry.LevelFatal, func() []sentry.Exception {
		handled := false
		return []sentry.Exception{{
			Type: "panic", Value: fmt.Sprint(value), Stacktrace: stackOf(trace), Mechanism: &sentry.Mechanism{Type: "panic", Handled: &handled},
		}}
	})
	return nil
}

// exceptionsOf lists an error and what it wraps, the cause first, with the stacks that they bring themselves. The stack
// of this call would be River's.
func exceptionsOf(err error) []sentry.Exception {
	var all []sentry.Exception
	for depth := 0; err != nil && depth < 10; depth++ {
		all = append(all, sentry.Exception{Type: fmt.Sprintf("%T", err), Value: err.Error(), Stacktrace: sentry.ExtractStacktrace(err)})
		err = errors.Unwrap(err)
	}
	slices.Reverse(all)
	return all
}

func (s *Sentry) send(job *rivertype.JobRow, level sentry.Level, exceptions func() []sentry.Exception) {
	if !s.limiter.Allow() {
		s.dropped.Add(1)
		return
	}
	event := sentry.NewEvent()
	event.Level, event.Logger, event.Transaction = level, "towpath", job.Kind
	event.Exception = exceptions()
	event.Tags = map[string]string{"kind": job.Kind, "queue": job.Queue, "attempt": strconv.Itoa(job.Attempt)}
	event.Fingerprint = []string{"{{ default }}", job.Kind}
	context := sentry.Context{
		"id": job.ID, "kind": job.Kind, "queue": job.Queue, "attempt": job.Attempt, "max_attempts": job.MaxAttempts,
		"last": job.Attempt >= job.MaxAttempts, "created_at": job.CreatedAt, "scheduled_at": job.ScheduledAt, "tags": job.Tags,
	}
	args, hidden := s.redact.args(job.EncodedArgs)
	if s.settings.Args {
		context["args"] = args
	}
	for i := range event.Exception {
		event.Exception[i].Value = hidden.Replace(event.Exception[i].Value)
	}
	event.Contexts["job"] = context
	s.client.CaptureEvent(event, nil, nil)
}

// AttemptBegan implements workers.Observer.
func (s *Sentry) AttemptBegan(job *rivertype.JobRow) {
	if s.crons != nil {
		s.crons.tell(job, sentry.CheckInStatusInProgress, 0)
	}
}

// AttemptEnded implements workers.Observer. A run that is retried goes on.
func (s *Sentry) AttemptEnded(job *rivertype.JobRow, outcome string, ran time.Duration) {
	if s.crons == nil {
		return
	}
	switch outcome {
	case "succeeded":
		s.crons.tell(job, sentry.CheckInStatusOK, ran)
	case "discarded", "cancelled":
		s.crons.tell(job, sentry.CheckInStatusError, ran)
	}
}

// redaction hides what is secret in args.
type redaction struct{ words []string }

func newRedaction(more []string) redaction {
	words := []string{"password", "passwd", "secret", "token", "authorization", "apikey", "privatekey", "credential", "cookie"}
	for _, word := range more {
		words = append(words, plainName(word))
	}
	return redaction{words}
}

// plainName makes api_key, api-key and apiKey the same.
func plainName(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(name))
}

const redacted = "[redacted]"

// minHidden is how long a secret has to be to be taken out of an error's text: a shorter one would be in many words.
const minHidden = 4

// args returns args without secrets, and what takes the secrets out of an error that repeats them.
func (r redaction) args(encoded []byte) (any, *strings.Replacer) {
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber() // an id of many digits stays what it is
	var value any
	if decoder.Decode(&value) != nil {
		return redacted, strings.NewReplacer()
	}
	var hidden []string
	value = r.walk(value, false, &hidden)
	if text, err := json.Marshal(value); err == nil && len(text) > sentryArgs {
		value = strings.ToValidUTF8(string(text[:sentryArgs]), "") + "…"
	}
	// The longest first: of two that begin alike, the shorter one would leave the end of the other.
	slices.SortFunc(hidden, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, text := range hidden {
		pairs = append(pairs, text, redacted)
	}
	return value, strings.NewReplacer(pairs...)
}

func (r redaction) walk(value any, secret bool, hidden *[]string) any {
	switch value := value.(type) {
	case map[string]any:
		for name, one := range value {
			plain := plainName(name)
			value[name] = r.walk(one, secret || slices.ContainsFunc(r.words, func(word string) bool { return strings.Contains(plain, word) }), hidden)
		}
		return value
	case []any:
		for i, one := range value {
			value[i] = r.walk(one, secret, hidden)
		}
		return value
	case nil:
		return nil
	}
	if !secret {
		return value
	}
	var text string
	switch value := value.(type) {
	case string:
		text = value
	case json.Number:
		text = value.String()
	}
	if len(text) >= minHidden {
		*hidden = append(*hidden, text)
	}
	return redacted
}

// stackOf reads the trace of a panic as the runtime writes it, from where it happened: the oldest frame first.
func stackOf(trace string) *sentry.Stacktrace {
	lines := strings.Split(trace, "\n")
	var frames []sentry.Frame
	for i := 0; i+1 < len(lines); i++ {
		file, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			continue
		}
		function := lines[i]
		i++
		if strings.HasPrefix(function, "panic(") {
			frames = nil // what stands before belongs to the recovery
			continue
		}
		frames = append(frames, frameOf(function, file))
	}
	if len(frames) == 0 {
		return nil
	}
	slices.Reverse(frames)
	return &sentry.Stacktrace{Frames: frames}
}

// frameOf reads "path/pkg.(*T).Method(0x1, …)" and "/dir/file.go:12 +0x3a".
func frameOf(function, file string) sentry.Frame {
	function = strings.TrimPrefix(function, "created by ")
	function, _, _ = strings.Cut(function, " in goroutine ")
	if end := strings.LastIndexByte(function, '('); end > 0 && strings.HasSuffix(function, ")") {
		function = function[:end]
	}
	module, name := "", function
	slash := strings.LastIndexByte(function, '/') + 1
	if dot := strings.IndexByte(function[slash:], '.'); dot >= 0 {
		module, name = function[:slash+dot], function[slash+dot+1:]
	}
	file, _, _ = strings.Cut(file, " +0x")
	path, line, _ := strings.Cut(file, ".go:")
	number, _ := strconv.Atoi(line) // 0 is none
	own := !strings.HasPrefix(module, "runtime") && !strings.HasPrefix(module, "github.com/riverqueue/") && module != "testing"
	return sentry.Frame{Function: name, Module: module, AbsPath: path + ".go", Lineno: number, InApp: own}
}
