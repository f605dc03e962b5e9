package pgdev

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"
)

// meter shows how far a download has come: as a bar on a terminal, else as a
// line every tenth of the way.
type meter struct {
	out   io.Writer
	name  string
	total int64 // -1 when the server does not say
	done  int64
	tenth int64

	bars *mpb.Progress // nil off a terminal
	bar  *mpb.Bar
}

func newMeter(out io.Writer, name string, total int64) *meter {
	m := &meter{out: out, name: name, total: total}
	if file, ok := out.(*os.File); ok && cwriter.IsTerminal(int(file.Fd())) {
		m.bars = mpb.New(mpb.WithOutput(file), mpb.WithWidth(60))
		m.bar = m.bars.AddBar(max(total, 0),
			mpb.PrependDecorators(decor.Name(name+" ")),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f")))
	}
	return m
}

// Write counts bytes.
func (m *meter) Write(p []byte) (int, error) {
	m.done += int64(len(p))
	switch {
	case m.bar != nil:
		m.bar.IncrBy(len(p))
	case m.total > 0 && m.done*10/m.total > m.tenth:
		m.tenth = m.done * 10 / m.total
		fmt.Fprintf(m.out, "%s: %d%% of %.1f MB\n", m.name, m.tenth*10, float64(m.total)/1e6)
	}
	return len(p), nil
}

// finish ends the bar, completed or where it stands.
func (m *meter) finish(complete bool) {
	if m.bar == nil {
		return
	}
	if complete {
		m.bar.SetTotal(-1, true)
	} else {
		m.bar.Abort(false)
	}
	m.bars.Wait()
}
