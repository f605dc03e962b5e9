package alert

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// leaderSubject is whom the rule no_leader is about.
const leaderSubject = "leader"

// sight is what was looked at in a round: the observations of each rule, by subject. A rule that is not among them was
// not looked at.
type sight map[string]map[string]*Observation

// look says that rules were looked at.
func (s sight) look(rules ...string) {
	for _, rule := range rules {
		if s[rule] == nil {
			s[rule] = make(map[string]*Observation)
		}
	}
}

// note keeps an observation of a rule; of two about one subject, the one that measures more.
func (s sight) note(rule string, o Observation) {
	s.look(rule)
	if before := s[rule][o.Subject]; before == nil || before.Brewing || !o.Brewing && o.Measure > before.Measure {
		s[rule][o.Subject] = &o
	}
}

// facts are the rules that store.AlertFacts is about.
func (s sight) facts(rules map[string]Exceptions, facts []store.AlertFact) {
	s.look("queue_old", "work_stuck", "no_leader", "process_gone",
		"schedule_late", "schedule_missed", "schedule_failed", "schedule_too_long", "check_late", "check_missed", "check_failed", "check_too_long",
		"probe_beyond", "probe_empty", "probe_failed", "probe_stale")
	for i := range facts {
		f := &facts[i]
		switch f.Source {
		case "queue":
			s.note("queue_old", Observation{
				Subject: f.Subject, Measure: f.Measure, Value: length(f.Measure), Link: link("queues", f.Subject),
				Summary: fmt.Sprintf("The first job of queue %s has been waiting for %s", f.Subject, length(f.Measure)),
				Detail:  fmt.Sprintf("%s available, and the queue has %s. Give it more slots or processes, or ask towpath.why of a job.", are(f.N, "job"), count(f.Other, "slot")),
			})
		case "schedule", "check":
			s.status(f)
		case "probe":
			s.probe(f)
		case "leader":
			if f.N == 0 {
				s.note("no_leader", Observation{
					Subject: leaderSubject, Summary: "Nobody leads", Value: "0",
					Detail: "Scheduled jobs and retries do not become due, and schedules do not fire. Start a scheduler, or set TOWPATH_LEAD=on for a worker.",
				})
			}
		case "process":
			s.process(rules["process_gone"].For(f.Subject), f)
		case "running", "stuck":
			s.stuck(rules["work_stuck"].For(f.Subject), f)
		}
	}
}

// status notes a schedule or a check that is not in order.
func (s sight) status(f *store.AlertFact) {
	what, value := strings.ToUpper(f.Source[:1])+f.Source[1:], "-1"
	texts := map[string]string{
		"late": "is late, within its grace time", "missed": "was missed", "failed": "has failed", "too_long": "takes longer than it may",
	}
	if f.Word == "late" {
		value = "0"
	}
	o := Observation{
		Subject: f.Subject, Value: value, Summary: fmt.Sprintf("%s %s %s", what, f.Subject, texts[f.Word]), Detail: f.Note,
		Link: link(f.Source+"s", f.Subject),
	}
	if f.Since != nil {
		o.Since = *f.Since
	}
	if f.Source == "check" && f.Word == "failed" && f.N != 0 {
		o.Detail = strings.TrimSpace(fmt.Sprintf("Exit status %d. %s", f.N, f.Note))
	}
	s.note(f.Source+"_"+f.Word, o)
	if f.Word == "late" {
		o.Brewing = true
		s.note(f.Source+"_missed", o)
	}
}

// probe notes a probe that is not in order.
func (s sight) probe(f *store.AlertFact) {
	texts := map[string]string{
		"beyond": "is beyond its bounds", "empty": "has an empty source", "failed": "has failed", "stale": "has not run for two intervals",
	}
	o := Observation{Subject: f.Subject, Summary: fmt.Sprintf("Probe %s %s", f.Subject, texts[f.Word]), Detail: f.Note, Value: f.Word, Link: link("probes", f.Subject)}
	if f.Word == "beyond" && f.N > 0 {
		o.Value = strconv.FormatFloat(f.Measure, 'f', -1, 64)
	}
	if f.Since != nil {
		o.Since = *f.Since
	}
	s.note("probe_"+f.Word, o)
}

