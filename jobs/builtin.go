package jobs

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/riverqueue/river"
)

// Bounds and defaults of the built-in kinds.
const (
	HTTPTimeoutDefault  = 30 * time.Second
	SQLTimeoutDefault   = time.Minute
	ShellTimeoutDefault = time.Hour

	// BuiltinTimeoutMax bounds the time limits that args may ask for.
	BuiltinTimeoutMax = 7 * 24 * time.Hour

	// HTTPKeepDefault and HTTPKeepMax bound how much of a response's body is kept, in bytes.
	HTTPKeepDefault = 64 << 10
	HTTPKeepMax     = 1 << 20

	// SQLRowsDefault and SQLRowsMax bound how many rows of a result are kept.
	SQLRowsDefault = 20
	SQLRowsMax     = 1000
)

// HTTPArgs is a job of the built-in kind "http": one request. An answer of 200 to 299, or one of Expect, completes it.
//
// What is secret does not belong into args: a signing key and a secret header are named here, and their values come from
// the configuration of the worker.
type HTTPArgs struct {
	// URL is where the request goes: http or https, without user and password.
	URL string `json:"url"`
	// Method is GET when empty, but POST when there is a body.
	Method string `json:"method,omitempty"`
	// Headers are sent as they are.
	Headers map[string]string `json:"headers,omitempty"`
	// SecretHeaders are headers whose values are names among TOWPATH_HTTP_SECRETS.
	SecretHeaders map[string]string `json:"secret_headers,omitempty"`
	// Body is the request's body, as text. JSON is the same as a JSON value, whose Content-Type is set.
	Body string          `json:"body,omitempty"`
	JSON json.RawMessage `json:"json,omitempty"`
	// TimeoutSeconds bounds the whole request. Zero: 30.
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`
	// Expect lists the statuses that complete the job. Empty: 200 to 299.
	Expect []int `json:"expect,omitempty"`
	// Sign names a key of TOWPATH_HTTP_KEYS, with which the request is signed after the Standard Webhooks scheme.
	Sign string `json:"sign,omitempty"`
	// Redirects is how many redirects are followed. Zero: none, and a redirect fails the job.
	Redirects int `json:"redirects,omitempty"`
	// KeepBytes is how much of the answer's body is kept with the job. Zero: 64 KiB. Negative: nothing.
	KeepBytes int `json:"keep_bytes,omitempty"`

	problem error // what was wrong with the JSON that it was read from
}

// Kind is "http".
func (HTTPArgs) Kind() string { return "http" }

// Timeout is the time limit of the request.
func (a HTTPArgs) Timeout() time.Duration { return seconds(a.TimeoutSeconds, HTTPTimeoutDefault) }

// UnmarshalJSON reads args. What is wrong with them is told by Check, so that a job with args that nobody can read
// fails once and for good.
func (a *HTTPArgs) UnmarshalJSON(text []byte) error {
	type plain HTTPArgs
	var read plain
	err := readStrictly(text, &read)
	*a = HTTPArgs(read)
	a.problem = err
	return nil
}

// Check returns what keeps the job from ever being worked: a field, its value and an example.
func (a HTTPArgs) Check() error {
	if a.problem != nil {
		return a.problem
	}
	return errors.Join(
		a.checkURL(), a.checkMethod(), a.checkHeaders(), a.checkBody(), checkTimeout(a.TimeoutSeconds), a.checkExpect(),
		checkRange("redirects", a.Redirects, 0, 10), checkRange("keep_bytes", a.KeepBytes, -1, HTTPKeepMax),
	)
}

func (a HTTPArgs) checkURL() error {
	const example = "give an address such as https://example.com/hook"
	u, err := url.Parse(a.URL)
	switch {
	case a.URL == "":
		return errors.New("url is missing; " + example)
	case err != nil:
		return fmt.Errorf("url cannot be read (%w); %s", errors.Unwrap(err), example)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("url %q is neither http nor https; %s", withoutSecrets(u), example)
	case u.Hostname() == "":
		return fmt.Errorf("url %q has no host; %s", withoutSecrets(u), example)
	case u.User != nil:
		return fmt.Errorf(`url %q holds a user or password, which everybody could read; name a secret instead, as in "secret_headers": {"Authorization": "crm_token"}`, withoutSecrets(u))
	}
	return nil
}

// withoutSecrets writes an address without what often is secret in one.
func withoutSecrets(u *url.URL) string {
	shown := *u
	shown.User, shown.RawQuery, shown.Fragment = nil, "", ""
	return shown.String()
}

// token is a word as HTTP defines it.
var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (a HTTPArgs) checkMethod() error {
	if a.Method != "" && !token.MatchString(a.Method) || strings.EqualFold(a.Method, http.MethodConnect) {
		return fmt.Errorf("method %q cannot be sent; give one such as POST", a.Method)
	}
	return nil
}

// ownHeaders are set by the worker or by the transport.
var ownHeaders = []string{"Connection", "Content-Length", "Host", "Towpath-Attempt", "Towpath-Job-Id", "Trailer", "Transfer-Encoding", "Upgrade", "Webhook-Id", "Webhook-Signature", "Webhook-Timestamp"}

func (a HTTPArgs) checkHeaders() error {
	var errs []error
	for _, field := range []struct {
		name    string
		headers map[string]string
		example string
	}{
		{"headers", a.Headers, `"headers": {"Accept": "application/json"}`},
		{"secret_headers", a.SecretHeaders, `"secret_headers": {"Authorization": "crm_token"}`},
	} {
		for _, name := range slices.Sorted(maps.Keys(field.headers)) {
			value := field.headers[name]
			switch {
			case !token.MatchString(name):
				errs = append(errs, fmt.Errorf("%s: %q is no name of a header; write %s", field.name, name, field.example))
			case slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)):
				errs = append(errs, fmt.Errorf("%s: %q is set by Towpath itself; leave it out", field.name, name))
			case strings.ContainsAny(value, "\r\n\x00"):
				errs = append(errs, fmt.Errorf("%s: the value of %q has a line break; write %s", field.name, name, field.example))
			}
		}
	}
	return errors.Join(errs...)
}

func (a HTTPArgs) checkBody() error {
	if a.Body != "" && len(a.JSON) > 0 {
		return errors.New(`body and json are both given; give one of them, such as "json": {"id": 7}`)
	}
	return nil
}

func (a HTTPArgs) checkExpect() error {
	for _, status := range a.Expect {
		if status < 200 || status > 599 {
			return fmt.Errorf("expect: %d is no status of an answer; write \"expect\": [200, 202]", status)
		}
	}
	return nil
}

// SQLArgs is a job of the built-in kind "sql": one statement in Towpath's database, run under a role out of
// TOWPATH_SQL_ROLES.
type SQLArgs struct {
	// Statement is one SQL statement.
	Statement string `json:"statement"`
	// Role is the database role that it runs under. It may be left out when the worker allows one only.
	Role string `json:"role,omitempty"`
	// TimeoutSeconds bounds the statement. Zero: 60.
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`
	// ReadOnly has the database refuse to write.
	ReadOnly bool `json:"read_only,omitempty"`
	// KeepRows is how many rows of the result are kept with the job. Zero: 20. Negative: none.
	KeepRows int `json:"keep_rows,omitempty"`

	problem error
}

