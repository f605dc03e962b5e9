// Package crash proves with real processes that nothing is lost and nothing happens twice: workers, leaders, producers
// and Postgres are killed under load, stopped for longer than anybody waits for them, and told to end.
//
// # What is held to be true
//
// At every moment, in one snapshot of the database, for each queue and kind: what was enqueued is what has ended plus
// what is waiting or running, and the attempts that began are those that ended plus those that run. Nobody owns a
// running job who has been dead for longer than rescueLimit. And when all is quiet again:
//
//   - every job whose transaction was committed has ended, in the state that it should, and nothing else ever ran;
//   - an effect written in the transaction that completes its job is there exactly once;
//   - counters, rows, attempts and recorded errors say the same;
//   - no process is left, and each has left its row as one that stopped or died.
//
// # How to run it
//
// The short form is part of `go test ./...` and takes about a minute, most of it waiting for the dead to be missed. The
// long form adds longer outages and a storm of random events over a few hundred thousand jobs and three processes:
//
//	go test ./internal/crash -timeout 2h -v -crash.long
//	go test ./internal/crash -timeout 2h -v -crash.long -run Storm -crash.jobs 2000000
//	go test ./internal/crash -v -run SchedulesWithoutDatabase -crash.away 5m
//
// TOWPATH_CRASH_LONG=1 in the environment does the same as -crash.long. A failure prints its seed, and -crash.seed
// repeats what depends on it: what is enqueued, what fails, what is done to whom and when. What the machine makes of it
// differs each time. A test's processes log to its artifact directory (-artifacts keeps it); the end of each log is
// printed after a failure.
//
// The processes are this test binary, run again as the program of an application on Towpath.
package crash

import (
	"flag"
	"io"
	"os"
	"testing"
	"time"

	"github.com/towpath/towpath/cmd"
)

var (
	longFlag = flag.Bool("crash.long", os.Getenv("TOWPATH_CRASH_LONG") == "1", "run the long form: minutes, with many kills")
	seedFlag = flag.Uint64("crash.seed", 0, "repeat what was done with this seed; 0: a new one")
	awayFlag = flag.Duration("crash.away", 20*time.Second, "how long the database is away while schedules wait")
	jobsFlag = flag.Int("crash.jobs", 300_000, "number of jobs in the storm of the long form")
)

// childEnv makes the test binary be the application.
const childEnv = "CRASH_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		go endWithParent()
		os.Exit(cmd.Main(newBundle(), cmd.WithName("crash"), cmd.WithCommands(produceCommand)))
	}
	flag.Parse()
	// The tests wait most of the time, for deadlines that run side by side.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		if err := parallel.Value.Set("8"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// endWithParent ends this process when the tests have ended in any way: the kernel closes their end of the pipe.
func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
}
