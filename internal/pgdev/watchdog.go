package pgdev

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

//go:embed watchdog.sh
var watchdogScript string

// watchdog is the shell that ends the server when this process is gone. The
// kernel closes our end of its input however we end, which is what no signal
// handler and no deferred call can promise.
type watchdog struct {
	cmd   *exec.Cmd
	input *os.File
}

// startWatchdog starts the watchdog of the instance in dir. With trash it
// deletes dir at the end.
func startWatchdog(ctx context.Context, dir string, trash bool, lock *dirLock) (*watchdog, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the watchdog of %s: %w", dir, err)
	}
	defer reader.Close()
	remove := ""
	if trash {
		remove = dir
	}
	// The context is the start's, the watchdog outlives it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", watchdogScript, "towpath-watchdog", dir+"/data", remove)
	cmd.Dir = "/"
	cmd.Env = cleanEnv()
	cmd.Stdin = reader
	cmd.ExtraFiles = []*os.File{lock.file}
	// A session of its own: neither Ctrl-C nor a closed terminal reaches it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		writer.Close()
		return nil, fmt.Errorf("start the watchdog of %s: %w", dir, err)
	}
	return &watchdog{cmd: cmd, input: writer}, nil
}

func (w *watchdog) send(word string, value int) error {
	return w.sendPath(word, strconv.Itoa(value))
}

func (w *watchdog) sendPath(word, value string) error {
	if _, err := fmt.Fprintf(w.input, "%s %s\n", word, value); err != nil {
		return fmt.Errorf("tell the watchdog %q: %w", word, err)
	}
	return nil
}

// dismiss ends a watchdog that has nothing left to do.
func (w *watchdog) dismiss() {
	// After `until` nobody reads these lines and the watchdog has seen the
	// server end by itself.
	_ = w.send("done", 0)
	_ = w.input.Close()
	_ = w.cmd.Wait()
}
