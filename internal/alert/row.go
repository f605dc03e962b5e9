package alert

import (
	"time"

	"github.com/towpath/towpath/internal/store"
)

func rules(rows []store.RoundRule) map[string]Exceptions {
	all := make(map[string]Exceptions, len(rows))
	for i := range rows {
		row := &rows[i]
		rule := &Rule{
			Name: row.Name, Subject: row.Subject, Family: row.Family, Title: row.Title, Severity: row.Severity, Enabled: row.Enabled, Threshold: row.Threshold, After: row.After,
		}
		if row.Reminder != nil {
			rule.Reminder = *row.Reminder
		}
		if !row.EveryNotifier {
			rule.Notifiers = append([]string{}, row.Notifiers...)
		}
		all[row.Name] = append(all[row.Name], rule)
	}
	for _, rules := range all {
		rules.sort()
	}
	return all
}

func alertOf(row *store.StoredAlert) *Alert {
	a := &Alert{
		Rule: row.Rule, Subject: row.Subject, State: State(row.State), Since: row.Since, Value: row.Value, Summary: row.Summary, Detail: row.Detail,
		Link: row.Link, Told: row.Told, ToldTo: row.ToldTo, SeenAt: row.SeenAt,
	}
	for _, moment := range []struct {
		to   *time.Time
		from *time.Time
	}{{&a.BadSince, row.BadSince}, {&a.WellSince, row.WellSince}, {&a.ToldAt, row.ToldAt}} {
		if moment.from != nil {
			*moment.to = *moment.from
		}
	}
	return a
}

func stored(a *Alert) store.ChangedAlert {
	moment := func(at time.Time) *time.Time {
		if at.IsZero() {
			return nil
		}
		return &at
	}
	row := store.ChangedAlert{
		Rule: a.Rule, Subject: a.Subject, State: string(a.State), Since: a.Since, BadSince: moment(a.BadSince), WellSince: moment(a.WellSince), Value: a.Value,
		Summary: a.Summary, Detail: a.Detail, Link: a.Link, Told: a.Told, ToldAt: moment(a.ToldAt), ToldTo: a.ToldTo, SeenAt: a.SeenAt,
	}
	if row.ToldTo == nil {
		row.ToldTo = []string{}
	}
	return row
}
