// Package notify tells people of alerts, through the services that they already have: Slack, PagerDuty, Opsgenie, e-mail
// and webhooks.
//
// # Contract
//
//   - A notification is a job of the kind Kind, which whoever decides about alerts inserts in the transaction of that
//     decision: Args name one notifier, of those that Configured lists, and hold the whole message. So it is sent again when
//     the service is away, seen where jobs are seen, and tells what was true when it was decided.
//   - Message.Key names what a message is about. PagerDuty and Opsgenie open one incident for a key, and close it with a
//     message of the same key that is resolved; so they are sent a message for each subject. To the others, resolved means
//     that the alerts of the message are over; others of its title may still fire.
//   - The JSON of a message is bounded: texts are cut, and alerts beyond a hundred, or beyond what a job's args may hold, are
//     counted in Omitted. Each notifier cuts further what its service does not take, and says how much it left out.
//   - Addresses and keys come from the configuration and are in no args, error or log.
package notify

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/jobs"
)

// Kind is the kind of the jobs that send notifications. Rules about jobs leave it out.
const Kind = "towpath.notify"

// The statuses of a message.
const (
	StatusFiring   = "firing"
	StatusResolved = "resolved"
	StatusReminder = "reminder" // what was told before still fires
)

// The severities of a message. Any other one is treated as a warning.
const (
	SeverityCritical = "critical"
	SeverityWarning  = "warning"
	SeverityInfo     = "info"
)

// Args is a job that sends one message by one notifier.
type Args struct {
	Notifier string  `json:"notifier"` // one of Configured
	Message  Message `json:"message"`
}

// MaxAttempts is how often a message is tried to be sent, over about eight hours with Backoff.
const MaxAttempts = 12

// Backoff begins with seconds, because an alert that is late is of little use.
var Backoff = jobs.Backoff{Max: 2 * time.Hour}

// Kind is Kind.
func (Args) Kind() string { return Kind }

// InsertOpts sends it to the scheduler, before its other jobs, and not for ever.
func (Args) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: config.SchedulerQueue, MaxAttempts: MaxAttempts, Priority: 1}
}

// Message tells of the alerts of one group.
type Message struct {
	Key       string    `json:"key"`    // of the subject, or of the group; to a service with incidents the same from firing to resolved
	Status    string    `json:"status"` // firing, resolved or reminder
	Severity  string    `json:"severity,omitempty"`
	Title     string    `json:"title"`
	GroupedBy string    `json:"grouped_by,omitempty"` // what the alerts have in common, for people
	At        time.Time `json:"at"`                   // of the change; with Key and Status it tells messages apart
	Alerts    []Alert   `json:"alerts"`
	Omitted   int       `json:"omitted,omitempty"` // how many alerts of the group are not in Alerts
}

// Alert is one of a message.
type Alert struct {
	Key     string    `json:"key"`
	Rule    string    `json:"rule"`
	Subject string    `json:"subject"`           // what it is about, such as a schedule or a queue
	Summary string    `json:"summary,omitempty"` // one line
	Detail  string    `json:"detail,omitempty"`  // more of it
	Value   string    `json:"value,omitempty"`   // the figure, such as -1
	Since   time.Time `json:"since,omitzero"`
	Link    string    `json:"link,omitempty"` // an address, or a path of ours such as /schedules/x, which needs TOWPATH_URL
}

// A Notifier sends messages to one place.
type Notifier interface {
	// Name is its sort, such as "slack", or sort and name, such as "slack:ops".
	Name() string
	// Send sends a message. The service is asked to take one that comes twice for one. An error holds no secret; one that
	// no retry can mend is an *Error that is Permanent.
	Send(ctx context.Context, message Message) error
}

// Error is why a message was not sent.
type Error struct {
	Reason     string        // without secrets
	Permanent  bool          // whether no retry can mend it
	RetryAfter time.Duration // when the service asks for the next try; 0: it does not say
}

// Error is the reason.
func (e *Error) Error() string { return e.Reason }