// Kind is "sql".
func (SQLArgs) Kind() string { return "sql" }

// Timeout is the time limit of the statement.
func (a SQLArgs) Timeout() time.Duration { return seconds(a.TimeoutSeconds, SQLTimeoutDefault) }

// UnmarshalJSON reads args; Check tells what is wrong with them.
func (a *SQLArgs) UnmarshalJSON(text []byte) error {
	type plain SQLArgs
	var read plain
	err := readStrictly(text, &read)
	*a = SQLArgs(read)
	a.problem = err
	return nil
}

// Check returns what keeps the job from ever being worked: a field, its value and an example.
func (a SQLArgs) Check() error {
	if a.problem != nil {
		return a.problem
	}
	var errs []error
	if strings.TrimSpace(a.Statement) == "" {
		errs = append(errs, errors.New(`statement is missing; write one such as "statement": "DELETE FROM cart WHERE seen_at < now() - interval '30 days'"`))
	}
	if strings.ContainsRune(a.Role, 0) || len(a.Role) > 63 {
		errs = append(errs, fmt.Errorf("role %q is no name of a role; write one such as \"role\": \"reporting\"", a.Role))
	}
	return errors.Join(append(errs, checkTimeout(a.TimeoutSeconds), checkRange("keep_rows", a.KeepRows, -1, SQLRowsMax))...)
}

