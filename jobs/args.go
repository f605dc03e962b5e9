package jobs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ErrArgsTooLarge is in the InputError that is returned by every insert of a job whose encoded args exceed Config.ArgsMaxBytes. Keep what is
// large in a table or a file store, and its key in the args.
var ErrArgsTooLarge = errors.New("args too large")

// ArgsError is returned by every insert of a job with args or metadata that Postgres could not keep as they are.
type ArgsError struct {
	// Kind is the kind of the job.
	Kind string
	// Path leads to the bad value, as in args.items[3].name.
	Path string
	// Problem says what is wrong with it.
	Problem string
}

// SQLState returns the code with which the database refuses the same.
func (e *ArgsError) SQLState() string { return "22P05" }

func (e *ArgsError) Error() string {
	return fmt.Sprintf("insert job %q: %s %s", e.Kind, e.Path, e.Problem)
}

// argsWarnEvery is how often a kind with large args is warned about.
const argsWarnEvery = time.Minute

// argsCheck looks at every job before it is inserted. It is a hook and not a middleware, because every way of inserting
// runs the hooks, and because it changes nothing: the unique key has been computed by then.
type argsCheck struct {
	river.HookDefaults
	warnBytes, maxBytes int
	logger              *slog.Logger

	mu     sync.Mutex
	warned map[string]time.Time // kind to the time of its latest warning
}

var _ rivertype.HookInsertBegin = (*argsCheck)(nil)

func newArgsCheck(warnBytes, maxBytes int, logger *slog.Logger) *argsCheck {
	return &argsCheck{
		warnBytes: cmp.Or(warnBytes, ArgsWarnBytesDefault), maxBytes: cmp.Or(maxBytes, ArgsMaxBytesDefault),
		logger: logger, warned: make(map[string]time.Time),
	}
}

// InsertBegin refuses what the database would refuse or alter, and what is too large.
func (c *argsCheck) InsertBegin(ctx context.Context, params *rivertype.JobInsertParams) error {
	size := len(params.EncodedArgs)
	if c.maxBytes > 0 && size > c.maxBytes {
		return &InputError{
			Kind: params.Kind, Parameter: "args", Message: fmt.Sprintf("args of %d bytes must not exceed %d", size, c.maxBytes),
			Hint: "Keep the data in a table of your own and its key in args.", err: ErrArgsTooLarge,
		}
	}
	if c.warnBytes > 0 && size > c.warnBytes && c.mayWarn(params.Kind) {
		c.logger.WarnContext(ctx, "job args are large",
			slog.String("kind", params.Kind), slog.Int("bytes", size), slog.Int("warn_bytes", c.warnBytes))
	}
	if err := checkDocument(params.Kind, "args", params.EncodedArgs, params.Args); err != nil {
		return err
	}
	if err := checkBuiltin(params.Kind, params.Args); err != nil {
		return err
	}
	return checkDocument(params.Kind, "metadata", params.Metadata, nil)
}

func (c *argsCheck) mayWarn(kind string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if last, ok := c.warned[kind]; ok && now.Sub(last) < argsWarnEvery {
		return false
	}
	c.warned[kind] = now
	return true
}

var (
	escape            = []byte(`\u`)
	replacementEscape = []byte(`\ufffd`)
)

// checkDocument returns an ArgsError for the first string that jsonb cannot hold as it is. source is what was encoded,
// or nil when the document was given as JSON.
//
// Go's encoder replaces bytes that are no UTF-8 by the escape of U+FFFD, while a U+FFFD that was in the string comes out
// as its three bytes. The escape may still be somebody's own, in a json.RawMessage; then the strings of the source are
// in order, and so is the escape.
func checkDocument(kind, root string, document []byte, source any) error {
	if utf8.Valid(document) && !bytes.Contains(document, escape) {
		return nil
	}
	replaced := source != nil && bytes.Contains(document, replacementEscape) && hasInvalidText(reflect.ValueOf(source), 0)
	if bad := findBadText(document, replaced); bad != nil {
		return &ArgsError{Kind: kind, Path: root + bad.path, Problem: bad.problem}
	}
	return nil
}

// maxDepth ends the walk through values that contain themselves; the encoder has refused them before.
const maxDepth = 64

// hasInvalidText reports whether a string within the value is not UTF-8.
func hasInvalidText(v reflect.Value, depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch v.Kind() { //nolint:exhaustive // the other kinds hold no text
	case reflect.String:
		return !utf8.ValidString(v.String())
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil() && hasInvalidText(v.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 { // base64, or JSON of its own
			return false
		}
		for i := range v.Len() {
			if hasInvalidText(v.Index(i), depth+1) {
				return true
			}
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			if hasInvalidText(entry.Key(), depth+1) || hasInvalidText(entry.Value(), depth+1) {
				return true
			}
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if hasInvalidText(field, depth+1) {
				return true
			}
		}
	}
	return false
}
