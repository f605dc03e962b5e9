package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// How often progress is drawn: bars on a terminal, lines elsewhere.
const (
	barPause  = 150 * time.Millisecond
	linePause = 2 * time.Second
)

// Amount is one figure of progress: how much of something is done.
type Amount struct {
	Name        string
	Done, Total int
}

// Progress shows on standard error how far long work is while do runs, and returns what do returns. The amounts are
// read again and again, the last time when do has ended; a reading that fails is left to the next. There are bars on a
// terminal and a line now and then elsewhere; nothing with --quiet.
func (p *Program) Progress(ctx context.Context, read func(context.Context) ([]Amount, error), do func(context.Context) error) error {
	if p.quiet {
		return do(ctx)
	}
	draw, pause, end := p.lines, linePause, func() {}
	if isTerminal(p.stderr) {
		bars := mpb.New(mpb.WithOutput(p.stderr))
		draw, pause, end = drawBars(bars), barPause, bars.Wait
	}
	defer end()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	for {
		select {
		case err := <-done:
			if amounts, readErr := read(context.WithoutCancel(ctx)); readErr == nil {
				draw(amounts, true)
			}
			return err
		case <-time.After(pause):
			if amounts, err := read(ctx); err == nil {
				draw(amounts, false)
			}
		}
	}
}

func (p *Program) lines(amounts []Amount, _ bool) {
	parts := make([]string, len(amounts))
	for i, amount := range amounts {
		parts[i] = fmt.Sprintf("%d of %d %s", amount.Done, amount.Total, amount.Name)
	}
	p.note("%s", strings.Join(parts, ", "))
}

// drawBars returns what draws a bar an amount; the bars are made when they are first seen.
func drawBars(progress *mpb.Progress) func([]Amount, bool) {
	var bars []*mpb.Bar
	return func(amounts []Amount, last bool) {
		for _, amount := range amounts[len(bars):] {
			bars = append(bars, progress.AddBar(0, mpb.PrependDecorators(
				decor.Name(amount.Name, decor.WCSyncSpaceR), decor.CountersNoUnit("%d / %d", decor.WCSyncSpace))))
		}
		for i, amount := range amounts {
			bars[i].SetTotal(int64(amount.Total), false)
			bars[i].SetCurrent(int64(amount.Done))
			if last {
				bars[i].SetTotal(int64(amount.Done), true)
			}
		}
	}
}
