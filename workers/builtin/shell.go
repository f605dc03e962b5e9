package builtin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/outbound"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

const (
	// killGrace is how long a group of processes may take to end after SIGTERM. A process that stops waits five seconds
	// for its handlers after their contexts have ended.
	killGrace = 3 * time.Second
	// killPoll is how often we look whether the group is gone.
	killPoll = 20 * time.Millisecond

	defaultShell = "/bin/sh"
	defaultPath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// ShellOutput is the output of a job of the kind "shell".
type ShellOutput struct {
	ExitStatus int    `json:"exit_status"` // 128 and the signal's number when a signal ended it
	Output     string `json:"output"`      // the end of what the command wrote, on both streams
	Bytes      int64  `json:"output_bytes"`
	Truncated  bool   `json:"truncated"` // whether it wrote more than is kept
}

// shellWorker runs a command as the leader of a process group of its own, and leaves nobody of that group behind.
type shellWorker struct {
	river.WorkerDefaults[jobs.ShellArgs]

	on bool
}

func (w *shellWorker) Timeout(job *river.Job[jobs.ShellArgs]) time.Duration {
	return job.Args.Timeout()
}

func (w *shellWorker) Work(ctx context.Context, job *river.Job[jobs.ShellArgs]) error {
	if !w.on {
		return workers.Permanent(errors.New("this worker runs no commands; set TOWPATH_SHELL=on where whoever may enqueue jobs may run commands"))
	}
	if err := job.Args.Check(); err != nil {
		return workers.Permanent(err)
	}
	if info, err := os.Stat(job.Args.Dir); job.Args.Dir != "" && (err != nil || !info.IsDir()) {
		return fmt.Errorf("dir %q is no directory on this machine; create it, or give the job another one or a queue of its own", job.Args.Dir)
	}
	output := newOutput(workers.Logger(ctx))
	var told atomic.Pointer[time.Time] // when the group was told to end
	command := newCommand(ctx, job, output)
	command.Cancel = func() error {
		now := time.Now()
		told.Store(&now)
		return signalGroup(command.Process.Pid, syscall.SIGTERM)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	err := command.Wait()
	output.close(ctx)
	// Whoever was told to end has had a part of the grace time already.
	grace := killGrace
	if since := told.Load(); since != nil {
		grace -= time.Since(*since)
	}
	endGroup(command.Process.Pid, grace)
	result := ShellOutput{ExitStatus: exitStatus(command), Output: output.tail(), Bytes: output.written, Truncated: output.written > outputKept}
	if recordErr := river.RecordOutput(ctx, result); recordErr != nil {
		return fmt.Errorf("keep the output: %w", recordErr)
	}
	return verdict(ctx, job.Args, command, result, err)
}

// newCommand prepares a command that is ended with its whole group when ctx ends.
func newCommand(ctx context.Context, job *river.Job[jobs.ShellArgs], output *output) *exec.Cmd {
	args := job.Args
	shell := args.Shell
	if shell == "" {
		shell = defaultShell
	}
	words := []string{"-c", args.Command}
	if len(args.Argv) > 0 {
		// The shell finds the program on the PATH that the command is given.
		words = append([]string{"-c", `exec "$0" "$@"`}, args.Argv...)
	}
	command := exec.CommandContext(ctx, shell, words...)
	command.Env, command.Dir = environment(job, shell)
	if args.Dir != "" {
		command.Dir = args.Dir
	}
	command.Stdin = strings.NewReader(args.Stdin)
	// One writer for both: the lines stay in order.
	command.Stdout, command.Stderr = output, output
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// Wait waits no longer for those who ignore that, nor for those in the background who hold the output open.
	command.WaitDelay = killGrace
	return command
}

// environment is what a command gets instead of the worker's own, which holds secrets, and where it starts.
func environment(job *river.Job[jobs.ShellArgs], shell string) (env []string, home string) {
	home, name := "/", ""
	if current, err := user.Current(); err == nil {
		home, name = current.HomeDir, current.Username
	}
	variables := map[string]string{
		"PATH": defaultPath, "HOME": home, "SHELL": shell, "USER": name, "LOGNAME": name, "LANG": "C.UTF-8",
	}
	maps.Copy(variables, job.Args.Env)
	variables["TOWPATH_JOB_ID"] = strconv.FormatInt(job.ID, 10)
	variables["TOWPATH_JOB_ATTEMPT"] = strconv.Itoa(job.Attempt)
	for key, value := range variables {
		env = append(env, key+"="+value)
	}
	slices.Sort(env)
	return env, home
}

func signalGroup(pid int, signal syscall.Signal) error { return syscall.Kill(-pid, signal) }

// endGroup ends what is left of a group whose leader has ended: first politely.
func endGroup(pid int, grace time.Duration) {
	if signalGroup(pid, syscall.SIGTERM) != nil {
		return // nobody is left
	}
	poll := time.NewTicker(killPoll)
	defer poll.Stop()
	for deadline := time.Now().Add(grace); time.Now().Before(deadline); <-poll.C {
		if signalGroup(pid, 0) != nil {
			return
		}
	}
	_ = signalGroup(pid, syscall.SIGKILL)
}

// exitStatus is the command's as a shell would show it.
func exitStatus(command *exec.Cmd) int {
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return command.ProcessState.ExitCode()
}

// verdict says what the end of the command means for the job.
func verdict(ctx context.Context, args jobs.ShellArgs, command *exec.Cmd, result ShellOutput, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("the command ran into its time limit of %s and was ended; set timeout_seconds%s", args.Timeout(), lastLine(result.Output))
	case ctx.Err() != nil:
		return ctx.Err()
	case result.ExitStatus > 128 && !command.ProcessState.Exited():
		return fmt.Errorf("the command was ended by signal %d (%s)%s", result.ExitStatus-128, syscall.Signal(result.ExitStatus-128), lastLine(result.Output))
	case result.ExitStatus != 0:
		return fmt.Errorf("the command ended with exit status %d%s", result.ExitStatus, lastLine(result.Output))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return fmt.Errorf("run the command: %w", err)
	}
	return nil
}

// lastLine is the last line of an output that says something, for an error.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return outbound.Excerpt(lines[len(lines)-1])
}
