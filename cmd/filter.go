package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river/rivertype"
	"github.com/spf13/cobra"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/internal/store"
)

// errorWindow is how far back errors are looked for unless --newer says otherwise.
const errorWindow = 24 * time.Hour

// jobFilter is the filter of the commands over jobs, as flags.
type jobFilter struct {
	states              []string
	kinds, queues, tags listValue
	older, newer        spanValue
	args                []string
	text                onceValue
}

// addTo gives a command the flags of the filter.
func (f *jobFilter) addTo(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.states, "state", nil, "only these states: "+stateNames())
	flags.Var(&f.kinds, "kind", "only these kinds")
	flags.Var(&f.queues, "queue", "only in these queues")
	flags.Var(&f.tags, "tag", "only with one of these tags")
	flags.Var(&f.older, "older", "only finished, or if unfinished enqueued, longer ago than this, as in 2h or 3d")
	flags.Var(&f.newer, "newer", "only finished, or if unfinished enqueued, within this time, as in 90m or 1d")
	flags.StringArrayVar(&f.args, "arg", nil, "only with this in the args, as in customer=42 or order.id=7; again for more")
	flags.Var(&f.text, "error", "only with this text in the last error; within a day unless --newer says otherwise")
}

// given reports whether the filter says anything.
func (f *jobFilter) given() bool {
	return len(f.states)+len(f.args)+len(f.kinds)+len(f.queues)+len(f.tags) > 0 || f.older.set || f.newer.set || f.text.set
}

// filter checks the flags and makes the store's filter of them.
func (f *jobFilter) filter() (store.JobFilter, error) {
	for _, name := range f.states {
		if !slices.Contains(rivertype.JobStates(), rivertype.JobState(name)) {
			return store.JobFilter{}, usagef("--state %q: there is no such state; choose from %s", name, stateNames())
		}
	}
	args, err := parseArgs(f.args)
	if err != nil {
		return store.JobFilter{}, err
	}
	filter := store.JobFilter{
		States: f.states, Kinds: f.kinds, Queues: f.queues, Tags: f.tags,
		OlderThan: f.older.pointer(), NewerThan: f.newer.pointer(), Args: args, Error: f.text.pointer(),
	}
	if f.text.set && !f.newer.set {
		window := errorWindow
		if f.older.set {
			window += f.older.value
		}
		filter.NewerThan = &window
	}
	if f.older.set && filter.NewerThan != nil && f.older.value >= *filter.NewerThan {
		return store.JobFilter{}, usagef("--older %s and --newer %s leave no time between them; --newer must be the longer one",
			config.Duration(f.older.value), config.Duration(*filter.NewerThan))
	}
	return filter, nil
}

// window says which time the filter looks at where the caller did not.
func (f *jobFilter) window(filter store.JobFilter) string {
	if f.newer.set || filter.NewerThan == nil {
		return ""
	}
	return fmt.Sprintf("Errors of the last %s; --newer looks farther back.", config.Duration(*filter.NewerThan))
}

// numberHint tells who finds nothing by a number that numbers and texts are different things.
func (f *jobFilter) numberHint() string {
	for _, arg := range f.args {
		path, value, _ := strings.Cut(arg, "=")
		if isNumber(value) {
			return fmt.Sprintf(`%s is compared as a number; --arg '%s="%s"' compares it as text.`, value, path, value)
		}
	}
	return ""
}

// parseArgs makes of path=value pairs the object that contains them. A value that is JSON is taken as such, anything
// else is a string.
func parseArgs(pairs []string) (json.RawMessage, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	object := map[string]any{}
	for _, pair := range pairs {
		path, text, ok := strings.Cut(pair, "=")
		names := strings.Split(path, ".")
		if !ok || slices.Contains(names, "") {
			return nil, usagef("--arg %q: write a field and its value, as in customer=42, order.id=7 or name=zoe", pair)
		}
		var value any = text
		if json.Valid([]byte(text)) {
			value = json.RawMessage(text)
		}
		inner := object
		for _, name := range names[:len(names)-1] {
			next, there := inner[name].(map[string]any)
			if !there {
				if _, taken := inner[name]; taken {
					return nil, usagef("--arg %q: %s has a value already; give each field once", pair, name)
				}
				next = map[string]any{}
				inner[name] = next
			}
			inner = next
		}
		last := names[len(names)-1]
		if _, taken := inner[last]; taken {
			return nil, usagef("--arg %q: %s has a value already; give each field once", pair, path)
		}
		inner[last] = value
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode --arg: %w", err)
	}
	return encoded, nil
}