// ShellArgs is a job of the built-in kind "shell": a command on the worker's machine. Workers refuse it unless
// TOWPATH_SHELL is on.
type ShellArgs struct {
	// Command is run by a shell. Argv is a program and its arguments, run without one. One of them is given.
	Command string   `json:"command,omitempty"`
	Argv    []string `json:"argv,omitempty"`
	// Shell is the absolute path of the shell. Empty: /bin/sh.
	Shell string `json:"shell,omitempty"`
	// Dir is the working directory. Empty: the home of the worker's user.
	Dir string `json:"dir,omitempty"`
	// Env is added to the small environment that commands get.
	Env map[string]string `json:"env,omitempty"`
	// Stdin is what the command reads.
	Stdin string `json:"stdin,omitempty"`
	// TimeoutSeconds bounds the command. Zero: one hour.
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`

	problem error
}

// Kind is "shell".
func (ShellArgs) Kind() string { return "shell" }

// InsertOpts has a command tried once, as cron does: whether it may run twice only its author knows. Insert with
// MaxAttempts of your own where it may.
func (ShellArgs) InsertOpts() river.InsertOpts { return river.InsertOpts{MaxAttempts: 1} }

// Timeout is the time limit of the command.
func (a ShellArgs) Timeout() time.Duration { return seconds(a.TimeoutSeconds, ShellTimeoutDefault) }

// UnmarshalJSON reads args; Check tells what is wrong with them.
func (a *ShellArgs) UnmarshalJSON(text []byte) error {
	type plain ShellArgs
	var read plain
	err := readStrictly(text, &read)
	*a = ShellArgs(read)
	a.problem = err
	return nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Check returns what keeps the job from ever being worked: a field, its value and an example.
func (a ShellArgs) Check() error {
	if a.problem != nil {
		return a.problem
	}
	errs := []error{a.checkCommand(), checkTimeout(a.TimeoutSeconds)}
	for _, path := range []struct{ field, value, example string }{{"shell", a.Shell, "/bin/bash"}, {"dir", a.Dir, "/srv/shop"}} {
		if path.value != "" && !filepath.IsAbs(path.value) || strings.ContainsRune(path.value, 0) {
			errs = append(errs, fmt.Errorf("%s %q is no absolute path; write one such as %s", path.field, path.value, path.example))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		if !variableName.MatchString(name) || strings.ContainsRune(a.Env[name], 0) {
			errs = append(errs, fmt.Errorf(`env: %q cannot be a variable; write "env": {"LANG": "C.UTF-8"}`, name))
		}
	}
	return errors.Join(errs...)
}

func (a ShellArgs) checkCommand() error {
	const example = `write "command": "/srv/shop/nightly.sh --all", or "argv": ["/srv/shop/nightly.sh", "--all"]`
	switch {
	case strings.TrimSpace(a.Command) == "" && len(a.Argv) == 0:
		return errors.New("command is missing; " + example)
	case a.Command != "" && len(a.Argv) > 0:
		return errors.New("command and argv are both given; give one of them: " + example)
	case len(a.Argv) > 0 && a.Argv[0] == "":
		return errors.New("argv has no program at its front; " + example)
	case strings.ContainsRune(a.Command+strings.Join(a.Argv, ""), 0):
		return errors.New("command holds a NUL, which no command can; " + example)
	}
	return nil
}

// checked are args that know what is wrong with them; the built-in ones.
type checked interface{ Check() error }

// checkBuiltin refuses args of a built-in kind that could never be worked.
func checkBuiltin(kind string, args river.JobArgs) error {
	switch args.(type) {
	case HTTPArgs, *HTTPArgs, SQLArgs, *SQLArgs, ShellArgs, *ShellArgs:
		if err := args.(checked).Check(); err != nil { //nolint:forcetypeassert // each of the types above has it
			return fmt.Errorf("insert job %q: %w", kind, err)
		}
	}
	return nil
}

// readStrictly decodes an object whose fields are all known.
func readStrictly(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%s is a JSON %s and should be of type %s; see docs/kinds.md", cmp.Or(wrong.Field, "args"), wrong.Value, wrong.Type)
	case err != nil:
		return fmt.Errorf("args cannot be read: %s; see docs/kinds.md for the fields", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

func seconds(given float64, fallback time.Duration) time.Duration {
	if given == 0 {
		return fallback
	}
	return time.Duration(given * float64(time.Second))
}

func checkTimeout(given float64) error {
	if given < 0 || given > BuiltinTimeoutMax.Seconds() || given != 0 && given < 0.001 {
		return fmt.Errorf("timeout_seconds %g is out of range; give 0.001 to %g, such as 90", given, BuiltinTimeoutMax.Seconds())
	}
	return nil
}

func checkRange(field string, given, least, most int) error {
	if given < least || given > most {
		return fmt.Errorf("%s %d is out of range; give %d to %d", field, given, least, most)
	}
	return nil
}
