package cmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/checkin"
	"github.com/towpath/towpath/internal/config"
)

const (
	// pingLimit bounds how long exec tries to tell the start or the end of its command.
	pingLimit = 15 * time.Second
	// backgroundGrace is how long the output of what a command has left in the background is passed on.
	backgroundGrace = 5 * time.Second

	notExecutable = 126
	notFound      = 127
	bySignal      = 128
)

func (p *Program) execCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "exec CHECK -- COMMAND [ARG]...",
		Short: "Run a command and tell its check: for a line of a crontab",
		Long: "Run a command and tell a check when it starts, how it ends, how long it took and the end of its output. Output,\n" +
			"signals and the exit code are passed on; the command runs whether Towpath can be reached or not.\n\n" +
			"CHECK is the address of a check, or its name. A name is pinged at TOWPATH_URL with TOWPATH_PING_KEY when both\n" +
			"are set, else in the database of TOWPATH_DATABASE_URL.",
		Example: "  towpath exec backup -- tar -cf /dev/null /etc/hostname\n" +
			"  towpath exec http://127.0.0.1:8080/ping/6c1d0f2f51a14f0e9f8f6f6f2b1c7d3e -- true   # in a crontab, say",
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("exec needs a check, -- and a command, as in: exec backup -- /srv/backup.sh --all")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return p.exec(c.Context(), args[0], args[1:])
		},
	}
	p.quietFlag(c, "say nothing when the check cannot be told")
	return reads(c, config.GroupDatabase, config.GroupChecks)
}

// exitCodeError ends the program with the exit code of the command that it ran.
type exitCodeError struct{ code int }

func (e exitCodeError) Error() string {
	return fmt.Sprintf("the command ended with exit code %d", e.code)
}

// exec runs a command and tells its check. Signals are the command's, so ctx, which they end, is not its.
func (p *Program) exec(ctx context.Context, check string, words []string) error {
	ctx = context.WithoutCancel(ctx)
	teller := &teller{program: p, check: check, run: strings.ToLower(rand.Text()[:12])}
	defer teller.close()
	started := teller.start(ctx)
	tail := &tail{limit: checkin.BodyMax}
	code, err := p.runCommand(ctx, words, tail)
	<-started // the end is told after the start
	body := tail.String()
	if err != nil {
		p.note("%s: run %q: %v", p.name, words[0], err)
		body += err.Error()
	}
	teller.end(ctx, code, body, tail.written)
	if code == 0 {
		return nil
	}
	return exitCodeError{code}
}

// runCommand runs a command with our own input and output, and returns the exit code that a shell would have.
func (p *Program) runCommand(ctx context.Context, words []string, tail *tail) (int, error) {
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Stdin, command.Stdout, command.Stderr = p.stdin, io.MultiWriter(p.stdout, tail), io.MultiWriter(p.stderr, tail)
	command.WaitDelay = backgroundGrace
	signals := make(chan os.Signal, 8) // from here on they do not end us
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		switch {
		case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
			return notFound, err
		default:
			return notExecutable, err
		}
	}
	over := make(chan struct{})
	defer close(over)
	go passSignals(command.Process, signals, over, isTerminal(p.stdin))
	err := command.Wait()
	if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return bySignal + int(status.Signal()), nil
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) && command.ProcessState.ExitCode() == 0 {
		return 0, nil // only its output could not be passed on, which is its reader's affair
	}
	return command.ProcessState.ExitCode(), nil
}

// passSignals hands signals on to a command. At a terminal Ctrl-C and its like reach the command by themselves.
func passSignals(command *os.Process, signals <-chan os.Signal, over <-chan struct{}, terminal bool) {
	for {
		select {
		case s := <-signals:
			if !terminal || s != syscall.SIGINT && s != syscall.SIGQUIT {
				_ = command.Signal(s) // fails when it has ended
			}
		case <-over:
			return
		}
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int

	mu      sync.Mutex
	kept    []byte
	written int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written += int64(len(p))
	t.kept = append(t.kept, p[max(0, len(p)-t.limit):]...)
	if len(t.kept) > 2*t.limit {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-t.limit:]...)
	}
	return len(p), nil
}

// String is the end.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.kept[max(0, len(t.kept)-t.limit):]), "")
}

// teller tells a check of one run. What goes wrong is said once and never keeps the command from anything.
type teller struct {
	program    *Program
	check, run string

	mu     sync.Mutex
	pool   *pgxpool.Pool
	pinger checkin.Pinger
}

// start tells the start beside the command, and closes the channel when that is done.
func (t *teller) start(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.tell(ctx, checkin.Ping{Kind: checkin.Start})
	}()
	return done
}

func (t *teller) end(ctx context.Context, code int, body string, written int64) {
	ping := checkin.Ping{Kind: checkin.Success, ExitStatus: &code, Body: body, BodyBytes: written}
	if code != 0 {
		ping.Kind = checkin.Fail
	}
	t.tell(ctx, ping)
}

func (t *teller) tell(ctx context.Context, ping checkin.Ping) {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	host, _ := os.Hostname() // only shown to people
	ping.RunID, ping.Source = t.run, strings.TrimSpace("exec "+host)
	pinger, err := t.connect(ctx)
	if err == nil {
		err = pinger.Ping(ctx, ping)
	}
	if err != nil && !t.program.quiet {
		t.program.note("%s: tell check %s of the command's %s: %v", t.program.name, shownCheck(t.check), map[bool]string{true: "start", false: "end"}[ping.Kind == checkin.Start], err)
	}
}

// shownCheck hides an address, which is a secret.
func shownCheck(check string) string {
	if strings.Contains(check, "://") {
		return "by its address"
	}
	return fmt.Sprintf("%q", check)
}

// connect finds the way to the check. A way that could not be found is looked for again at the end of the command.
func (t *teller) connect(ctx context.Context) (checkin.Pinger, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pinger != nil {
		return t.pinger, nil
	}
	if strings.Contains(t.check, "://") {
		pinger, err := checkin.HTTP(t.check)
		t.pinger = pinger
		return pinger, err
	}
	cfg, err := t.program.config()
	if err != nil {
		return nil, err
	}
	if cfg.URL != "" && cfg.Ping.Key != "" {
		t.pinger, err = checkin.HTTP(checkin.NameAddress(cfg.URL, cfg.Ping.Key, t.check))
		return t.pinger, err
	}
	if cfg.Database.URL == "" {
		return nil, errors.New("give the check's address, or set TOWPATH_URL and TOWPATH_PING_KEY, or TOWPATH_DATABASE_URL")
	}
	if t.pool == nil {
		if t.pool, err = cfg.OpenPool(ctx, t.program.name+" exec"); err != nil {
			return nil, err
		}
	}
	t.pinger = checkin.Database(t.pool, t.check)
	return t.pinger, nil
}

func (t *teller) close() {
	if t.pool != nil {
		t.pool.Close()
	}
}