func stateNames() string {
	names := make([]string, 0, len(rivertype.JobStates()))
	for _, state := range rivertype.JobStates() {
		names = append(names, string(state))
	}
	return strings.Join(names, ", ")
}

// noticing opens a connection of its own, whose notices are collected.
func (p *Program) noticing(ctx context.Context) (*pgx.Conn, func() []string, error) {
	pool, err := p.Database(ctx)
	if err != nil {
		return nil, nil, err
	}
	notices := []string{}
	cfg := pool.Config().ConnConfig
	cfg.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		text := notice.Message
		if notice.Hint != "" {
			text += ". " + notice.Hint
		}
		if !slices.Contains(notices, text) {
			notices = append(notices, text)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("reach the database of TOWPATH_DATABASE_URL: %w", err)
	}
	return conn, func() []string { return notices }, nil
}

// cursor writes the place in a list of jobs after which the next page begins: the id, and for a finished job when.
func cursor(job store.FindJobsRow) string {
	text := strconv.FormatInt(job.ID, 10)
	if final(job.State) {
		text += "@" + job.At.UTC().Format("2006-01-02T15:04:05.999999Z")
	}
	return text
}

// final reports whether a job of this state has ended.
func final(state string) bool {
	switch rivertype.JobState(state) {
	case rivertype.JobStateCancelled, rivertype.JobStateCompleted, rivertype.JobStateDiscarded:
		return true
	default:
		return false
	}
}

// parseCursor reads what cursor wrote.
func parseCursor(text string) (*store.JobCursor, error) {
	if text == "" {
		return nil, nil // from the beginning
	}
	number, at, finished := strings.Cut(text, "@")
	id, err := strconv.ParseInt(number, 10, 64)
	after := &store.JobCursor{ID: id}
	if err == nil && finished {
		var moment time.Time
		moment, err = time.Parse(time.RFC3339Nano, at)
		after.Finished = &moment
	}
	if err != nil || id < 1 {
		return nil, usagef("--after %q: give what the page before said, as in 4711 or 4711@2026-01-02T03:04:05Z", text)
	}
	return after, nil
}

// parseID reads the number of a job.
func (p *Program) parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("job id %q: give a whole number, as `%s jobs list` prints it", text, p.name)
	}
	return id, nil
}

// listValue is a flag of several texts: given again, or with commas between them.
type listValue []string

// String implements pflag.Value.
func (v *listValue) String() string { return strings.Join(*v, ",") }

// Type implements pflag.Value.
func (v *listValue) Type() string { return "strings" }

// Set implements pflag.Value.
func (v *listValue) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			return errors.New("it has an empty value; leave it out")
		}
		*v = append(*v, strings.TrimSpace(part))
	}
	return nil
}

// onceValue is a text flag that may be given once, so that of two values none is passed over.
type onceValue struct {
	text string
	set  bool
}

// String implements pflag.Value.
func (v *onceValue) String() string { return v.text }

// Type implements pflag.Value.
func (v *onceValue) Type() string { return "string" }

// Set implements pflag.Value.
func (v *onceValue) Set(text string) error {
	if v.set {
		return errors.New("it can be given once only")
	}
	if text == "" {
		return errors.New("it is empty; leave it out")
	}
	v.text, v.set = text, true
	return nil
}

func (v *onceValue) pointer() *string {
	if !v.set {
		return nil
	}
	return &v.text
}

// spanValue is a flag for a length of time, in the words of the configuration.
type spanValue struct {
	value  time.Duration
	set    bool
	orNone bool // 0 is taken, and means none
}

// String implements pflag.Value.
func (v *spanValue) String() string {
	if v.value == 0 {
		return ""
	}
	return config.Duration(v.value).String()
}

// Type implements pflag.Value.
func (v *spanValue) Type() string { return "duration" }

// Set implements pflag.Value.
func (v *spanValue) Set(text string) error {
	var d config.Duration
	if err := d.Decode(text); err != nil {
		return err
	}
	if d == 0 && !v.orNone {
		return errors.New("it must be longer than nothing, as in 30s, 5m or 3d")
	}
	v.value, v.set = d.Std(), true
	return nil
}

func (v *spanValue) pointer() *time.Duration {
	if !v.set {
		return nil
	}
	return &v.value
}
