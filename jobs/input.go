package jobs

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// InputError is returned by every insert of a Client that breaks a rule for jobs, before anything is sent. The rules and
// the words are those of the SQL function towpath.enqueue, so the same mistake is told alike in any language.
type InputError struct {
	// Kind is the kind of the job; empty when it is about the call.
	Kind string
	// Parameter is what is at fault, by its name in towpath.enqueue: kind, queue, priority, scheduled_at …
	Parameter string
	// Message says what was given and what the rule is.
	Message string
	// Hint says what to do about it.
	Hint string

	code string // the SQLSTATE; empty: 22023
	err  error
}

func (e *InputError) Error() string {
	text := e.Message
	if e.Kind != "" {
		text = fmt.Sprintf("insert job %q: %s", e.Kind, text)
	}
	if e.err != nil {
		text += ": " + e.err.Error()
	}
	return text
}

// SQLState returns the code with which the database refuses the same: 22023, or 22P02 for args that are not JSON.
func (e *InputError) SQLState() string { return cmp.Or(e.code, "22023") }

// Unwrap returns the cause, where there is one.
func (e *InputError) Unwrap() error { return e.err }

// maxJobs is how many jobs one call may insert. InsertManyFast streams and takes any number.
const maxJobs = 50_000

var (
	// Bounds of scheduled_at: what lies outside was computed wrongly.
	minScheduledAt = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	maxScheduledAt = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

	validKind  = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_<>/.·:+[\]-]+\z`)
	validQueue = regexp.MustCompile(`\A[a-z0-9]+([_|-][a-z0-9]+)*\z`)
	validTag   = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_-]+[A-Za-z0-9_]\z`)

	// neededStates are those that UniqueOpts.ByState must contain.
	neededStates = []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
)

// inputRules are the parts of the rules that are configured.
type inputRules struct {
	anyKind     bool // River's SkipJobKindValidation
	maxAttempts int
}

// check returns an InputError for the first rule that a job breaks. Where an option is left out, River asks the args and
// then the configuration, and so does this.
func (r inputRules) check(args river.JobArgs, opts *river.InsertOpts) error {
	if args == nil {
		return nil // River's to refuse
	}
	given, own := river.InsertOpts{}, river.InsertOpts{}
	if opts != nil {
		given = *opts
	}
	if with, ok := args.(river.JobArgsWithInsertOpts); ok {
		own = with.InsertOpts()
	}
	kind := args.Kind()
	fault := cmp.Or(
		r.kindFault(kind),
		queueFault(cmp.Or(given.Queue, own.Queue, river.QueueDefault)),
		rangeFault("priority", cmp.Or(given.Priority, own.Priority, river.PriorityDefault), 4, "1 is fetched first, 4 last."),
		rangeFault("max_attempts", cmp.Or(given.MaxAttempts, own.MaxAttempts, r.maxAttempts, river.MaxAttemptsDefault), 32767,
			"1 means that a job that fails is not tried again."),
		scheduledFault(given.ScheduledAt, own.ScheduledAt),
		metadataFault(given.Metadata),
		tagsFault(given.Tags, own.Tags),
		uniqueFault(given.UniqueOpts, own.UniqueOpts),
	)
	if fault == nil {
		return nil
	}
	fault.Kind = kind
	return fault
}

// checkMany checks the number of jobs and each of them.
func (r inputRules) checkMany(params []river.InsertManyParams) error {
	if len(params) > maxJobs {
		return &InputError{
			Parameter: "jobs", Message: fmt.Sprintf("jobs must not hold more than %d jobs, but holds %d", maxJobs, len(params)),
			Hint: "Make several calls; they may share a transaction.",
		}
	}
	return r.checkAll(params)
}

func (r inputRules) checkAll(params []river.InsertManyParams) error {
	for i := range params {
		if err := r.check(params[i].Args, params[i].InsertOpts); err != nil {
			return err
		}
	}
	return nil
}

// noJSON turns the error of an encoder that River met into an InputError.
func noJSON(err error) error {
	var (
		marshaler   *json.MarshalerError
		unsupported *json.UnsupportedTypeError
		value       *json.UnsupportedValueError
	)
	if errors.As(err, &marshaler) || errors.As(err, &unsupported) || errors.As(err, &value) {
		return &InputError{
			Parameter: "args", Message: "invalid input syntax for type json", Hint: "Args have to be values that encoding/json can write.",
			code: "22P02", err: err,
		}
	}
	return err
}

// shown is a value as messages quote it.
func shown(value string) string {
	if utf8.RuneCountInString(value) > 64 {
		value = string([]rune(value)[:64]) + "…"
	}
	return `"` + value + `"`
}

func (r inputRules) kindFault(kind string) *InputError {
	switch length := utf8.RuneCountInString(kind); {
	case kind == "":
		return &InputError{Parameter: "kind", Message: "kind must be given", Hint: "The kind names the worker that runs the job, as in 'mail.send'."}
	case length > 127 || !r.anyKind && !validKind.MatchString(kind):
		return &InputError{
			Parameter: "kind",
			Message: "kind " + shown(kind) +
				" must have 2 to 127 characters, letters, digits or _-[]<>/.·:+, and begin with a letter, a digit or _",
			Hint: "Name kinds without spaces, as in 'mail.send'.",
		}
	}
	return nil
}

