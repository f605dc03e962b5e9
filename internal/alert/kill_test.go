package alert_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/alert"
)

const (
	// childEnv makes the test binary be an evaluator of the database that it names, which can be killed.
	childEnv = "ALERT_TEST_CHILD"
	// childClock is the time of that evaluator.
	childClock = "ALERT_TEST_CLOCK"
	// childStops has it wait for its end between what it has seen and what it writes.
	childStops = "ALERT_TEST_STOPS"
	// childName is how its connections can be told.
	childName = "killed evaluator"
	// childSaw is what it says when it has seen everything.
	childSaw = "saw"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childEnv); url != "" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // ends with the tests, in any way
			os.Exit(3)
		}()
		if err := evaluateOnce(url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	m.Run()
}

// evaluateOnce makes one round in the process that is to be killed.
func evaluateOnce(url string) error {
	now, err := time.Parse(time.RFC3339Nano, os.Getenv(childClock))
	if err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return err
	}
	config.ConnConfig.RuntimeParams["application_name"] = childName
	ctx := context.Background()
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	e := alert.New(alert.Config{
		Pool: pool, ID: "child", Logger: slog.New(slog.DiscardHandler), Every: 15 * time.Second, Wait: 10 * time.Second, Notifiers: []string{"slack"},
		Clock: func(context.Context) (time.Time, error) { return now, nil },
	})
	alert.BeforeSave(e, func() {
		fmt.Println(childSaw) //nolint:forbidigo // the test reads it
		if os.Getenv(childStops) != "" {
			select {}
		}
	})
	_, err = e.Round(ctx)
	return err
}

// child is an evaluator in a process of its own.
type child struct {
	r     *rig
	cmd   *exec.Cmd
	ended chan struct{}
}

// spawn starts an evaluator that makes one round, and returns when it has seen everything and writes, or stops there.
func (r *rig) spawn(stops bool) *child {
	r.t.Helper()
	now, err := r.clock(r.t.Context())
	require.NoError(r.t, err)
	c := &child{r: r, cmd: exec.CommandContext(context.WithoutCancel(r.t.Context()), os.Args[0]), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childEnv+"="+r.pool.Config().ConnString(), childClock+"="+now.Format(time.RFC3339Nano))
	if stops {
		c.cmd.Env = append(c.cmd.Env, childStops+"=1")
	}
	input, err := c.cmd.StdinPipe()
	require.NoError(r.t, err)
	out, err := c.cmd.StdoutPipe()
	require.NoError(r.t, err)
	c.cmd.Stderr = r.t.Output()
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(r.t, c.cmd.Start())
	said := make([]byte, len(childSaw))
	_, err = io.ReadFull(out, said) // until then: Wait closes the pipe
	go func() {
		_ = c.cmd.Wait() // killed
		close(c.ended)
	}()
	r.t.Cleanup(func() {
		input.Close()
		<-c.ended
	})
	require.NoError(r.t, err)
	require.Equal(r.t, childSaw, string(said))
	return c
}

// kill kills the process, which must have been alive.
func (c *child) kill() {
	c.r.t.Helper()
	require.NoError(c.r.t, syscall.Kill(c.cmd.Process.Pid, syscall.SIGKILL))
	<-c.ended
	require.Equal(c.r.t, syscall.SIGKILL, c.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "it was alive") //nolint:forcetypeassert // on all that we run on
}

// gone waits until the server has noticed the death.
func (c *child) gone() {
	c.r.t.Helper()
	c.awaitSessions(`count(*) = 0`)
}

func (c *child) awaitSessions(condition string) {
	c.r.t.Helper()
	require.Eventually(c.r.t, func() bool {
		return one[bool](c.r.t, c.r.pool, `SELECT `+condition+` FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`, childName)
	}, time.Minute, 10*time.Millisecond)
}

// The process of an evaluator is killed with a message in hand: before it writes, when nothing has happened; and in the
// midst of the statement, which the server then ends without it. Either way the next one sees to it that all is told once.
func TestKilledEvaluator(t *testing.T) {
	t.Parallel()
	firing := "slack firing schedule_missed " + weekly + " -1"
	for name, test := range map[string]struct {
		stops     bool
		sentAlone string // when the dead one's statement has ended and nobody has looked since
	}{
		"BeforeItWrites": {true, ""},
		"WhileItWrites":  {false, firing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.putWeekly()
			r.setWeekly("missed")
			r.round(r.evaluator("slack"))
			r.pass(10 * time.Second)

			// The row that it has to lock is held, so that it cannot have ended before it dies.
			tx, err := r.pool.Begin(t.Context())
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), `SELECT * FROM towpath.alert_round FOR UPDATE`)
			require.NoError(t, err)
			c := r.spawn(test.stops)
			if !test.stops {
				c.awaitSessions(`count(*) FILTER (WHERE wait_event_type = 'Lock' AND query LIKE '%save_alerts%') > 0`)
			}
			c.kill()
			require.Empty(t, r.sent())
			require.NoError(t, tx.Rollback(t.Context()))
			c.gone()
			require.Equal(t, test.sentAlone, r.sent(), "all of it or nothing")
			require.Equal(t, test.sentAlone != "", one[bool](t, r.pool, `SELECT told FROM towpath.alerts`))

			next := r.evaluator("slack")
			for range 4 {
				r.round(next)
				r.pass(5 * time.Second)
			}
			require.Equal(t, firing, r.sent())
			require.Equal(t, "schedule_missed "+weekly+" firing", r.states())
		})
	}
}
