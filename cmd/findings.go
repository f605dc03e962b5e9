package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// How grave a finding is: a problem fails `status`, a note does not.
const (
	levelProblem = "problem"
	levelNote    = "note"
)

// finding is one thing that is wrong, or that one should know.
type finding struct {
	Level   string `json:"level" about:"problem, or note, which does not count for the exit code"`
	Code    string `json:"code" about:"a word for programs: no_process, no_leader, dead_process, silent_process, queue_without_process, old_job, queue_paused, unknown_kind, failing_kind, alert"`
	Subject string `json:"subject" about:"the queue, the kind, the process or the alert's subject; empty if it is about all"`
	Text    string `json:"text" about:"what is wrong, in words"`
	Mend    string `json:"mend" about:"what to do about it"`
}

// limits are from when on something is wrong.
type limits struct {
	oldest  time.Duration // an available job that has been due for longer
	failing float64       // a kind that fails more often, of at least failingLeast attempts in the last hour
}

// failingLeast is from how many failed attempts on a kind counts as failing.
const failingLeast = 10

// deadFor is how long a process that was given up is named; its row stays for a day.
const deadFor = 15 * time.Minute

// A check looks for one sort of findings. Whoever has something new to find adds a check to checks.
type check func(ctx context.Context, db store.DB, seen *overview, limits limits) ([]finding, error)

var checks = []check{checkProcesses, checkQueues, checkKinds, checkAlerts}

// findings runs all checks over what has been read.
func findings(ctx context.Context, db store.DB, seen *overview, limits limits) ([]finding, error) {
	all := []finding{}
	for _, look := range checks {
		found, err := look(ctx, db, seen, limits)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func checkProcesses(_ context.Context, _ store.DB, seen *overview, _ limits) ([]finding, error) {
	var found []finding
	live := 0
	for _, process := range seen.processes {
		name := fmt.Sprintf("%s pid %d", process.Host, process.PID)
		switch process.Status {
		case "live":
			live++
		case "silent":
			found = append(found, finding{
				levelProblem, "silent_process", name, fmt.Sprintf("process %s gives no sign of life since %s", name, moment(&process.BeatAt)),
				"Look whether it runs and reaches the database; after half a minute the others take its jobs back.",
			})
		case "dead":
			if process.DeadAt != nil && time.Since(*process.DeadAt) > deadFor {
				continue // an alert finds those that still have jobs
			}
			found = append(found, finding{
				levelProblem, "dead_process", name, fmt.Sprintf("process %s was given up at %s, with %d jobs when last seen", name, moment(process.DeadAt), process.Running),
				"A live process brings them back within seconds; if this stays, none is alive or leads.",
			})
		}
	}
	switch {
	case live == 0 && seen.leader == nil: // else plain River's clients work
		found = append(found, finding{
			levelProblem, "no_process", "", "no process is alive: no job runs", "Start a worker and a scheduler.",
		})
	case seen.leader == nil:
		found = append(found, finding{
			levelProblem, "no_leader", "", "no process leads: scheduled jobs and retries do not become due",
			"Start a scheduler; a worker leads too unless TOWPATH_LEAD is off. A new leader takes some seconds.",
		})
	}
	return found, nil
}

func checkQueues(_ context.Context, _ store.DB, seen *overview, limits limits) ([]finding, error) {
	var found []finding
	for _, queue := range seen.queues {
		switch {
		case queue.Status == "paused":
			by := ""
			if queue.PausedBy != nil {
				by = " by " + *queue.PausedBy
			}
			found = append(found, finding{
				levelNote, "queue_paused", queue.Queue, fmt.Sprintf("queue %s is paused since %s%s", queue.Queue, moment(queue.PausedAt), by),
				"towpath queues resume " + queue.Queue,
			})
		case queue.Status == "missing":
			found = append(found, finding{
				levelProblem, "queue_without_process", queue.Queue, fmt.Sprintf("%s of queue %s wait, and no live process works it", jobCount(int(queue.Available)), queue.Queue),
				"Start a worker with the queue in TOWPATH_QUEUES.",
			})
		case queue.OldestSeconds != nil && *queue.OldestSeconds > limits.oldest.Seconds():
			found = append(found, finding{
				levelProblem, "old_job", queue.Queue, fmt.Sprintf("the first job of queue %s has been waiting for %s, longer than %s", queue.Queue, span(queue.OldestSeconds), config.Duration(limits.oldest)),
				"Give the queue more slots or processes, or look what its jobs wait for with `towpath why`.",
			})
		}
	}
	return found, nil
}

func checkKinds(_ context.Context, _ store.DB, seen *overview, limits limits) ([]finding, error) {
	var found []finding
	for _, kind := range seen.kinds {
		if kind.Waiting > 0 && kind.Processes == 0 {
			found = append(found, finding{
				levelProblem, "unknown_kind", kind.Kind, fmt.Sprintf("%s of kind %s wait, and no live process has a worker for it", jobCount(int(kind.Waiting)), kind.Kind),
				"Deploy a program that has the worker, or cancel them: towpath jobs cancel --kind " + kind.Kind,
			})
		}
		if kind.FailureRatio != nil && *kind.FailureRatio >= limits.failing && kind.Failed >= failingLeast {
			found = append(found, finding{
				levelProblem, "failing_kind", kind.Kind, fmt.Sprintf("%.0f%% of the attempts of kind %s failed in the last hour", *kind.FailureRatio*100, kind.Kind),
				"See the errors: towpath failures --kind " + kind.Kind,
			})
		}
	}
	return found, nil
}

// checkAlerts finds what fires, as a problem unless it is silenced or for information.
func checkAlerts(_ context.Context, _ store.DB, seen *overview, _ limits) ([]finding, error) {
	var found []finding
	for _, alert := range seen.firing {
		one := finding{levelProblem, "alert", alert.Subject, fmt.Sprintf("%s (%s since %s)", alert.Summary, alert.Rule, moment(&alert.Since)), alert.Detail}
		switch {
		case alert.SilencedUntil != nil:
			one.Level, one.Text = levelNote, one.Text+", silenced until "+moment(alert.SilencedUntil)
		case alert.Severity == "info":
			one.Level = levelNote
		}
		if one.Mend == "" {
			one.Mend = fmt.Sprintf("See towpath alerts show %d", alert.ID)
		}
		found = append(found, one)
	}
	return found, nil
}
