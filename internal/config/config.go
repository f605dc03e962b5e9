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
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
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
	GroupKinds       Group = "Built-in kinds"
	GroupHTTP        Group = "HTTP"
	GroupChecks      Group = "Checks"
	GroupMonitoring  Group = "Monitoring"
	GroupNotifiers   Group = "Notifiers"
	GroupDevelopment Group = "Development"
)

// Groups lists all groups in the order of the documentation.
func Groups() []Group {
	return []Group{
		GroupDatabase, GroupProcess, GroupWork, GroupJobs, GroupRetention, GroupKinds, GroupHTTP, GroupChecks, GroupMonitoring, GroupNotifiers,
		GroupDevelopment,
	}
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
	GC       GC `envconfig:"GC"`
	Memory   Memory

	Queues Queues `default:"default=200" group:"Work" desc:"Queues that a worker works, each with its number of slots (jobs at the same time in this process)."`
	Lead   Switch `default:"on" group:"Work" desc:"on: a worker may become the leader, which schedules, rescues and tidies. off: leave that to scheduler roles, at least one of which must run then."`
	Fetch  Fetch
	Job    Job
	Insert Insert
	Args   Args

	Retention Retention

	HTTP   HTTP
	SQL    SQL
	Probes Probes
	Shell  Switch `default:"off" group:"Built-in kinds" desc:"on: this worker runs jobs of the kind shell, so whoever may enqueue jobs can run commands as its user. off: it discards them."`

	Listen  string `default:":8080" group:"HTTP" desc:"Address of the HTTP server: API, health, readiness and metrics. off: none. dev listens on loopback, and on any free port when 8080 is taken."`
	API     API
	Metrics Metrics
	StatsD  StatsD
	Alerts  Alerts

	URL  string `group:"Checks" desc:"Where people and other systems reach the HTTP server, such as https://towpath.example.com. Shown in the addresses of checks, and used by exec."`
	Ping Ping

	Sentry    Sentry
	Slack     Slack
	PagerDuty PagerDuty
	Opsgenie  Opsgenie
	SMTP      SMTP
	Webhook   Webhook

	Postgres Postgres
	DataDir  string `split_words:"true" group:"Development" desc:"Directory of the private Postgres that dev starts, and that commands look at while it runs when TOWPATH_DATABASE_URL is unset. Your user's cache directory when unset."`
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

// GC says when Go's collector begins.
type GC struct {
	Percent int `default:"400" group:"Process" desc:"By how much, in percent, the heap of a role may grow before it is collected: more costs memory and saves CPU time. GOGC, where it is set, goes before."`
}

// Memory bounds what a role uses.
type Memory struct {
	LimitMB int `split_words:"true" default:"0" group:"Process" desc:"MiB of memory near which a role collects all the harder. 0: nine tenths of what its container may have, or no limit outside of one. GOMEMLIMIT, where it is set, goes before."`
}

// Fetch says how often a worker looks for jobs.
type Fetch struct {
	Cooldown     Duration `default:"2ms" group:"Work" desc:"Least time between two fetches of a queue. When jobs are short and many, a fetch brings those for the next slots too."`
	PollInterval Duration `split_words:"true" default:"0" group:"Work" desc:"How often an idle worker looks for jobs without being woken. 0: every five seconds for each of its queues, but every fifteen at least, and every second when TOWPATH_DATABASE_NOTIFY is off, when this is how long a job may wait."`
}

// Job holds the defaults of a job's execution.
type Job struct {
	Timeout Duration `default:"1m" group:"Work" desc:"Time limit of one attempt of a job whose worker sets none. 0: no limit."`
}

// Insert says how jobs are inserted.
type Insert struct {
	Coalesce Switch `default:"on" group:"Jobs" desc:"on: inserts outside a transaction that come while another one's commit is under way are committed together, each with its own result. off: each has a commit of its own."`
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
	Pings     Duration `default:"30d" group:"Retention" desc:"How long pings of checks are kept; no more than a thousand of each check."`
}

// HTTP says what jobs of the kind http may reach and what secrets they may name.
type HTTP struct {
	AllowPrivate Reach   `split_words:"true" default:"off" group:"Built-in kinds" desc:"Which private, loopback, link-local and otherwise reserved addresses jobs of the kind http may reach. off: none. on: all. Or a list with commas between, of networks, addresses and hosts with or without a port: 10.1.0.0/16,localhost:8080,*.svc.cluster.local."`
	Keys         Keys    `group:"Built-in kinds" secret:"all" desc:"Keys with which jobs of the kind http sign their requests after the Standard Webhooks scheme, by name: orders=whsec_…,crm=whsec_…|whsec_…. Several keys of one name, with | between, sign together, so that one can replace the other."`
	Secrets      Secrets `group:"Built-in kinds" secret:"all" desc:"Secret values of headers, by the name that jobs of the kind http give: crm_token=Bearer …,hooks=…. A value holds no comma."`
}

// SQL says where jobs of the kind sql run, and as whom.
type SQL struct {
	Roles       Names  `group:"Built-in kinds" desc:"Database roles that jobs of the kind sql may run under, with commas between; the login needs to be a member of each. Such jobs are discarded when unset."`
	DatabaseURL string `split_words:"true" group:"Built-in kinds" secret:"url" desc:"Connection string with which jobs of the kind sql connect; give it a login that has no rights but to take on TOWPATH_SQL_ROLES, since a statement can step out of its role. TOWPATH_DATABASE_URL when unset."`
}

// Probes says where the queries of probes run, and as whom.
type Probes struct {
	Roles       Names  `default:"towpath_probe" group:"Monitoring" desc:"Database roles that the queries of probes may run under, with commas between, the first unless a probe names another; the leader's login needs to be a member of each. none: the login of TOWPATH_PROBES_DATABASE_URL itself."`
	DatabaseURL string `split_words:"true" group:"Monitoring" secret:"url" desc:"Connection string with which the leader runs the queries of probes, on a replica for example. TOWPATH_DATABASE_URL when unset."`
	AtOnce      int    `split_words:"true" default:"4" group:"Monitoring" desc:"Probes that the leader runs at the same time, each on a connection of its own."`
}

// AllowedRoles are the roles that probes may run under; none: they run as the login.
func (p Probes) AllowedRoles() []string {
	if p.asLogin() {
		return nil
	}
	return p.Roles
}

func (p Probes) asLogin() bool { return len(p.Roles) == 1 && p.Roles[0] == "none" }

// Metrics says what is shown to Prometheus, and where a role without an API shows it.
type Metrics struct {
	Listen string `group:"HTTP" desc:"Address on which worker and scheduler serve health, readiness and metrics. TOWPATH_LISTEN when unset. off: none."`

	MaxKinds int    `split_words:"true" default:"200" group:"Monitoring" desc:"Kinds, and queues, that metrics show by name though no worker is registered for them. The others are counted as other."`
	Celery   Switch `default:"off" group:"Monitoring" desc:"on: the metrics also have the names of Celery's exporter, for dashboards that exist."`
}

// StatsD says where to and how messages to StatsD are sent.
type StatsD struct {
	Addr string `group:"Monitoring" desc:"Address (host:port) of a StatsD agent that is sent the lifecycle of jobs by UDP. None when unset."`
	Tags Switch `default:"off" group:"Monitoring" desc:"on: queue and kind are DogStatsD tags instead of parts of the name."`
}

// Alerts says how often this process looks for what is wrong, while it is the one that does.
type Alerts struct {
	Every Duration `default:"15s" group:"Monitoring" desc:"How often the leader, or an api process when nobody leads, looks whether an alert has to fire. 0: this process never does."`
	Wait  Duration `default:"10s" group:"Monitoring" desc:"How long a change of an alert waits for others of the same title, to be told in one message."`
}

// Sentry says what is told to Sentry.
type Sentry struct {
	DSN         string   `group:"Monitoring" secret:"all" desc:"DSN of a project of Sentry that is told of errors and panics of handlers. Nothing is sent when unset."`
	Environment string   `group:"Monitoring" desc:"The environment that Sentry shows, such as production."`
	Release     string   `group:"Monitoring" desc:"The release that Sentry shows. The program's version when unset."`
	Attempts    Attempts `default:"last" group:"Monitoring" desc:"last: Sentry is told of the error that ends a job for good. all: of that of every failed attempt. It is told of every panic."`
	Args        Switch   `default:"on" group:"Monitoring" desc:"on: args of jobs are sent to Sentry, without what TOWPATH_SENTRY_REDACT names. off: none are."`
	Redact      Names    `group:"Monitoring" desc:"More words, with commas between, that make a field of args secret when its name holds one: beside password, passwd, secret, token, authorization, api_key, private_key, credential, cookie."`
	Crons       Switch   `default:"off" group:"Monitoring" desc:"on: runs of schedules check in at Sentry's monitors, which are made with the schedule's crontab."`
}

// API says who may change things over HTTP.
type API struct {
	Token string `group:"HTTP" secret:"all" desc:"Secret with which programs look at schedules and change them over HTTP, at /api/schedules and /api/backfills; at least 20 letters and digits. Unset: nobody does."`
}

// Ping says how checks are addressed by their names.
type Ping struct {
	Key    string `group:"Checks" secret:"all" desc:"Secret with which a check is pinged by its name, at /ping/SECRET/NAME; at least 20 letters and digits. Unset: by its own address alone."`
	Create Switch `default:"off" group:"Checks" desc:"on: a check that is pinged by its name comes to be with its first ping, with a period of a day and an hour of grace."`
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

// TracingRequested reports whether the standard variables of OpenTelemetry, which its SDK reads itself, ask for traces to
// be sent by OTLP.
func TracingRequested() bool {
	if disabled, _ := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); disabled {
		return false
	}
	switch os.Getenv("OTEL_TRACES_EXPORTER") {
	case "otlp":
		return true
	case "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	default: // none, or what we do not have
		return false
	}
}

// TracingProtocol is the protocol that the standard variables ask for, http/protobuf unless they do.
func TracingProtocol() string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
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
	value := parse.Value
	if isSecret(parse.KeyName) {
		value = ""
	}
	return &Error{Variable: parse.KeyName, Value: value, Reason: reason}
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
