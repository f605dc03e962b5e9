package workers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/towpath/towpath/internal/store"
)

// Logger returns the logger of the attempt. Each line goes to the process's log, with the job's id, kind, queue and
// attempt, and to towpath.job_event, where it can be read within a fifth of a second; lines below the level of
// Config.LogLevel go to the process's log alone. Logging does not wait for the database: when it falls behind by
// thousands of lines, lines are left out there, and a line says how many. Outside a job it is slog.Default().
func Logger(ctx context.Context) *slog.Logger {
	if a := attemptOf(ctx); a != nil {
		a.logger.once.Do(a.makeLogger)
		return a.logger.Logger
	}
	return slog.Default()
}

func (a *attempt) makeLogger() {
	a.logger.Logger = slog.New(&attemptHandler{attempt: a, process: a.runtime.logger.Handler().WithAttrs(a.identity())})
}

// attemptHandler is a slog.Handler that hands each line to the process's handler and to the attempt's notes.
type attemptHandler struct {
	attempt *attempt
	process slog.Handler
	scopes  []scope
}

// scope is what WithGroup or WithAttrs has added: a group for all that follows, or attributes.
type scope struct {
	group string
	attrs []slog.Attr
}

func (h *attemptHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.records(level) || h.process.Enabled(ctx, level)
}

func (h *attemptHandler) records(level slog.Level) bool {
	return level >= h.attempt.runtime.logLevel.Level()
}

func (h *attemptHandler) Handle(ctx context.Context, line slog.Record) error {
	if h.records(line.Level) {
		h.attempt.note(store.JobEvent{
			Event: store.EventLog, Level: line.Level.String(), Message: line.Message, Attrs: h.attrs(line),
		})
	}
	if !h.process.Enabled(ctx, line.Level) {
		return nil
	}
	return h.process.Handle(ctx, line)
}

func (h *attemptHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(h.process.WithAttrs(attrs), scope{attrs: attrs})
}

func (h *attemptHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(h.process.WithGroup(name), scope{group: name})
}

func (h *attemptHandler) with(process slog.Handler, s scope) slog.Handler {
	return &attemptHandler{attempt: h.attempt, process: process, scopes: append(slices.Clip(h.scopes), s)}
}

// attrs returns the attributes of a line as a JSON object, or nothing when there are none.
func (h *attemptHandler) attrs(line slog.Record) string {
	root := make(attrGroup)
	in := root
	for _, s := range h.scopes {
		if s.group != "" {
			in = groupIn(in, s.group)
		}
		for _, attr := range s.attrs {
			putAttr(in, attr)
		}
	}
	line.Attrs(func(attr slog.Attr) bool {
		putAttr(in, attr)
		return true
	})
	dropEmptyGroups(root)
	if len(root) == 0 {
		return ""
	}
	encoded, err := json.Marshal(root)
	if err != nil {
		return fmt.Sprintf(`{"attrs_error":%q}`, cleanText(err.Error()))
	}
	if len(encoded) > noteMaxAttrs {
		return fmt.Sprintf(`{"attrs_bytes":%d,"attrs_dropped":true}`, len(encoded))
	}
	return string(encoded)
}

// attrGroup is an object made of attributes, as opposed to one that is an attribute's value.
type attrGroup map[string]any

func groupIn(in attrGroup, name string) attrGroup {
	if inner, ok := in[name].(attrGroup); ok {
		return inner
	}
	inner := make(attrGroup)
	in[name] = inner
	return inner
}

func putAttr(in attrGroup, attr slog.Attr) {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		to := in
		if attr.Key != "" {
			to = groupIn(in, cleanText(attr.Key))
		}
		for _, member := range value.Group() {
			putAttr(to, member)
		}
		return
	}
	if attr.Equal(slog.Attr{}) {
		return
	}
	in[cleanText(attr.Key)] = plain(value)
}

// plain turns an attribute's value into what JSON can hold and Postgres takes.
func plain(value slog.Value) any {
	switch value.Kind() {
	case slog.KindString:
		return cleanText(value.String())
	case slog.KindDuration:
		return value.Duration().String()
	case slog.KindTime:
		return value.Time().Format(time.RFC3339Nano)
	case slog.KindFloat64:
		if encoded, err := json.Marshal(value.Float64()); err == nil {
			return json.RawMessage(encoded)
		}
		return value.String() // infinite, or no number
	case slog.KindAny:
		return plainAny(value.Any())
	default: // numbers and booleans are as they are
		return value.Any()
	}
}

// plainAny does so for values of any other type. Their methods are somebody else's code, and a line that is logged must
// not end the job.
func plainAny(value any) (result any) {
	defer func() {
		if thrown := recover(); thrown != nil {
			result = fmt.Sprintf("!PANIC: %v", thrown)
		}
	}()
	if err, ok := value.(error); ok {
		if _, encodes := value.(json.Marshaler); !encodes {
			return cleanText(err.Error())
		}
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return cleanText(fmt.Sprintf("%+v", value))
	}
	decoder := json.NewDecoder(bytes.NewReader(encoded))
	decoder.UseNumber()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return cleanText(string(encoded))
	}
	return cleanTree(decoded)
}

// cleanTree cleans all strings of a decoded document.
func cleanTree(value any) any {
	switch v := value.(type) {
	case string:
		return cleanText(v)
	case []any:
		for i := range v {
			v[i] = cleanTree(v[i])
		}
		return v
	case map[string]any:
		clean := make(map[string]any, len(v))
		for key, member := range v {
			clean[cleanText(key)] = cleanTree(member)
		}
		return clean
	default:
		return value
	}
}

func dropEmptyGroups(in attrGroup) {
	for name, value := range in {
		if inner, ok := value.(attrGroup); ok {
			if dropEmptyGroups(inner); len(inner) == 0 {
				delete(in, name)
			}
		}
	}
}
