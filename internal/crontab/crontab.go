// Package crontab reads crontabs and makes schedules of them: requests of plain curl and wget lines, commands of all
// others. It is pure: functions of a text.
//
// # Contract
//
//   - Both forms are read: a user's own, and the system's with a user in front of the command.
//   - Lines that set variables hold for those below them, as in cron. SHELL, HOME and CRON_TZ become a job's shell, its
//     directory and the schedule's zone; MAILTO is reported, since nobody sends mail; all others are handed to the command.
//   - In a command % ends the line and begins what it reads, \% is a percent sign.
//   - A name is made of the command alone, so that a line whose time was changed keeps its schedule.
//   - As with cron, a run is tried once, runs may overlap, and a run that was missed is not made up for.
//   - What cannot be taken is reported with its line and the reason; nothing is left out in silence.
package crontab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"strings"

	"github.com/towpath/towpath/internal/schedule"
	"github.com/towpath/towpath/jobs"
)

// Options say how a file is read.
type Options struct {
	System bool   // a user stands in front of the commands
	User   string // with System: whose lines are taken
	Zone   string // for lines without CRON_TZ
	Prefix string // of names
	Queue  string // for the jobs; "": default
}

// An Entry is a line that becomes a schedule.
type Entry struct {
	Line       int
	Text       string // as it stands in the file
	Name       string
	Definition schedule.Definition
	Words      string // when it runs
	Notes      []string
}

// A Fault is a line that is not taken, or an entry's that is but for something.
type Fault struct {
	Line   int
	Text   string
	Reason string
}

var (
	setting = regexp.MustCompile(`^\s*("[^"]*"|'[^']*'|[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$`)
	field   = regexp.MustCompile(`^\s*(\S+)\s*(.*)$`)
)

// reader is what has been read so far.
type reader struct {
	options Options
	env     map[string]string
	zone    string
	names   map[string]int
	entries []Entry
	faults  []Fault
}

// Parse reads a file.
func Parse(text string, options Options) ([]Entry, []Fault) {
	r := &reader{options: options, env: map[string]string{}, zone: options.Zone, names: map[string]int{}}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\r\n")
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		if match := setting.FindStringSubmatch(line); match != nil {
			r.set(number, line, unquote(match[1]), unquote(match[2]))
			continue
		}
		r.take(number, line)
	}
	return r.entries, r.faults
}

func (r *reader) fault(number int, line, format string, args ...any) {
	r.faults = append(r.faults, Fault{Line: number, Text: strings.TrimSpace(line), Reason: fmt.Sprintf(format, args...)})
}

func unquote(text string) string {
	if len(text) >= 2 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		return text[1 : len(text)-1]
	}
	return text
}

func (r *reader) set(number int, line, name, value string) {
	switch name {
	case "MAILTO", "MAILFROM":
		if value != "" {
			r.fault(number, line, "nobody sends mail; output is kept with each job, and `towpath schedules show NAME` tells failures")
		}
	case "CRON_TZ":
		if _, err := schedule.LoadZone(value); err != nil || value == "" {
			r.fault(number, line, "the zone is not known; %s holds on", r.zone)
			return
		}
		r.zone = value
	case "RANDOM_DELAY", "START_HOURS_RANGE", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING":
		r.fault(number, line, "has no meaning here")
	case "LOGNAME", "USER":
		r.fault(number, line, "is the worker's user, always")
	default:
		r.env[name] = value
	}
}

// take reads a line with a command.
func (r *reader) take(number int, line string) {
	expression, rest, ok := times(line)
	if !ok {
		r.fault(number, line, "is no line of a crontab: five fields or @daily and its like, then a command")
		return
	}
	if expression == "@reboot" {
		r.fault(number, line, "a schedule knows no start of a machine; have the service manager start it, such as systemd")
		return
	}
	parsed, err := schedule.Parse(expression, r.zone)
	if err != nil {
		r.fault(number, line, "%v", err)
		return
	}
	user := ""
	if r.options.System {
		match := field.FindStringSubmatch(rest)
		if match == nil {
			r.fault(number, line, "has no user and no command")
			return
		}
		user, rest = match[1], match[2]
		if user != r.options.User {
			r.fault(number, line, "runs as %s, and a worker runs commands as its own user; run a worker as %s and import with --user %s --queue NAME", user, user, user)
			return
		}
	}
	command, stdin := split(rest)
	if command == "" {
		r.fault(number, line, "has no command")
		return
	}
	entry := Entry{Line: number, Text: strings.TrimSpace(line), Name: r.name(command), Words: parsed.Words()}
	entry.Definition = schedule.Definition{
		Expression: expression, Zone: r.zone, Queue: r.options.Queue, MaxAttempts: 1, Missed: schedule.Skip,
	}
	if err := r.job(&entry, command, stdin); err != nil {
		r.fault(number, line, "%v", err)
		return
	}
	r.entries = append(r.entries, entry)
}

// times takes the time off the front of a line.
func times(line string) (expression, rest string, ok bool) {
	line = strings.TrimSpace(line)
	n := 5
	if line[0] == '@' {
		n = 1
	}
	var fields []string
	for range n {
		match := field.FindStringSubmatch(line)
		if match == nil {
			return "", "", false
		}
		fields, line = append(fields, match[1]), match[2]
	}
	return strings.Join(fields, " "), line, true
}

// split takes a command and what it reads apart.
func split(text string) (command, stdin string) {
	var parts [2]strings.Builder
	part := 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == '%':
			parts[part].WriteByte('%')
			i++
		case text[i] == '%' && part == 0:
			part = 1
		case text[i] == '%':
			parts[1].WriteByte('\n')
		default:
			parts[part].WriteByte(text[i])
		}
	}
	if part == 1 {
		parts[1].WriteByte('\n')
	}
	return strings.TrimSpace(parts[0].String()), parts[1].String()
}

// job says what the schedule enqueues.
func (r *reader) job(entry *Entry, command, stdin string) error {
	if request, plain := plainRequest(command); plain && stdin == "" && request.Check() == nil {
		entry.Definition.Kind = request.Kind()
		entry.Notes = append(entry.Notes, "is sent by the kind http; an answer that is no success is a failure")
		return marshal(&entry.Definition, request)
	}
	args := jobs.ShellArgs{Command: command, Stdin: stdin, Env: maps.Clone(r.env)}
	if shell, set := args.Env["SHELL"]; set {
		args.Shell = shell
		delete(args.Env, "SHELL")
	}
	args.Dir = args.Env["HOME"]
	if len(args.Env) == 0 {
		args.Env = nil
	}
	entry.Definition.Kind = args.Kind()
	if err := args.Check(); err != nil {
		return err
	}
	return marshal(&entry.Definition, args)
}

func marshal(d *schedule.Definition, args any) error {
	encoded, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("write the job's args: %w", err)
	}
	d.Args = encoded
	return nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// name makes a name of a command: its program, and a few letters of a sum of all of it.
func (r *reader) name(command string) string {
	program, _, _ := strings.Cut(command, " ")
	program = strings.Trim(notInName.ReplaceAllString(strings.TrimSuffix(path.Base(program), path.Ext(program)), "-"), "-")
	if len(program) > 40 {
		program = program[:40]
	}
	if program == "" {
		program = "job"
	}
	sum := sha256.Sum256([]byte(command))
	name := fmt.Sprintf("%s%s-%s", r.options.Prefix, program, hex.EncodeToString(sum[:3]))
	r.names[name]++
	if n := r.names[name]; n > 1 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return name
}
