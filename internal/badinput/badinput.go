// Package badinput is the table of what every way of enqueueing refuses, and of the words in which it does: the functions
// of the database, the clients of package jobs, the command line. Each of them is tested against it, so that the same
// mistake is told in the same words wherever it is made.
package badinput

import (
	"encoding/json"
	"strings"
)

// A Case is a job that is refused.
type Case struct {
	Name      string
	Job       map[string]any // the parameters of towpath.enqueue; kind is mail.send unless given
	Message   string
	Hint      string // empty: any
	Parameter string // the parameter at fault
	Code      string // the SQLSTATE; empty: 22023
	NotInGo   string // why clients of package jobs do not answer so; empty: they do
}

// SQLState returns the case's SQLSTATE.
func (c Case) SQLState() string {
	if c.Code == "" {
		return "22023"
	}
	return c.Code
}

// TooMany is what a call with 100,000 jobs is answered.
const TooMany = "jobs must not hold more than 50000 jobs, but holds 100000"

// NoJSON is what args that are not JSON are answered, with SQLSTATE 22P02. The words are those of Postgres, which reads
// the args before any function sees them.
const NoJSON = "invalid input syntax for type json"

// Cases is the table.
var Cases = []Case{
	{
		Name: "NoKind", Job: map[string]any{"kind": nil}, Parameter: "kind",
		Message: `kind must be given`,
		Hint:    `The kind names the worker that runs the job, as in 'mail.send'.`,
	},
	{
		Name: "KindWithSpace", Job: map[string]any{"kind": "mail send"}, Parameter: "kind",
		Message: `kind "mail send" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _`,
		Hint:    `Name kinds without spaces, as in 'mail.send'.`,
	},
	{
		Name: "KindOfOneLetter", Job: map[string]any{"kind": "m"}, Parameter: "kind",
		Message: `kind "m" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _`,
	},
	{
		Name: "KindTooLong", Job: map[string]any{"kind": strings.Repeat("k", 128)}, Parameter: "kind",
		Message: `kind "` + strings.Repeat("k", 64) + `…" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _`,
	},
	{
		Name: "QueueTooLong", Job: map[string]any{"queue": strings.Repeat("q", 200)}, Parameter: "queue",
		Message: `queue "` + strings.Repeat("q", 64) + `…" must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -`,
		Hint:    `Name queues as in 'default' or 'slow-mail'.`,
	},
	{
		Name: "QueueInUpperCase", Job: map[string]any{"queue": "Mail"}, Parameter: "queue",
		Message: `queue "Mail" must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -`,
	},
	{
		Name: "EmptyQueue", NotInGo: "empty means the default", Job: map[string]any{"queue": ""}, Parameter: "queue",
		Message: `queue "" must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -`,
	},
	{
		Name: "PriorityTooHigh", Job: map[string]any{"priority": 9}, Parameter: "priority",
		Message: `priority 9 must be from 1 to 4`,
		Hint:    `1 is fetched first, 4 last.`,
	},
	{Name: "PriorityZero", NotInGo: "zero means the default", Job: map[string]any{"priority": 0}, Parameter: "priority", Message: `priority 0 must be from 1 to 4`},
	{
		Name: "MaxAttemptsZero", NotInGo: "zero means the default", Job: map[string]any{"max_attempts": 0}, Parameter: "max_attempts",
		Message: `max_attempts 0 must be from 1 to 32767`,
		Hint:    `1 means that a job that fails is not tried again.`,
	},
	{Name: "MaxAttemptsTooHigh", Job: map[string]any{"max_attempts": 32768}, Parameter: "max_attempts", Message: `max_attempts 32768 must be from 1 to 32767`},
	{
		Name: "DateIn1905", Job: map[string]any{"scheduled_at": "1905-06-07 08:09:10+02"}, Parameter: "scheduled_at",
		Message: `scheduled_at 1905-06-07T06:09:10Z must be from 2000-01-01 to 2199-12-31`,
		Hint:    `Leave it out for a job that may start now; a Unix time counts seconds, not milliseconds.`,
	},
	{
		Name: "DateInYear20000", Job: map[string]any{"scheduled_at": "20000-01-01 00:00:00+00"}, Parameter: "scheduled_at",
		Message: `scheduled_at 20000-01-01T00:00:00Z must be from 2000-01-01 to 2199-12-31`,
	},
	{
		Name: "InfiniteDate", NotInGo: "no time.Time is infinite", Job: map[string]any{"scheduled_at": "infinity"}, Parameter: "scheduled_at",
		Message: `scheduled_at infinity must be from 2000-01-01 to 2199-12-31`,
	},
	{
		Name: "TagTooShort", Job: map[string]any{"tags": []string{"good-tag", "ab"}}, Parameter: "tags",
		Message: `tag "ab" must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
		Hint:    `Put free text into the metadata or the args.`,
	},
	{
		Name: "TagWithComma", Job: map[string]any{"tags": []string{"abc,def"}}, Parameter: "tags",
		Message: `tag "abc,def" must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
	},
	{
		Name: "TagTooLong", Job: map[string]any{"tags": []string{strings.Repeat("t", 256)}}, Parameter: "tags",
		Message: `tag "` + strings.Repeat("t", 64) + `…" must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
	},
	{
		Name: "NullTag", NotInGo: "no string is NULL", Job: map[string]any{"tags": []any{nil}}, Parameter: "tags",
		Message: `tag NULL must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -`,
	},
	{
		Name: "ArgsNoObject", NotInGo: "River's args may be any JSON", Job: map[string]any{"args": []int{1}}, Parameter: "args",
		Message: `args must be a JSON object, not array`,
		Hint:    `Wrap the value, as in {"value": 1}.`,
	},
	{
		Name: "ArgsTooLarge", Job: map[string]any{"args": json.RawMessage(`{"text":"` + strings.Repeat("x", 65537-11) + `"}`)}, Parameter: "args",
		Message: `args of 65537 bytes must not exceed 65536`,
		Hint:    `Keep the data in a table of your own and its key in args.`,
	},
	{
		Name: "ArgsWithNUL", NotInGo: "ArgsError says where it is", Job: map[string]any{"args": json.RawMessage(`{"text":"a\u0000b"}`)}, Code: "22P05",
		Message: `unsupported Unicode escape sequence`,
	},
	{Name: "MetadataNoObject", Job: map[string]any{"metadata": "text"}, Parameter: "metadata", Message: `metadata must be a JSON object, not string`},
	{
		Name: "UniqueKeyEmpty", NotInGo: "River has no keys of the caller's", Job: map[string]any{"unique_key": ""}, Parameter: "unique_key",
		Message: `unique_key must not be empty`,
		Hint:    `Leave it out for a job that need not be unique.`,
	},
	{
		Name: "UniqueKeyAndArgs", NotInGo: "River has no keys of the caller's", Job: map[string]any{"unique_key": "k", "unique_by_args": true}, Parameter: "unique_key",
		Message: `unique_key must not be combined with unique_by_args or unique_args`,
		Hint:    `The key stands in for the args.`,
	},
	{
		Name: "UniquePeriodZero", NotInGo: "zero means none", Job: map[string]any{"unique_period": "0"}, Parameter: "unique_period",
		Message: `unique_period 00:00:00 must be at least 1 second`,
		Hint:    `Leave it out for a job that is unique at any time.`,
	},
	{Name: "UniquePeriodTooShort", Job: map[string]any{"unique_period": "500 milliseconds"}, Parameter: "unique_period", Message: `unique_period 00:00:00.5 must be at least 1 second`},
	{Name: "UniquePeriodNegative", Job: map[string]any{"unique_period": "-1 hour"}, Parameter: "unique_period", Message: `unique_period -01:00:00 must be at least 1 second`},
	{
		Name: "UniquePeriodOfMonths", NotInGo: "no time.Duration counts months", Job: map[string]any{"unique_period": "1 month"}, Parameter: "unique_period",
		Message: `unique_period 1 mon must not count months or years, which differ in length`,
		Hint:    `Count days or hours, as in '30 days'.`,
	},
	{
		Name: "UniqueStateUnknown", Job: map[string]any{"unique_states": []string{"done"}}, Parameter: "unique_states",
		Message: `unique_states contains "done", which is no state`,
		Hint:    `The states are available, cancelled, completed, discarded, pending, retryable, running, scheduled.`,
	},
	{
		Name: "UniqueStatesIncomplete", Job: map[string]any{"unique_states": []string{"available", "running", "completed"}}, Parameter: "unique_states",
		Message: `unique_states must contain available, pending, running and scheduled, but lacks pending, scheduled`,
		Hint:    `Only retryable may be left out of the default; cancelled and discarded may be added.`,
	},
	{
		Name: "UniqueExcludeKindAlone", Job: map[string]any{"unique_exclude_kind": true}, Parameter: "unique_exclude_kind",
		Message: `unique_exclude_kind needs unique_key, unique_by_args, unique_args, unique_period or unique_queue`,
		Hint:    `Without the kind and all of them every job would be the same.`,
	},
	{
		Name: "UniqueArgsEmpty", NotInGo: "the fields are tagged in the type", Job: map[string]any{"unique_args": []string{}}, Parameter: "unique_args",
		Message: `unique_args must name at least one field`,
		Hint:    `Use unique_by_args for all of them.`,
	},
	{
		Name: "UniqueArgsNoPath", NotInGo: "the fields are tagged in the type", Job: map[string]any{"unique_args": []string{"customer."}}, Parameter: "unique_args",
		Message: `unique_args contains "customer.", which is no path of fields`,
		Hint:    `Part nested fields with dots, as in 'customer.id'; numbers are no fields.`,
	},
	{
		Name: "UniqueArgsOverlap", NotInGo: "the fields are tagged in the type", Job: map[string]any{"unique_args": []string{"customer", "customer.id"}}, Parameter: "unique_args",
		Message: `unique_args contains "customer" twice or together with a field inside it`,
		Hint:    `Name each field once.`,
	},
}
