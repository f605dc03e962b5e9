package config

//go:generate go run ./gendocs ../../docs/configuration.md

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strings"
	"text/template"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/kelseyhightower/envconfig"
)

// Variable describes one variable and its effective value. Its JSON form is an interface of `towpath config --json`.
type Variable struct {
	Name        string `json:"name" about:"its name"`
	Value       string `json:"value" about:"the value in effect; a secret is redacted"`
	Default     string `json:"default" about:"the value without it"`
	Set         bool   `json:"set" about:"whether the environment gives it"`
	Group       Group  `json:"group" about:"what it belongs to"`
	Description string `json:"description" about:"what it does"`

	secret bool
}

// Variables lists every variable with its value in c, in the order of the documentation.
func (c *Config) Variables() []Variable {
	var all []Variable
	// The library's own walk is the only place that knows how names come about, and a template is its only door.
	collect := func(name string, tags reflect.StructTag, field reflect.Value) string {
		_, set := os.LookupEnv(name)
		value := fmt.Sprint(field.Interface())
		switch {
		case tags.Get("secret") == "url":
			value = redact(value)
		case tags.Get("secret") != "" && value != "":
			value = "redacted"
		}
		all = append(all, Variable{
			secret: tags.Get("secret") != "",
			Name:   name, Value: value, Default: tags.Get("default"), Set: set,
			Group: Group(tags.Get("group")), Description: tags.Get("desc"),
		})
		return ""
	}
	walk := template.Must(template.New("").Funcs(template.FuncMap{"collect": collect}).
		Parse(`{{range .}}{{collect .Key .Tags .Field}}{{end}}`))
	if err := envconfig.Usaget(Prefix, c, io.Discard, walk); err != nil {
		panic(fmt.Sprintf("walk configuration: %v", err)) // a mistake in the struct; every test would meet it
	}
	sorted := make([]Variable, 0, len(all))
	for _, group := range Groups() {
		for _, variable := range all {
			if variable.Group == group {
				sorted = append(sorted, variable)
			}
		}
	}
	return sorted
}

// isSecret reports whether a variable's value must not be shown.
func isSecret(name string) bool {
	for _, variable := range new(Config).Variables() {
		if variable.Name == name {
			return variable.secret
		}
	}
	return false
}

// Given reports whether the environment gives a variable, such as "TOWPATH_LISTEN".
func Given(name string) bool { return os.Getenv(name) != "" }

// InGroups lists the variables of the groups, without values.
func InGroups(groups ...Group) []Variable {
	var found []Variable
	for _, group := range groups {
		for _, variable := range new(Config).Variables() {
			if variable.Group == group {
				variable.Value = ""
				found = append(found, variable)
			}
		}
	}
	return found
}

// keywordPassword matches a password among the keywords of a connection string.
var keywordPassword = regexp.MustCompile(`((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)`)

// redact hides the secret parts of an address: the password of a URL, in its authority or its query, or the password
// among keywords. What it cannot read it hides as a whole.
func redact(value string) string {
	if value == "" {
		return ""
	}
	if !strings.Contains(value, "://") {
		if _, err := pgxpool.ParseConfig(value); err != nil {
			return "redacted"
		}
		return keywordPassword.ReplaceAllString(value, "${1}redacted")
	}
	parsed, err := url.Parse(value)
	if err != nil {
		return "redacted"
	}
	if _, has := parsed.User.Password(); has {
		parsed.User = url.UserPassword(parsed.User.Username(), "redacted")
	}
	query := parsed.Query()
	for _, name := range []string{"password", "sslpassword"} {
		if query.Has(name) {
			query.Set(name, "redacted")
			parsed.RawQuery = query.Encode()
		}
	}
	return parsed.String()
}

// Unknown lists the variables of the environment that begin with TOWPATH_ and mean nothing here, each with the nearest
// known name or "". They are most likely misspelt, but may also come from a platform: Kubernetes gives every pod
// TOWPATH_PORT and more when a service is called towpath.
func Unknown() map[string]string {
	known := map[string]bool{}
	for _, variable := range new(Config).Variables() {
		known[variable.Name] = true
	}
	unknown := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" || known[name] || !strings.HasPrefix(name, Prefix+"_") {
			continue
		}
		nearest, least := "", 4 // three letters wrong is still a misspelling
		for candidate := range known {
			d := distance(name, candidate)
			if 2*d > len(name)-len(Prefix) {
				continue // hardly a letter of its own is right
			}
			if d < least || (d == least && candidate < nearest) {
				nearest, least = candidate, d
			}
		}
		unknown[name] = nearest
	}
	return unknown
}

// distance is the number of letters to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Markdown is docs/configuration.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"<!-- Generated from internal/config by `go generate ./internal/config`; do not edit. -->\n\n" +
		"Towpath is configured by environment variables alone. All begin with `TOWPATH_`; `DATABASE_URL` is never read. A\n" +
		"variable that is set to nothing counts as unset. Durations are written `250ms`, `30s`, `5m`, `12h` or `3d`, switches\n" +
		"`on` or `off`. A value that cannot be used ends a command with exit code 2 and a line that names the variable, the\n" +
		"value and the remedy.\n\n" +
		"`towpath config` prints the values in effect, `towpath help COMMAND` the variables that a command reads.\n")
	for _, group := range Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| Variable | Default | Meaning |\n|---|---|---|\n", group)
		for _, variable := range InGroups(group) {
			value := "none"
			if variable.Default != "" {
				value = "`" + variable.Default + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", variable.Name, value, strings.ReplaceAll(variable.Description, "|", `\|`))
		}
	}
	return b.String()
}
