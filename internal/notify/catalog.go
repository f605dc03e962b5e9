package notify

import (
	"slices"
	"strings"
	"time"

	"github.com/towpath/towpath/internal/config"
)

// A Sort is a service that people may be told through.
type Sort struct {
	Name      string   // what the names of its notifiers begin with
	Service   string   // for people
	Variables []string // that configure it
	Example   string   // an assignment
	Incidents bool     // it keeps an incident open until it is told by its key that it is over
}

// Sorts lists all of them.
func Sorts() []Sort {
	return []Sort{
		{sortSlack, "Slack, or what takes its incoming webhooks", []string{"TOWPATH_SLACK_WEBHOOK_URL"}, "TOWPATH_SLACK_WEBHOOK_URL=https://hooks.slack.com/services/…", false},
		{sortPagerDuty, "PagerDuty", []string{"TOWPATH_PAGERDUTY_ROUTING_KEY", "TOWPATH_PAGERDUTY_URL"}, "TOWPATH_PAGERDUTY_ROUTING_KEY=<integration key of Events API v2>", true},
		{sortOpsgenie, "Opsgenie, Jira Service Management", []string{"TOWPATH_OPSGENIE_API_KEY", "TOWPATH_OPSGENIE_REGION", "TOWPATH_OPSGENIE_URL"}, "TOWPATH_OPSGENIE_API_KEY=<key of an API integration>", true},
		{sortEmail, "e-mail", []string{"TOWPATH_SMTP_URL", "TOWPATH_SMTP_FROM", "TOWPATH_SMTP_TO"}, "TOWPATH_SMTP_URL=smtp://user:password@host:587 TOWPATH_SMTP_FROM=towpath@example.com TOWPATH_SMTP_TO=ops@example.com", false},
		{sortWebhook, "any address, signed", []string{"TOWPATH_WEBHOOK_URL", "TOWPATH_WEBHOOK_SECRET"}, "TOWPATH_WEBHOOK_URL=https://example.com/alerts TOWPATH_WEBHOOK_SECRET=whsec_…", false},
	}
}

// Of lists the notifiers of a sort among names.
func (s Sort) Of(names []string) []string {
	var own []string
	for _, name := range names {
		if sort, _, _ := strings.Cut(name, ":"); sort == s.Name {
			own = append(own, name)
		}
	}
	return own
}

// OpensIncidents reports whether a notifier's service keeps an incident open until it is told that it is over. Its messages
// are about one subject each, since subjects recover one by one.
func OpensIncidents(notifier string) bool {
	return slices.ContainsFunc(Sorts(), func(s Sort) bool { return s.Incidents && len(s.Of([]string{notifier})) > 0 })
}

// Test returns the messages with which a notifier is tried: an alert, and its end, so that no incident stays open.
func Test(cfg *config.Config, at time.Time) []Message {
	firing := Message{
		Key: "towpath/test/" + at.UTC().Format(time.RFC3339), Status: StatusFiring, Severity: SeverityInfo, Title: "Test of Towpath", At: at,
		Alerts: []Alert{{
			Key: "towpath/test", Rule: "test", Subject: "towpath alerts test", Value: "1", Since: at, Link: cfg.PublicURL("/"),
			Summary: "Somebody tries whether alerts arrive. All is in order.",
		}},
	}
	resolved := firing
	resolved.Status, resolved.At = StatusResolved, at.Add(time.Second)
	return []Message{firing, resolved}
}
