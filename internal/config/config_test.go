package config_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/jobs"
)

// clean takes every variable of ours out of the environment for one test.
func clean(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, config.Prefix+"_") {
			t.Setenv(name, "")
			require.NoError(t, os.Unsetenv(name))
		}
	}
}

func TestDefaults(t *testing.T) {
	clean(t)
	t.Setenv("DATABASE_URL", "postgres://never@read/this")
	cfg, err := config.Load()
	require.NoError(t, err)

	require.Empty(t, cfg.Database.URL)
	require.ErrorContains(t, cfg.RequireDatabase(), "TOWPATH_DATABASE_URL: not set")
	require.False(t, bool(cfg.Migrate))
	require.True(t, bool(cfg.Lead))
	require.Equal(t, config.Queues{"default": 200}, cfg.Queues)
	require.Equal(t, 30*time.Second, cfg.Grace.Std())
	require.Equal(t, ":8080", cfg.Listen)
	require.Equal(t, ":8080", cfg.MetricsListen())

	// The numbers of the struct tags are those of the public packages.
	require.Equal(t, jobs.FetchCooldownDefault, cfg.Fetch.Cooldown.Std())
	require.Equal(t, jobs.CompletedRetentionDefault, cfg.Retention.Completed.Std())
	require.Equal(t, jobs.CancelledRetentionDefault, cfg.Retention.Cancelled.Std())
	require.Equal(t, jobs.DiscardedRetentionDefault, cfg.Retention.Discarded.Std())
	require.Equal(t, jobs.ArgsWarnBytesDefault, cfg.Args.WarnBytes)
	require.Equal(t, jobs.ArgsMaxBytesDefault, cfg.Args.MaxBytes)
}

func TestValues(t *testing.T) {
	clean(t)
	for name, value := range map[string]string{
		"TOWPATH_DATABASE_URL":        "postgres://u:p@db/x",
		"TOWPATH_MIGRATE":             "on",
		"TOWPATH_QUEUES":              "default=100, mail=20",
		"TOWPATH_GRACE":               "1m30s",
		"TOWPATH_LISTEN":              "off",
		"TOWPATH_METRICS_LISTEN":      "127.0.0.1:9000",
		"TOWPATH_LOG_LEVEL":           "WARN",
		"TOWPATH_LOG_FORMAT":          "json",
		"TOWPATH_RETENTION_DISCARDED": "90d",
		"TOWPATH_JOB_TIMEOUT":         "0",
		"TOWPATH_LEAD":                "", // counts as unset
	} {
		t.Setenv(name, value)
	}
	cfg, err := config.Load()
	require.NoError(t, err)
	require.NoError(t, cfg.RequireDatabase())
	require.True(t, bool(cfg.Migrate))
	require.True(t, bool(cfg.Lead))
	require.Equal(t, config.Queues{"default": 100, "mail": 20}, cfg.Queues)
	require.Equal(t, 120, cfg.Queues.Slots())
	require.Equal(t, 90*time.Second, cfg.Grace.Std())
	require.Equal(t, "127.0.0.1:9000", cfg.MetricsListen())
	require.Equal(t, 90*24*time.Hour, cfg.Retention.Discarded.Std())
	require.Zero(t, cfg.Job.Timeout)
	require.Equal(t, config.FormatJSON, cfg.Log.Format)
}

