// Command withpg runs a command beside a private Postgres that is there for that command alone, and ends with the
// command's exit code:
//
//	go run ./internal/withpg [-env NAME] COMMAND [ARGUMENT …]
//
// The variable NAME, TOWPATH_DATABASE_URL by default, carries the connection string of a plain role that owns the
// database. The server gives durability up for speed and leaves nothing behind. Scripts use it that need a database
// and that may find none on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/towpath/towpath/internal/pgdev"
)

// killAfter is how long the command has to end once it was told to.
const killAfter = 30 * time.Second

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "withpg:", err)
	}
	os.Exit(code)
}

// run returns the command's exit code; an error is ours, not the command's.
func run() (code int, err error) {
	variable := flag.String("env", "TOWPATH_DATABASE_URL", "the `variable` that carries the connection string")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: withpg [-env NAME] COMMAND [ARGUMENT …]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		return 2, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()

	server, err := pgdev.Start(ctx, pgdev.Options{Ephemeral: true, Fast: true, Progress: os.Stderr})
	if err != nil {
		return 1, err
	}
	defer func() {
		if stopErr := server.Stop(context.WithoutCancel(ctx)); stopErr != nil {
			code, err = max(code, 1), errors.Join(err, stopErr)
		}
	}()

	cmd := exec.CommandContext(ctx, flag.Arg(0), flag.Args()[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), *variable+"="+server.URL())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = killAfter
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run %q: %w", flag.Arg(0), err)
	}
	return 0, nil
}
