// Package alert tells people when something is wrong, with nothing but the database.
//
// # Contract
//
//   - A rule says from when on something is wrong: towpath.alert_rules. All have defaults, so nothing has to be configured.
//     An alert is a rule about one subject, such as a queue or a schedule. It is pending while something is wrong and not
//     yet for long enough, then firing, and resolved when that is over. Each change is a row of towpath.alert_event.
//   - Rules.Advance, Book.Plan and what they call are pure: they turn an alert, an observation and a time into the next
//     state, and alerts into the messages that are due. A message tells that alerts fire, that they still do (a reminder),
//     or that they are over. Alerts of one title that change within a short wait share a message. What is over before
//     anybody was told of it is not told.
//   - While a silence covers an alert nobody is told of it; what still fires when the silence ends is told then, and so is
//     a recovery that came meanwhile. A rule that is switched off tells nothing, not even a recovery.
//   - An Evaluator looks at the database every few seconds, in one process at a time: the leader, or any process with the
//     role api when nobody leads. A change of state, its event and the jobs that deliver the message are one statement,
//     which has no effect if another evaluator has written since this one looked. So nobody's death doubles or loses a
//     message, and a second evaluator does no harm.
//   - What cannot be looked at leaves its alerts as they are.
package alert

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// State is how an alert stands.
type State string

// The states of an alert. Unknown is that of one that never was.
const (
	Unknown  State = ""
	Pending  State = "pending"
	Firing   State = "firing"
	Resolved State = "resolved"
)

// settle is how long something must be well again before its alert is over, at most: a rule whose condition must hold for
// less demands as much of its end.
const settle = time.Minute

// Rule says from when on something is wrong, and who is told. All of a name make up a rule with its exceptions.
type Rule struct {
	Name     string
	Subject  string // those that it is about, in which * stands for any characters: * alone but for an exception
	Family   string // rules of one family are about the same subjects, and of one subject one of them is told
	Title    string
	Severity string
	Enabled  bool

	Threshold *float64      // nil: whatever is observed is wrong
	After     time.Duration // how long it must be wrong
	Reminder  time.Duration // 0: none
	Notifiers []string      // nil: all that are configured
}

// Exceptions are a rule and its exceptions, the one first that goes before the others.
type Exceptions []*Rule

// sort has patterns that say more go before those that say less, as in towpath.alert_rule_for.
func (e Exceptions) sort() {
	said := func(r *Rule) int { return utf8.RuneCountInString(strings.ReplaceAll(r.Subject, "*", "")) }
	slices.SortFunc(e, func(x, y *Rule) int { return cmp.Or(said(y)-said(x), strings.Compare(x.Subject, y.Subject)) })
}

// For returns the rule that holds for a subject, the one that is exactly its name if there is one; nil if none does.
func (e Exceptions) For(subject string) *Rule {
	for _, rule := range e {
		if rule.Subject == subject {
			return rule
		}
	}
	for _, rule := range e {
		if matches(rule.Subject, subject) {
			return rule
		}
	}
	return nil
}

// Observation is what was seen of one subject. What was looked at and is not among the observations is well.
type Observation struct {
	Subject string
	Measure float64   // compared with the threshold
	Brewing bool      // it is about to be wrong: pending, however long
	Since   time.Time // since when it is so, if that is known

	Value, Summary, Detail, Link string // for people
}

// Alert is the state of a rule about a subject.
type Alert struct {
	Rule, Subject string
	State         State
	Since         time.Time // of the state
	BadSince      time.Time // zero while it is only brewing
	WellSince     time.Time // while it still fires; else zero

	Value, Summary, Detail, Link string

	Told   bool      // somebody was told that it fires, and not that it is over
	ToldAt time.Time // the last message about it
	ToldTo []string
	SeenAt time.Time // when it was written
}

// Key names the subject to those who are told; rules of one family share it.
func (r *Rule) Key(subject string) string { return r.Family + ":" + subject }

// bad reports whether an observation is beyond the threshold.
func (r *Rule) bad(seen *Observation) bool {
	return seen != nil && !seen.Brewing && (r.Threshold == nil || seen.Measure >= *r.Threshold)
}

// Advance returns an alert after its subject was looked at; seen is nil if there was nothing to see.
func (r *Rule) Advance(was Alert, seen *Observation, now time.Time) Alert {
	next := was
	if !r.Enabled {
		if next.active() {
			next.turn(Resolved, now)
		}
		next.Told, next.ToldTo = false, nil
		return next
	}
	brewing := seen != nil && seen.Brewing
	switch {
	case r.bad(seen):
		next.show(seen)
		next.WellSince = time.Time{}
		if was.State == Firing {
			break
		}
		next.BadSince = begin(was, seen, now)
		if now.Sub(next.BadSince) >= r.After {
			next.turn(Firing, now)
		} else if was.State != Pending {
			next.turn(Pending, now)
		}
	case was.State == Firing:
		if next.WellSince.IsZero() {
			next.WellSince = now
		}
		if now.Sub(next.WellSince) >= min(r.After, settle) {
			next.turn(Resolved, now)
			next.Value = r.wellValue(next.Value)
		}
	case brewing:
		next.show(seen)
		next.BadSince = time.Time{}
		if was.State != Pending {
			next.turn(Pending, now)
		}
	case was.State == Pending:
		next.turn(Resolved, now)
		next.Value = r.wellValue(next.Value)
	}
	return next
}

// begin is since when something is wrong that does not fire yet.
func begin(was Alert, seen *Observation, now time.Time) time.Time {
	switch {
	case !seen.Since.IsZero() && seen.Since.Before(now):
		return seen.Since
	case was.State == Pending && !was.BadSince.IsZero():
		return was.BadSince
	default:
		return now
	}
}

// wellValue is the figure of what is over: where the figure is a status, that is well again.
func (r *Rule) wellValue(last string) string {
	if last == "-1" || last == "0" && r.Threshold == nil {
		return "1"
	}
	return last
}

func (a *Alert) turn(to State, now time.Time) {
	a.State, a.Since, a.WellSince = to, now, time.Time{}
}

func (a *Alert) show(seen *Observation) {
	a.Value, a.Summary, a.Detail, a.Link = seen.Value, seen.Summary, seen.Detail, seen.Link
}

func (a *Alert) active() bool { return a.State == Pending || a.State == Firing }

// due is when the passing of time alone changes the state of a pending alert; zero for never.
func (r *Rule) due(a *Alert) time.Time {
	if a.State != Pending || a.BadSince.IsZero() {
		return time.Time{}
	}
	return a.BadSince.Add(r.After)
}

// Silence keeps alerts from being told.
type Silence struct {
	Rule, Subject string // in which * stands for any characters
	Ends          time.Time
}

// Covers reports whether the silence holds for an alert at a moment.
func (s *Silence) Covers(a *Alert, now time.Time) bool {
	return now.Before(s.Ends) && matches(s.Rule, a.Rule) && matches(s.Subject, a.Subject)
}

// matches is towpath.glob_matches.
func matches(pattern, value string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == value
	}
	value, ok := strings.CutPrefix(value, parts[0])
	if !ok {
		return false
	}
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		if _, value, ok = strings.Cut(value, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(value, last)
}

// union adds names to a list that has none twice.
func union(list []string, names ...string) []string {
	list = slices.Clone(list)
	for _, name := range names {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
