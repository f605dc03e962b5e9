package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// hurryKey finds the channel that is closed by the second signal.
type hurryKey struct{}

// handleSignals returns a context that the first SIGINT, SIGTERM or SIGHUP ends. The second one closes the channel of
// hurry, the third has the system's own effect. Signals that whoever started us had ignored stay ignored: nohup ignores
// SIGHUP, and a shell SIGINT for what it runs in the background.
func handleSignals(parent context.Context) (context.Context, func()) {
	hurry := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithValue(parent, hurryKey{}, hurry))
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	over := make(chan struct{})
	go func() {
		defer signal.Stop(signals)
		for _, then := range []func(){cancel, func() { close(hurry) }} {
			select {
			case <-signals:
				then()
			case <-over:
				return
			}
		}
	}()
	return ctx, func() {
		close(over)
		cancel()
	}
}

// hurryOf returns the channel that is closed when there is no time left to end in good order.
func hurryOf(ctx context.Context) <-chan struct{} {
	hurry, _ := ctx.Value(hurryKey{}).(chan struct{})
	return hurry
}

// survivePipes keeps a write to a closed standard output or error from ending the process. A role's log often goes
// through a pipe to a program that the same Ctrl-C ends first, and the role has yet to end in good order.
func survivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
