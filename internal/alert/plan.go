package alert

import (
	"cmp"
	"slices"
	"time"

	"github.com/towpath/towpath/internal/notify"
)

// Book is what decides about messages beside the alerts themselves.
type Book struct {
	Rules     map[string]Exceptions
	Silences  []Silence
	Notifiers []string      // that are configured
	Wait      time.Duration // how long a change waits for others to share its message
}

// of returns the rule that holds for an alert; nil if there is none.
func (b *Book) of(a *Alert) *Rule { return b.Rules[a.Rule].For(a.Subject) }

// Delivery is a message to one notifier.
type Delivery struct {
	Notifier string
	Status   string
	Severity string
	Title    string
	Key      string
	Group    string // what its alerts have in common
	Alerts   []*Alert
}

// change is something that one alert gives reason to tell.
type change struct {
	alert   *Alert
	rule    *Rule
	status  string
	since   time.Time
	targets []string
}

// Plan returns the messages that are due, and notes in the alerts that they are told. Next is when the next one will be
// due if nothing changes; zero for never.
func (b *Book) Plan(alerts []*Alert, now time.Time) (due []Delivery, next time.Time) {
	turn := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	told := b.tell(b.firing(alerts, now, turn), now, turn)
	told = append(told, b.tell(b.resolved(alerts, now, turn), now, turn)...)
	return told, next
}

// firing are the alerts of which somebody has to be told that they fire, or still fire.
func (b *Book) firing(alerts []*Alert, now time.Time, turn func(time.Time)) (changes []change) {
	for _, a := range alerts {
		rule := b.of(a)
		if rule == nil || a.State != Firing {
			continue
		}
		c := change{alert: a, rule: rule, status: notify.StatusFiring, since: a.Since, targets: b.targets(rule)}
		if a.Told {
			if rule.Reminder <= 0 {
				continue
			}
			// A reminder is due at its moment, and waits for nobody.
			c.status, c.since = notify.StatusReminder, a.ToldAt.Add(rule.Reminder-b.Wait)
		}
		if len(c.targets) == 0 || b.silenced(a, now, turn) {
			continue
		}
		changes = append(changes, c)
	}
	return changes
}

// resolved are the alerts of which somebody has to be told that they are over. Where another rule of the family fires for
// the same subject, it is not: that one inherits who has to be told in the end.
func (b *Book) resolved(alerts []*Alert, now time.Time, turn func(time.Time)) (changes []change) {
	firing := make(map[string]*Alert)
	for _, a := range alerts {
		if rule := b.of(a); rule != nil && a.State == Firing && (a.Told || len(b.targets(rule)) > 0) {
			firing[rule.Key(a.Subject)] = a
		}
	}
	for _, a := range alerts {
		rule := b.of(a)
		if rule == nil || a.State != Resolved || !a.Told {
			continue
		}
		if heir := firing[rule.Key(a.Subject)]; heir != nil {
			if heir.Told {
				heir.ToldTo = union(heir.ToldTo, a.ToldTo...)
				a.Told, a.ToldTo = false, nil
			}
			continue
		}
		var targets []string
		for _, name := range a.ToldTo {
			if slices.Contains(b.Notifiers, name) {
				targets = append(targets, name)
			}
		}
		if b.silenced(a, now, turn) {
			continue
		}
		if len(targets) == 0 {
			a.Told, a.ToldTo = false, nil
			continue
		}
		changes = append(changes, change{alert: a, rule: rule, status: notify.StatusResolved, since: a.Since, targets: targets})
	}
	return changes
}

// targets are the notifiers that tell what a rule finds.
func (b *Book) targets(rule *Rule) []string {
	if rule.Notifiers == nil {
		return b.Notifiers
	}
	var found []string
	for _, name := range rule.Notifiers {
		if slices.Contains(b.Notifiers, name) {
			found = append(found, name)
		}
	}
	return found
}

func (b *Book) silenced(a *Alert, now time.Time, turn func(time.Time)) bool {
	silenced := false
	for i := range b.Silences {
		if b.Silences[i].Covers(a, now) {
			turn(b.Silences[i].Ends)
			silenced = true
		}
	}
	return silenced
}

// tell makes messages of changes: those of one title and status wait for each other, and go together when the first has
// waited for long enough.
func (b *Book) tell(changes []change, now time.Time, turn func(time.Time)) (due []Delivery) {
	groups := make(map[[2]string][]change)
	var order [][2]string
	for _, c := range changes {
		key := [2]string{c.rule.Title, c.status}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], c)
	}
	slices.SortFunc(order, func(x, y [2]string) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	for _, key := range order {
		group := groups[key]
		if key[1] == notify.StatusReminder {
			group = slices.DeleteFunc(group, func(c change) bool {
				turn(c.since.Add(b.Wait))
				return c.since.Add(b.Wait).After(now)
			})
		}
		if len(group) == 0 {
			continue
		}
		first := slices.MinFunc(group, func(x, y change) int { return x.since.Compare(y.since) })
		if ripe := first.since.Add(b.Wait); ripe.After(now) {
			turn(ripe)
			continue
		}
		due = append(due, b.deliveries(group, now)...)
	}
	return due
}

// deliveries are the messages of one group, one for each notifier; of those that open an incident for each subject, one
// for each alert.
func (b *Book) deliveries(group []change, now time.Time) (due []Delivery) {
	slices.SortFunc(group, func(x, y change) int {
		return cmp.Or(cmp.Compare(rank(x.rule.Severity), rank(y.rule.Severity)), cmp.Compare(x.rule.Name, y.rule.Name), cmp.Compare(x.alert.Subject, y.alert.Subject))
	})
	for _, name := range b.Notifiers {
		var mine []change
		for _, c := range group {
			if slices.Contains(c.targets, name) {
				mine = append(mine, c)
			}
		}
		if notify.OpensIncidents(name) {
			for i := range mine {
				due = append(due, message(name, mine[i:i+1]))
			}
		} else if len(mine) > 0 {
			due = append(due, message(name, mine))
		}
	}
	for _, c := range group {
		c.alert.ToldAt = now
		if c.status == notify.StatusResolved {
			c.alert.Told, c.alert.ToldTo = false, nil
			continue
		}
		c.alert.Told, c.alert.ToldTo = true, union(c.alert.ToldTo, c.targets...)
	}
	return due
}

func message(notifier string, changes []change) Delivery {
	first := changes[0]
	m := Delivery{
		Notifier: notifier, Status: first.status, Severity: first.rule.Severity, Title: first.rule.Title,
		Key: first.rule.Key(first.alert.Subject), Group: first.rule.Name,
	}
	for _, c := range changes {
		m.Alerts = append(m.Alerts, c.alert)
		if c.rule.Name != m.Group {
			m.Group = first.rule.Title
		}
	}
	if len(changes) > 1 {
		m.Key = first.rule.Title
	}
	return m
}

func rank(severity string) int {
	return slices.Index([]string{"critical", "warning", "info"}, severity)
}
