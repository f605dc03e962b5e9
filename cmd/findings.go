package cmd

import (
	"context"
	"fmt"
	"slices"
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

var checks = []check{checkProcesses, checkQueues, checkKinds}

// findings runs all checks over what has been read, and adds what fires.
func findings(ctx context.Context, db store.DB, seen *overview, limits limits) ([]finding, error) {
	all := []finding{}
	for _, look := range checks {
		found, err := look(ctx, db, seen, limits)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return addAlerts(all, seen), nil
}

func checkProcesses(_ context.Context, _ store.DB, seen *overview, _ limits) ([]finding, error) {
	var found []finding
	live := 0
	for _, process := range seen.processes {
		name := process.name()
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

// ruleOf is the rule whose alert tells of the same trouble as a finding with the code, about the same queue, kind, process
// or leader.
var ruleOf = map[string]string{
	"no_process": "no_leader", "no_leader": "no_leader", "dead_process": "process_gone", "silent_process": "process_gone",
	"queue_without_process": "queue_old", "old_job": "queue_old", "failing_kind": "kind_failing",
}

// addAlerts adds what fires to what the checks have found: to the finding that names the trouble already, else as a finding
// of its own, which is a problem unless it is silenced or for information. A silence ends messages, not the trouble, so what
// a check calls a problem stays one.
func addAlerts(found []finding, seen *overview) []finding {
	for _, alert := range seen.firing {
		fires := fmt.Sprintf(" (%s since %s, alert %d)", alert.Rule, moment(&alert.Since), alert.ID)
		if alert.SilencedUntil != nil {
			fires += ", silenced until " + moment(alert.SilencedUntil)
		}
		if at := slices.IndexFunc(found, func(f finding) bool { return seen.tells(alert, f) }); at >= 0 {
			found[at].Text += fires
			continue
		}
		one := finding{levelProblem, "alert", alert.Subject, alert.Summary + fires, alert.Detail}
		if alert.SilencedUntil != nil || alert.Severity == "info" {
			one.Level = levelNote
		}
		if one.Mend == "" {
			one.Mend = fmt.Sprintf("See towpath alerts show %d", alert.ID)
		}
		found = append(found, one)
	}
	return found
}

// tells reports whether an alert is about the trouble of a finding. Alerts name a process by its client's id.
func (o *overview) tells(alert alertView, f finding) bool {
	if ruleOf[f.Code] != alert.Rule {
		return false
	}
	switch alert.Rule {
	case "no_leader": // there is one at most
		return true
	case "process_gone":
		return slices.ContainsFunc(o.processes, func(p processView) bool { return p.ClientID == alert.Subject && p.name() == f.Subject })
	default:
		return alert.Subject == f.Subject
	}
}
