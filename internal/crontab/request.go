package crontab

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/towpath/towpath/jobs"
)

// quiet are the ends of a command that throw its output away.
var quiet = []string{">/dev/null 2>&1", "> /dev/null 2>&1", ">/dev/null 2>/dev/null", "&>/dev/null", "&> /dev/null", ">/dev/null", "> /dev/null", "2>&1"}

// plainRequest reads a command that is nothing but one request of curl or wget. Whatever it does not understand for
// certain it leaves to the shell.
func plainRequest(command string) (jobs.HTTPArgs, bool) {
	for _, end := range quiet {
		if rest, ok := strings.CutSuffix(command, end); ok {
			command = strings.TrimSpace(rest)
			break
		}
	}
	words, ok := words(command)
	if !ok || len(words) < 2 {
		return jobs.HTTPArgs{}, false
	}
	r := &request{}
	switch words[0] {
	case "curl", "/usr/bin/curl":
		ok = r.read(words[1:], curlSwitches, curlOptions)
	case "wget", "/usr/bin/wget":
		r.args.Redirects = 10 // as wget does without being told
		ok = r.read(words[1:], wgetSwitches, wgetOptions)
	default:
		return jobs.HTTPArgs{}, false
	}
	return r.args, ok && r.args.URL != ""
}

// words splits a command as a shell would, when nothing in it has a meaning for the shell but spaces and quotes.
func words(command string) ([]string, bool) {
	var all []string
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := range len(command) {
		c := command[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '"' && strings.IndexByte("$`\\", c) >= 0:
			return nil, false
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				all = append(all, word.String())
				word.Reset()
			}
			inWord = false
		case strings.IndexByte("$`\\|&;<>()*?[]{}~#!\n", c) >= 0:
			// A question mark would match names of files, which an address never does.
			if c != '?' {
				return nil, false
			}
			word.WriteByte(c)
			inWord = true
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, false
	}
	if inWord {
		all = append(all, word.String())
	}
	return all, true
}

// request is what has been read of a request.
type request struct{ args jobs.HTTPArgs }

// Options of curl and wget that say something about a request, and what they do to it; false leaves the line to the
// shell. Switches take no value.
type (
	switches map[string]func(*request)
	options  map[string]func(*request, string) bool
)

func nothing(*request) {}

func throwAway(_ *request, value string) bool { return value == "/dev/null" || value == "-" }

var curlSwitches = switches{
	"-s": nothing, "--silent": nothing, "-S": nothing, "--show-error": nothing, "-f": nothing, "--fail": nothing, "--fail-with-body": nothing,
	"-L": func(r *request) { r.args.Redirects = 10 }, "--location": func(r *request) { r.args.Redirects = 10 },
	"-I": func(r *request) { r.args.Method = http.MethodHead }, "--head": func(r *request) { r.args.Method = http.MethodHead },
	"-G": nil, "--compressed": nothing,
}

var curlOptions = options{
	"-o": throwAway, "--output": throwAway, "-X": (*request).method, "--request": (*request).method, "-H": (*request).header, "--header": (*request).header,
	"-d": (*request).data, "--data": (*request).data, "--data-raw": (*request).data, "-m": (*request).seconds, "--max-time": (*request).seconds,
	"--url": (*request).url, "--connect-timeout": ignore, "--retry": ignore, "--retry-delay": ignore, "--retry-max-time": ignore,
	"-A": (*request).agent, "--user-agent": (*request).agent,
}

var wgetSwitches = switches{"-q": nothing, "--quiet": nothing, "-nv": nothing, "--no-verbose": nothing, "--spider": func(r *request) { r.args.Method = http.MethodHead }, "-qO-": nothing}

var wgetOptions = options{
	"-O": throwAway, "--output-document": throwAway, "-qO": throwAway, "-T": (*request).seconds, "--timeout": (*request).seconds, "-t": ignore, "--tries": ignore,
	"--header": (*request).header, "--post-data": (*request).data, "--method": (*request).method, "-U": (*request).agent, "--user-agent": (*request).agent,
}

func ignore(*request, string) bool { return true }

func (r *request) read(words []string, flags switches, values options) bool {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") {
			if !r.url(word) {
				return false
			}
			continue
		}
		if act, known := flags[word]; known && act != nil {
			act(r)
			continue
		}
		if name, value, ok := strings.Cut(word, "="); ok && values[name] != nil {
			if !values[name](r, value) {
				return false
			}
			continue
		}
		if act := values[word]; act != nil && i+1 < len(words) {
			if i++; !act(r, words[i]) {
				return false
			}
			continue
		}
		if !together(r, word, flags) {
			return false
		}
	}
	return true
}

// together reads several switches of one letter in one word, such as -fsS.
func together(r *request, word string, flags switches) bool {
	if strings.HasPrefix(word, "--") || len(word) < 3 {
		return false
	}
	for _, letter := range word[1:] {
		act := flags["-"+string(letter)]
		if act == nil {
			return false
		}
		act(r)
	}
	return true
}

func (r *request) url(value string) bool {
	if r.args.URL != "" { // a second one
		return false
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value // as both programs do
	}
	r.args.URL = value
	return strings.HasPrefix(value, "http://") || strings.HasPrefix(value, "https://")
}

func (r *request) method(value string) bool {
	r.args.Method = value
	return true
}

func (r *request) agent(value string) bool { return r.header("User-Agent: " + value) }

func (r *request) header(value string) bool {
	name, value, ok := strings.Cut(value, ":")
	name = strings.TrimSpace(name)
	// What is secret is better left where it is than copied into each job.
	if !ok || strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "Cookie") {
		return false
	}
	if r.args.Headers == nil {
		r.args.Headers = map[string]string{}
	}
	r.args.Headers[name] = strings.TrimSpace(value)
	return true
}

func (r *request) data(value string) bool {
	if r.args.Body != "" || strings.HasPrefix(value, "@") {
		return false
	}
	r.args.Body = value
	if r.args.Headers["Content-Type"] == "" {
		r.header("Content-Type: application/x-www-form-urlencoded")
	}
	return true
}

func (r *request) seconds(value string) bool {
	n, err := strconv.ParseFloat(value, 64)
	r.args.TimeoutSeconds = n
	return err == nil && n > 0
}
