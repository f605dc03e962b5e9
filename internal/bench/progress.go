package bench

import (
	"fmt"
	"io"
	"os"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress tells people what is going on: a line for each result, and on a terminal a bar below them.
type progress struct {
	out  io.Writer
	bars *mpb.Progress // nil off a terminal
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if file, ok := out.(*os.File); ok && cwriter.IsTerminal(int(file.Fd())) {
		p.bars = mpb.New(mpb.WithOutput(file), mpb.WithWidth(60))
	}
	return p
}

// line prints one line, above the bar.
func (p *progress) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	if p.bars != nil {
		// It fails after the last bar only, when nothing is drawn any more.
		if _, err := p.bars.Write([]byte(text)); err == nil {
			return
		}
	}
	fmt.Fprint(p.out, text)
}

// bar starts a bar and returns what moves it and what takes it away. Both are for one goroutine.
func (p *progress) bar(name string, total int) (set func(int), done func()) {
	if p.bars == nil {
		return func(int) {}, func() {}
	}
	bar := p.bars.AddBar(int64(total), mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(name+" ")), mpb.AppendDecorators(decor.CountersNoUnit("%d / %d")))
	return func(n int) { bar.SetCurrent(int64(n)) }, func() { bar.Abort(true) }
}