// Every value that cannot be used is refused with a line that names variable, value and remedy.
func TestBadValues(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"MIGRATE", "maybe", `TOWPATH_MIGRATE="maybe": neither on nor off; set one of them`},
		{"GRACE", "30", `TOWPATH_GRACE="30": not a duration; write a number and a unit`},
		{"GRACE", "-5s", `TOWPATH_GRACE="-5s": a negative duration`},
		{"GRACE", "xd", `TOWPATH_GRACE="xd": not a duration`},
		{"GRACE", "10ms", `TOWPATH_GRACE="10ms": too short for a job to end; set 1s or more`},
		{"DATABASE_MAX_CONNS", "ten", `TOWPATH_DATABASE_MAX_CONNS="ten": not a whole number`},
		{"DATABASE_MAX_CONNS", "1", `TOWPATH_DATABASE_MAX_CONNS="1": out of range; set 2 to 1000`},
		{"DATABASE_URL", "postgres://u:secret@h:notaport/d", `TOWPATH_DATABASE_URL: not a connection string`},
		{"QUEUES", "default", `TOWPATH_QUEUES="default": "default" has no number of slots; write queues as`},
		{"QUEUES", "default=0", `queue "default" has "0" slots; write a number from 1 to 10000`},
		{"QUEUES", "default=1,,mail=2", `"" has no number of slots`},
		{"QUEUES", "Mail=2", `queue name "Mail" is not valid`},
		{"QUEUES", strings.Repeat("q", 65) + "=2", `is not valid; use up to 64`},
		{"QUEUES", "a=1,a=2", `queue "a" is named twice`},
		{"QUEUES", "towpath=5", `queue "towpath" is the scheduler's own`},
		{"CLIENT_ID", strings.Repeat("x", 101), `longer than 100 characters; shorten it`},
		{"LOG_LEVEL", "loud", `TOWPATH_LOG_LEVEL="loud": no such level`},
		{"LOG_FORMAT", "xml", `TOWPATH_LOG_FORMAT="xml": no such form`},
		{"API_TOKEN", "secret", `TOWPATH_API_TOKEN: not 20 to 200 letters`},
		{"GC_PERCENT", "5", `TOWPATH_GC_PERCENT="5": out of range; set 10 to 10000`},
		{"MEMORY_LIMIT_MB", "16", `TOWPATH_MEMORY_LIMIT_MB="16": out of range; set 32 or more, or 0`},
		{"FETCH_COOLDOWN", "10us", `TOWPATH_FETCH_COOLDOWN="10µs": too short; set 1ms or more`},
		{"FETCH_POLL_INTERVAL", "1ms", `shorter than TOWPATH_FETCH_COOLDOWN; set at least 2ms`},
		{"ARGS_MAX_BYTES", "-1", `TOWPATH_ARGS_MAX_BYTES="-1": out of range`},
		{"RETENTION_COMPLETED", "1m", `TOWPATH_RETENTION_COMPLETED="1m": too short to look at a finished job`},
		{"LISTEN", "8080", `TOWPATH_LISTEN="8080": not an address; write host:port`},
		{"LISTEN", ":http-alt-typo", `not an address`},
		{"METRICS_LISTEN", ":99999", `TOWPATH_METRICS_LISTEN=":99999": not an address`},
		{"POSTGRES_ARCHIVE_URL", "ftp://u:secret@x/y", `TOWPATH_POSTGRES_ARCHIVE_URL: not an http or https address`},
		{"SLACK_WEBHOOK_URL", "ops=hooks.slack.com/secret", `TOWPATH_SLACK_WEBHOOK_URL: the value of "ops" is not an http or https address; write https://hooks.slack.com/services/…`},
		{"SLACK_WEBHOOK_URL", "https://a/secret,https://b/secret", `TOWPATH_SLACK_WEBHOOK_URL: two values have no name`},
		{"WEBHOOK_URL", "a=https://a/secret,a=https://b", `TOWPATH_WEBHOOK_URL: "a" is named twice`},
		{"WEBHOOK_URL", "a=", `TOWPATH_WEBHOOK_URL: part 1 is empty`},
		{"WEBHOOK_SECRET", "secret", `TOWPATH_WEBHOOK_SECRET: a value is not whsec_`},
		{"PAGERDUTY_ROUTING_KEY", "secret key", `TOWPATH_PAGERDUTY_ROUTING_KEY: part 1 holds a space`},
		{"PAGERDUTY_URL", "events.pagerduty.com", `TOWPATH_PAGERDUTY_URL: not an http or https address; write https://events.pagerduty.com`},
		{"OPSGENIE_REGION", "mars", `TOWPATH_OPSGENIE_REGION="mars": no such region; set us or eu`},
		{"SENTRY_DSN", "https://sentry.example.com/secret", `TOWPATH_SENTRY_DSN: not a DSN; write https://key@host/project`},
		{"SENTRY_ATTEMPTS", "some", `TOWPATH_SENTRY_ATTEMPTS="some": no such choice; set last or all`},
		{"SMTP_URL", "smtp.example.com:587", `TOWPATH_SMTP_URL: not an address of a mail server; write smtps://`},
		{"SMTP_URL", "smtp://u:secret@h?tls=maybe", `TOWPATH_SMTP_URL: not an address of a mail server`},
	}
	for _, test := range tests {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			clean(t)
			t.Setenv("TOWPATH_"+test.name, test.value)
			_, err := config.Load()
			require.ErrorContains(t, err, test.want)
			var variable *config.Error
			require.ErrorAs(t, err, &variable)
			require.Equal(t, "TOWPATH_"+test.name, variable.Variable)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestSeveralMistakesAreToldTogether(t *testing.T) {
	clean(t)
	t.Setenv("TOWPATH_GRACE", "1ms")
	t.Setenv("TOWPATH_LISTEN", "nowhere")
	_, err := config.Load()
	require.Len(t, strings.Split(err.Error(), "\n"), 2)
}

func TestVariablesRedactSecrets(t *testing.T) {
	tests := map[string]string{
		"postgres://u:topsecret@h:5432/d?sslmode=require":          "postgres://u:redacted@h:5432/d?sslmode=require",
		"postgres://u@h/d?password=topsecret":                      "postgres://u@h/d?password=redacted",
		"postgres://u@h/d":                                         "postgres://u@h/d",
		"host=h user=u password=topsecret dbname=d":                "host=h user=u password=redacted dbname=d",
		"host=h user=u password='top secret \\' more' dbname=d":    "host=h user=u password=redacted dbname=d",
		"host=h password = topsecret sslpassword=topsecret user=u": "host=h password = redacted sslpassword=redacted user=u",
	}
	for address, want := range tests {
		t.Run(want, func(t *testing.T) {
			clean(t)
			t.Setenv("TOWPATH_DATABASE_URL", address)
			cfg, err := config.Load()
			require.NoError(t, err)
			for _, variable := range cfg.Variables() {
				require.NotContains(t, variable.Value, "secret")
				if variable.Name == "TOWPATH_DATABASE_URL" {
					require.Equal(t, want, variable.Value)
					require.True(t, variable.Set)
				}
			}
		})
	}
}

// What reaches a service, or opens it, is not shown.
func TestNotifiersAreNotShown(t *testing.T) {
	clean(t)
	const key = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
	for name, value := range map[string]string{
		"SLACK_WEBHOOK_URL": "https://hooks/topsecret", "WEBHOOK_URL": "https://a/?x=topsecret,ops=https://b/topsecret", "WEBHOOK_SECRET": "ops=" + key + "|" + key,
		"PAGERDUTY_ROUTING_KEY": "topsecret", "OPSGENIE_API_KEY": "a=topsecret", "SMTP_URL": "smtps://u:topsecret@h", "SMTP_FROM": "a@b.c", "SMTP_TO": "d@e.f,g@h.i",
	} {
		t.Setenv("TOWPATH_"+name, value)
	}
	cfg, err := config.Load()
	require.NoError(t, err)
	require.Equal(t, config.Targets{"": "https://a/?x=topsecret", "ops": "https://b/topsecret"}, cfg.Webhook.URL)
	for _, variable := range cfg.Variables() {
		require.NotContains(t, variable.Value, "topsecret", variable.Name)
		require.NotContains(t, variable.Value, "whsec", variable.Name)
		if variable.Group == config.GroupNotifiers && variable.Name != "TOWPATH_OPSGENIE_URL" {
			require.NotEmpty(t, variable.Value, variable.Name)
		}
	}
}

// What a value prints as is what would have given it.
func TestVariablesPrintWhatCanBeSet(t *testing.T) {
	clean(t)
	cfg, err := config.Load()
	require.NoError(t, err)
	variables := cfg.Variables()
	require.NotEmpty(t, variables)
	for _, variable := range variables {
		require.NotEmpty(t, variable.Description, variable.Name)
		require.Contains(t, config.Groups(), variable.Group, variable.Name)
		require.Equal(t, variable.Default, variable.Value, variable.Name)
		require.False(t, variable.Set, variable.Name)
	}
	for _, text := range []string{"90s", "36h", "1h30m", "3d", "250ms", "0"} {
		var first, second config.Duration
		require.NoError(t, first.Decode(text))
		require.NoError(t, second.Decode(first.String()))
		require.Equal(t, first, second)
	}
}

func TestUnknown(t *testing.T) {
	clean(t)
	t.Setenv("TOWPATH_DATABSE_URL", "x")
	t.Setenv("TOWPATH_PORT", "tcp://10.0.0.1:80")
	t.Setenv("TOWPATH_EMPTY_THING", "")
	require.Equal(t, map[string]string{"TOWPATH_DATABSE_URL": "TOWPATH_DATABASE_URL", "TOWPATH_PORT": ""}, config.Unknown())
}

func TestDocumentation(t *testing.T) {
	clean(t)
	there, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	require.Equal(t, config.Markdown(), string(there), "run: go generate ./internal/config")
}