// process notes a process that gives no sign of life, or that was given up.
func (s sight) process(rule *Rule, f *store.AlertFact) {
	o := Observation{Subject: f.Subject, Value: length(f.Measure), Link: "/processes"}
	if rule.Threshold != nil {
		o.Measure = *rule.Threshold
	}
	if f.Since != nil {
		o.Since = *f.Since
	}
	switch {
	case f.Word == "silent":
		o.Summary = fmt.Sprintf("Process %s (%s) gives no sign of life", f.Subject, f.Note)
		o.Detail = fmt.Sprintf("It ran %s when last seen. Does it run, and does it reach the database? After half a minute others take its jobs back.", count(f.N, "job"))
	case f.N > 0:
		o.Summary = fmt.Sprintf("Process %s (%s) is dead and still has jobs", f.Subject, f.Note)
		o.Detail = fmt.Sprintf("%d of its jobs are still running in name. A live process brings them back within seconds; if this stays, none is alive.", f.N)
	case f.Other == 0 && f.Measure < o.Measure:
		o.Summary = fmt.Sprintf("Process %s (%s) went silent and was given up", f.Subject, f.Note)
		o.Detail = "Its jobs were taken back. No other process has started on its host since."
	default:
		return
	}
	s.note("process_gone", o)
}

// stuck notes a kind with attempts that do not end.
func (s sight) stuck(rule *Rule, f *store.AlertFact) {
	o := Observation{Subject: f.Subject, Measure: f.Measure, Value: length(f.Measure), Link: link("kinds", f.Subject)}
	if f.Source == "running" {
		o.Summary = fmt.Sprintf("%s of kind %s %s for %s", count(f.N, "attempt"), f.Subject, have(f.N, "been running"), length(f.Measure))
		o.Detail = fmt.Sprintf("The longest is job %d of queue %s. See what it does with `towpath jobs show %d`, or cancel it.", f.Other, f.Note, f.Other)
	} else {
		if rule.Threshold != nil {
			o.Measure = *rule.Threshold
		}
		o.Value = strconv.FormatInt(f.N, 10)
		o.Summary = fmt.Sprintf("%s of kind %s did not stop at the hard time limit", count(f.N, "handler"), f.Subject)
		o.Detail = fmt.Sprintf("In the last 15 minutes. Their slots were taken back, and they may still be running. The latest is job %d of queue %s.", f.Other, f.Note)
	}
	s.note("work_stuck", o)
}

// health are the rules that store.AlertHealth is about.
func (s sight) health(facts []store.HealthFact) {
	s.look("dead_rows", "old_transaction", "partitions_missing")
	for _, f := range facts {
		o := Observation{Subject: f.Subject, Measure: f.Measure, Link: "/health"}
		if f.Since != nil {
			o.Since = *f.Since
		}
		switch f.Source {
		case "dead_rows":
			o.Value = strconv.FormatFloat(f.Measure, 'f', 0, 64)
			o.Summary = fmt.Sprintf("Table %s has %s dead rows beside %d live ones", f.Subject, o.Value, f.N)
			o.Detail = "Vacuum does not keep up, or something holds it back: `towpath doctor` says what."
			s.note("dead_rows", o)
		case "transaction":
			o.Value = length(f.Measure)
			o.Summary = fmt.Sprintf("A transaction of database %s has been open for %s", f.Subject, o.Value)
			o.Detail = fmt.Sprintf("No row that died since can be removed. It is %s. End it by SELECT pg_terminate_backend(%d);", f.Note, f.N)
			s.note("old_transaction", o)
		case "partition":
			o.Value = strconv.FormatInt(f.N, 10)
			o.Summary = fmt.Sprintf("Table %s has no partition for %s", f.Subject, f.Note)
			o.Detail = "The leader should have made it. By hand: SELECT towpath.ensure_partitions();"
			s.note("partitions_missing", o)
		}
	}
}

// link is a path of the dashboard.
func link(what, name string) string { return "/" + what + "/" + url.PathEscape(name) }

// length writes seconds for people, no more exactly than they need it.
func length(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		d = d.Round(time.Hour)
	case d >= time.Hour:
		d = d.Round(time.Minute)
	case d >= 10*time.Second:
		d = d.Round(time.Second)
	default:
		d = d.Round(100 * time.Millisecond)
	}
	return config.Duration(d).String()
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}

func have(n int64, what string) string {
	if n == 1 {
		return "has " + what
	}
	return "have " + what
}

func are(n int64, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return count(n, what) + " are"
}
