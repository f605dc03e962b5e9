// Package config is Towpath's whole configuration: one struct, filled from environment variables that all begin with
// TOWPATH_.
//
// Nothing else in this module reads the environment. The variable DATABASE_URL is not read, so that no command ever
// touches a database by accident. A variable that is set to nothing counts as unset, because compose files and charts
// pass such variables on. Every default is fit for production.
//
// A new variable is a new field: its name, default, group and description are struct tags, from which the value table
// of `towpath config`, the help of the commands and docs/configuration.md are made.
package config

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// Prefix begins the name of every variable.
const Prefix = "TOWPATH"

// A Group is a set of variables that belong together. A command's help names the groups that it reads.
type Group string

// The groups, in the order of the documentation.
const (
	GroupDatabase    Group = "Database"
	GroupProcess     Group = "Process"
	GroupWork        Group = "Work"
	GroupJobs        Group = "Jobs"
	GroupRetention   Group = "Retention"
	GroupHTTP        Group = "HTTP"
	GroupDevelopment Group = "Development"
)

// Groups lists all groups in the order of the documentation.
func Groups() []Group {
	return []Group{GroupDatabase, GroupProcess, GroupWork, GroupJobs, GroupRetention, GroupHTTP, GroupDevelopment}
}

// Config holds the effective values. Field names make the variables' names: Database.MaxConns is
// TOWPATH_DATABASE_MAX_CONNS.
type Config struct {
	Database Database
	// Migrate says whether a role brings the schema up to date when it starts.
	Migrate Switch `default:"off" group:"Database" desc:"on: a role applies missing migrations when it starts. off: it exits and names the command to run. dev applies them always."`

	ClientID string   `split_words:"true" group:"Process" desc:"Name of this process in the database, unique among all that run; at most 100 characters. Made of host, pid and a random part when unset."`
	Grace    Duration `default:"30s" group:"Process" desc:"How long running jobs and requests may take to end after SIGTERM; what still runs then is handed back without using up an attempt. Give your platform's own limit ten seconds more."`
	Log      Log

	Queues Queues `default:"default=100" group:"Work" desc:"Queues that a worker works, each with its number of slots (jobs at the same time in this process)."`
	Lead   Switch `default:"on" group:"Work" desc:"on: a worker may become the leader, which schedules, rescues and tidies. off: leave that to scheduler roles, at least one of which must run then."`
	Fetch  Fetch
	Job    Job
	Args   Args

	Retention Retention

	Listen  string `default:":8080" group:"HTTP" desc:"Address of the HTTP server: API, health, readiness and metrics. off: none. dev listens on loopback, and on any free port when 8080 is taken."`
	Metrics Metrics

	Postgres Postgres
	DataDir  string `split_words:"true" group:"Development" desc:"Directory of the private Postgres that dev starts. Your user's cache directory when unset."`
}

// Database says where the database is and how it is used.
type Database struct {
	URL      string `group:"Database" secret:"url" desc:"Connection string of the database, as a URL (postgres://user:password@host:5432/name?sslmode=require) or as keywords (host=… dbname=…). DATABASE_URL is never read."`
	MaxConns int    `split_words:"true" default:"0" group:"Database" desc:"Connections that this process opens at most. 0: pool_max_conns of the connection string, else four for each CPU, but 10 to 40."`
	Notify   Switch `default:"on" group:"Database" desc:"on: waiting workers are woken by LISTEN. off: they poll alone; needed behind a pooler in transaction mode."`
}

// Log says what is logged and how.
type Log struct {
	Level  Level  `default:"info" group:"Process" desc:"Least level of the log lines on standard error: debug, info, warn or error."`
	Format Format `default:"auto" group:"Process" desc:"Form of the log lines: text, json, or auto for text on a terminal and JSON elsewhere."`
}

// Fetch says how often a worker looks for jobs.
type Fetch struct {
	Cooldown     Duration `default:"2ms" group:"Work" desc:"Least time between two fetches of a queue; together with the slots it bounds how many jobs a second can start."`
	PollInterval Duration `split_words:"true" default:"0" group:"Work" desc:"How often an idle worker looks for jobs without being woken. 0: every five seconds for each of its queues, but every fifteen at least, and every second when TOWPATH_DATABASE_NOTIFY is off, when this is how long a job may wait."`
}

// Job holds the defaults of a job's execution.
type Job struct {
	Timeout Duration `default:"1m" group:"Work" desc:"Time limit of one attempt of a job whose worker sets none. 0: no limit."`
}

// Args bounds what is inserted.
type Args struct {
	WarnBytes int `split_words:"true" default:"8192" group:"Jobs" desc:"Size of a job's encoded args above which its insert logs a warning. 0: never."`
	MaxBytes  int `split_words:"true" default:"65536" group:"Jobs" desc:"Size of a job's encoded args above which its insert is refused. 0: never."`
}

// Retention says how long finished jobs are kept.
type Retention struct {
	Completed Duration `default:"3d" group:"Retention" desc:"How long completed jobs are kept."`
	Cancelled Duration `default:"3d" group:"Retention" desc:"How long cancelled jobs are kept."`
	Discarded Duration `default:"30d" group:"Retention" desc:"How long discarded jobs are kept, those that failed for good."`
}

// Metrics says where a role without an API serves health and metrics.
type Metrics struct {
	Listen string `group:"HTTP" desc:"Address on which worker and scheduler serve health, readiness and metrics. TOWPATH_LISTEN when unset. off: none."`
}

// Postgres says where development's private Postgres comes from.
type Postgres struct {
	ArchiveURL string `split_words:"true" group:"Development" secret:"url" desc:"Where Postgres is fetched from when none is installed: the root of a Maven repository, or one archive (.jar). Maven Central when unset."`
}

// Load reads the environment. The error joins one line for each mistake; each names the variable, its value and the
// remedy. The database's address may be missing; commands that need it call RequireDatabase.
func Load() (*Config, error) {
	dropEmpty()
	cfg := new(Config)
	if err := envconfig.Process(Prefix, cfg); err != nil {
		return nil, explain(err)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// SetDefaults sets variables that the environment leaves open, for a program with defaults of its own. Call it before
// Load.
func SetDefaults(defaults map[string]string) error {
	for name, value := range defaults {
		if Given(name) {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set default of variable %q: %w", name, err)
		}
	}
	return nil
}

// dropEmpty unsets variables of ours that are set to nothing: envconfig would read them as values that do not parse,
// instead of giving the default.
func dropEmpty() {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" && strings.HasPrefix(name, Prefix+"_") {
			_ = os.Unsetenv(name) // fails for names that the environment cannot hold
		}
	}
}

// explain turns envconfig's error into one that a person can act upon.
func explain(err error) error {
	var parse *envconfig.ParseError
	if !errors.As(err, &parse) {
		return fmt.Errorf("read environment: %w", err)
	}
	reason := parse.Err.Error()
	if strings.HasPrefix(parse.TypeName, "int") {
		reason = "not a whole number; write digits only, such as 8192"
	}
	return &Error{Variable: parse.KeyName, Value: parse.Value, Reason: reason}
}

// Error is a variable with a value that cannot be used.
type Error struct {
	Variable string
	Value    string // "" when the variable is missing or its value is a secret
	Reason   string // what is wrong, and what to set instead
}

// Error is one line: variable, value, reason and remedy.
func (e *Error) Error() string {
	if e.Value == "" {
		return e.Variable + ": " + e.Reason
	}
	return fmt.Sprintf("%s=%q: %s", e.Variable, e.Value, e.Reason)
}
