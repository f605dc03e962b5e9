package builtin

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
)

const (
	// outputKept is how much of the end of a command's output becomes the job's.
	outputKept = 64 << 10
	// outputLogged is how much of it becomes lines of the job's log.
	outputLogged = 4 << 20
	// lineMax is where longer lines are broken.
	lineMax = 8 << 10
)

// output takes what a command writes: it hands each line to the job's log at once and keeps the end.
type output struct {
	logger *slog.Logger

	mu      sync.Mutex
	written int64
	last    []byte // at most twice outputKept
	line    []byte // what has come of the line that is not whole
	logged  int
	full    bool // no more lines are logged
}

func newOutput(logger *slog.Logger) *output { return &output{logger: logger} }

// Write never fails: a command must not end because of what becomes of its output.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written += int64(len(p))
	o.last = append(o.last, p[max(0, len(p)-outputKept):]...)
	if len(o.last) > 2*outputKept {
		o.last = append(o.last[:0], o.last[len(o.last)-outputKept:]...)
	}
	if !o.full {
		o.line = append(o.line, p...)
		o.lines(context.Background())
	}
	return len(p), nil
}

// lines logs the lines that are whole or too long. The caller holds the lock.
func (o *output) lines(ctx context.Context) {
	for {
		end, skip := bytes.IndexByte(o.line, '\n'), 1
		if end < 0 || end > lineMax {
			if len(o.line) <= lineMax {
				return
			}
			end, skip = lineMax, 0
		}
		o.log(ctx, o.line[:end])
		o.line = o.line[end+skip:]
		if o.full {
			o.line = nil
			return
		}
	}
}

func (o *output) log(ctx context.Context, line []byte) {
	o.logged += len(line)
	if o.logged > outputLogged {
		o.full = true
		o.logger.WarnContext(ctx, "the command writes more than is logged; the end of its output is kept", slog.Int("logged_bytes", outputLogged))
		return
	}
	if text := strings.TrimRight(clean(string(line)), "\r"); text != "" {
		o.logger.InfoContext(ctx, text) //nolint:sloglint // the line is the command's and not ours
	}
}

// close logs a last line that has no end.
func (o *output) close(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.line) > 0 && !o.full {
		o.log(ctx, o.line)
	}
	o.line, o.full = nil, true
}

// tail is the end of the output.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return clean(string(o.last[max(0, len(o.last)-outputKept):]))
}