func queueFault(queue string) *InputError {
	if queue == river.QueueDefault || len(queue) <= 64 && validQueue.MatchString(queue) {
		return nil
	}
	return &InputError{
		Parameter: "queue",
		Message:   "queue " + shown(queue) + " must have 1 to 64 characters, lower-case letters and digits, parted by single _ or -",
		Hint:      "Name queues as in 'default' or 'slow-mail'.",
	}
}

func rangeFault(parameter string, value, highest int, hint string) *InputError {
	if value >= 1 && value <= highest {
		return nil
	}
	return &InputError{Parameter: parameter, Message: fmt.Sprintf("%s %d must be from 1 to %d", parameter, value, highest), Hint: hint}
}

func scheduledFault(given, own time.Time) *InputError {
	at := given
	if at.IsZero() {
		at = own
	}
	if at.IsZero() || !at.Before(minScheduledAt) && at.Before(maxScheduledAt) {
		return nil
	}
	return &InputError{
		Parameter: "scheduled_at",
		Message:   "scheduled_at " + at.UTC().Format("2006-01-02T15:04:05Z") + " must be from 2000-01-01 to 2199-12-31",
		Hint:      "Leave it out for a job that may start now; a Unix time counts seconds, not milliseconds.",
	}
}

func metadataFault(metadata []byte) *InputError {
	if len(metadata) == 0 {
		return nil
	}
	if !json.Valid(metadata) {
		return &InputError{Parameter: "metadata", Message: "invalid input syntax for type json", Hint: "Metadata is a JSON object.", code: "22P02"}
	}
	var is string
	switch bytes.TrimLeft(metadata, " \t\r\n")[0] {
	case '{':
		return nil
	case '[':
		is = "array"
	case '"':
		is = "string"
	case 't', 'f':
		is = "boolean"
	case 'n':
		is = "null"
	default:
		is = "number"
	}
	return &InputError{
		Parameter: "metadata", Message: "metadata must be a JSON object, not " + is, Hint: `Wrap the value, as in {"value": 1}.`,
	}
}

func tagsFault(given, own []string) *InputError {
	tags := given
	if tags == nil {
		tags = own
	}
	for _, tag := range tags {
		if len(tag) > 255 || !validTag.MatchString(tag) {
			return &InputError{
				Parameter: "tags",
				Message:   "tag " + shown(tag) + " must have 3 to 255 characters, letters, digits, _ or -, and not begin or end with -",
				Hint:      "Put free text into the metadata or the args.",
			}
		}
	}
	return nil
}

func uniqueFault(given, own river.UniqueOpts) *InputError {
	opts := given
	if !opts.ByArgs && opts.ByPeriod == 0 && !opts.ByQueue && opts.ByState == nil && !opts.ExcludeKind {
		opts = own
	}
	if opts.ByPeriod != 0 && opts.ByPeriod < time.Second {
		return &InputError{
			Parameter: "unique_period", Message: "unique_period " + interval(opts.ByPeriod) + " must be at least 1 second",
			Hint: "Leave it out for a job that is unique at any time.",
		}
	}
	if opts.ExcludeKind && !opts.ByArgs && !opts.ByQueue && opts.ByPeriod == 0 {
		return &InputError{
			Parameter: "unique_exclude_kind",
			Message:   "unique_exclude_kind needs unique_key, unique_by_args, unique_args, unique_period or unique_queue",
			Hint:      "Without the kind and all of them every job would be the same.",
		}
	}
	return statesFault(opts.ByState)
}

func statesFault(states []rivertype.JobState) *InputError {
	for _, state := range states {
		if all := rivertype.JobStates(); !slices.Contains(all, state) {
			return &InputError{
				Parameter: "unique_states", Message: "unique_states contains " + shown(string(state)) + ", which is no state",
				Hint: "The states are " + listed(all) + ".",
			}
		}
	}
	lacks := slices.DeleteFunc(slices.Clone(neededStates), func(state rivertype.JobState) bool { return slices.Contains(states, state) })
	if len(states) == 0 || len(lacks) == 0 {
		return nil
	}
	return &InputError{
		Parameter: "unique_states",
		Message:   "unique_states must contain available, pending, running and scheduled, but lacks " + listed(lacks),
		Hint:      "Only retryable may be left out of the default; cancelled and discarded may be added.",
	}
}

func listed(states []rivertype.JobState) string {
	names := make([]string, len(states))
	for i, state := range states {
		names[i] = string(state)
	}
	return strings.Join(names, ", ")
}

// interval writes a duration as Postgres does.
func interval(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	text := fmt.Sprintf("%s%02d:%02d:%02d", sign, int(d/time.Hour), int(d/time.Minute)%60, int(d/time.Second)%60)
	if micros := d % time.Second / time.Microsecond; micros != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%06d", micros), "0")
	}
	return text
}
