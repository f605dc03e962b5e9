package config

import (
	"errors"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ListenOff is the address that means no server.
const ListenOff = "off"

// RequireDatabase fails when no database is configured.
func (c *Config) RequireDatabase() error {
	if c.Database.URL != "" {
		return nil
	}
	return &Error{
		Variable: "TOWPATH_DATABASE_URL",
		Reason:   "not set; set it to your database (postgres://user:password@host:5432/name), or run `towpath dev` for a private one",
	}
}

// MetricsListen is the address on which a role without an API serves.
func (c *Config) MetricsListen() string {
	if c.Metrics.Listen != "" {
		return c.Metrics.Listen
	}
	return c.Listen
}

// Validate checks what the types alone cannot. Load calls it; call it again after changing a value. The error joins
// one *Error for each mistake.
func (c *Config) Validate() error {
	return errors.Join(
		c.validateDatabase(),
		c.validateWork(),
		c.validateArgs(),
		c.validateRetention(),
		c.validateSQL(),
		c.validateProbes(),
		c.validateChecks(),
		validateListen("TOWPATH_LISTEN", c.Listen),
		validateListen("TOWPATH_METRICS_LISTEN", c.Metrics.Listen),
		c.validateMonitoring(),
		c.validateAlerts(),
		c.validateNotifiers(),
		validateArchive(c.Postgres.ArchiveURL),
	)
}

func (c *Config) validateDatabase() error {
	if conns := c.Database.MaxConns; conns != 0 && (conns < 2 || conns > 1000) {
		return &Error{"TOWPATH_DATABASE_MAX_CONNS", strconv.Itoa(conns), "out of range; set 2 to 1000, or 0 for the default"}
	}
	if c.Database.URL == "" {
		return nil
	}
	if _, err := pgxpool.ParseConfig(c.Database.URL); err != nil {
		// The driver's own message hides the password.
		return &Error{"TOWPATH_DATABASE_URL", "", "not a connection string (" + err.Error() + "); write postgres://user:password@host:5432/name"}
	}
	return nil
}

func (c *Config) validateWork() error {
	var errs []error
	if len(c.ClientID) > 100 {
		errs = append(errs, &Error{"TOWPATH_CLIENT_ID", c.ClientID, "longer than 100 characters; shorten it"})
	}
	if c.Grace.Std() < time.Second {
		errs = append(errs, &Error{"TOWPATH_GRACE", c.Grace.String(), "too short for a job to end; set 1s or more"})
	}
	if c.GC.Percent < 10 || c.GC.Percent > 10_000 {
		errs = append(errs, &Error{"TOWPATH_GC_PERCENT", strconv.Itoa(c.GC.Percent), "out of range; set 10 to 10000"})
	}
	if limit := c.Memory.LimitMB; limit != 0 && (limit < 32 || limit > 1<<24) {
		errs = append(errs, &Error{"TOWPATH_MEMORY_LIMIT_MB", strconv.Itoa(limit), "out of range; set 32 or more, or 0"})
	}
	if c.Fetch.Cooldown.Std() < time.Millisecond {
		errs = append(errs, &Error{"TOWPATH_FETCH_COOLDOWN", c.Fetch.Cooldown.String(), "too short; set 1ms or more"})
	}
	if c.Fetch.PollInterval != 0 && c.Fetch.PollInterval < c.Fetch.Cooldown {
		errs = append(errs, &Error{"TOWPATH_FETCH_POLL_INTERVAL", c.Fetch.PollInterval.String(), "shorter than TOWPATH_FETCH_COOLDOWN; set at least " + c.Fetch.Cooldown.String() + ", or 0 for the default"})
	}
	return errors.Join(errs...)
}

func (c *Config) validateArgs() error {
	// Postgres' own bound of a jsonb value is 256 MiB; a job that large would stop every reader.
	const most = 64 << 20
	var errs []error
	check := func(name string, value int) {
		if value < 0 || value > most {
			errs = append(errs, &Error{name, strconv.Itoa(value), "out of range; set 0 to " + strconv.Itoa(most)})
		}
	}
	check("TOWPATH_ARGS_WARN_BYTES", c.Args.WarnBytes)
	check("TOWPATH_ARGS_MAX_BYTES", c.Args.MaxBytes)
	return errors.Join(errs...)
}

func (c *Config) validateSQL() error {
	if c.SQL.DatabaseURL == "" {
		return nil
	}
	if _, err := pgxpool.ParseConfig(c.SQL.DatabaseURL); err != nil {
		return &Error{"TOWPATH_SQL_DATABASE_URL", "", "not a connection string (" + err.Error() + "); write postgres://user:password@host:5432/name"}
	}
	return nil
}

func (c *Config) validateProbes() error {
	p := c.Probes
	if p.AtOnce < 1 || p.AtOnce > 100 {
		return &Error{"TOWPATH_PROBES_AT_ONCE", strconv.Itoa(p.AtOnce), "out of range; set 1 to 100"}
	}
	if p.asLogin() && p.DatabaseURL == "" {
		return &Error{"TOWPATH_PROBES_ROLES", "none", "probes would run with all rights of this process; set TOWPATH_PROBES_DATABASE_URL to a login that may read and no more"}
	}
	if p.DatabaseURL == "" {
		return nil
	}
	if _, err := pgxpool.ParseConfig(p.DatabaseURL); err != nil {
		return &Error{"TOWPATH_PROBES_DATABASE_URL", "", "not a connection string (" + err.Error() + "); write postgres://user:password@host:5432/name"}
	}
	return nil
}

func (c *Config) validateRetention() error {
	var errs []error
	check := func(name string, value Duration) {
		if value.Std() < time.Hour {
			errs = append(errs, &Error{name, value.String(), "too short to look at a finished job; set 1h or more"})
		}
	}
	check("TOWPATH_RETENTION_COMPLETED", c.Retention.Completed)
	check("TOWPATH_RETENTION_CANCELLED", c.Retention.Cancelled)
	check("TOWPATH_RETENTION_DISCARDED", c.Retention.Discarded)
	check("TOWPATH_RETENTION_PINGS", c.Retention.Pings)
	return errors.Join(errs...)
}

func (c *Config) validateMonitoring() error {
	var errs []error
	if c.Sentry.DSN != "" {
		if u, err := url.Parse(c.Sentry.DSN); err != nil || u.Host == "" || u.User == nil || strings.Trim(u.Path, "/") == "" {
			errs = append(errs, &Error{"TOWPATH_SENTRY_DSN", "", "not a DSN; write https://key@host/project, as Sentry shows it among the client keys of a project"})
		}
	}
	if kinds := c.Metrics.MaxKinds; kinds < 0 || kinds > 10_000 {
		errs = append(errs, &Error{"TOWPATH_METRICS_MAX_KINDS", strconv.Itoa(kinds), "out of range; set 0 to 10000"})
	}
	if address := c.StatsD.Addr; address != "" {
		host, port, err := net.SplitHostPort(address)
		if number, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || host == "" || number == 0 {
			errs = append(errs, &Error{"TOWPATH_STATSD_ADDR", address, "not an address; write host:port, such as 127.0.0.1:8125"})
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateAlerts() error {
	var errs []error
	if every := c.Alerts.Every.Std(); every != 0 && (every < time.Second || every > 10*time.Minute) {
		errs = append(errs, &Error{"TOWPATH_ALERTS_EVERY", c.Alerts.Every.String(), "out of range; set 1s to 10m, or 0 for never"})
	}
	if c.Alerts.Wait.Std() > time.Hour {
		errs = append(errs, &Error{"TOWPATH_ALERTS_WAIT", c.Alerts.Wait.String(), "out of range; set up to 1h"})
	}
	return errors.Join(errs...)
}

var pingKey = regexp.MustCompile(`^[A-Za-z0-9_-]{20,200}$`)

func (c *Config) validateChecks() error {
	var errs []error
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
			errs = append(errs, &Error{"TOWPATH_URL", c.URL, "not an http or https address; write https://towpath.example.com"})
		}
	}
	if c.API.Token != "" && !pingKey.MatchString(c.API.Token) {
		errs = append(errs, &Error{"TOWPATH_API_TOKEN", "", "not 20 to 200 letters, digits, _ or -; make one with: openssl rand -hex 16"})
	}
	if c.Ping.Key != "" && !pingKey.MatchString(c.Ping.Key) {
		errs = append(errs, &Error{"TOWPATH_PING_KEY", "", "not 20 to 200 letters, digits, _ or -; make one with: openssl rand -hex 16"})
	}
	if bool(c.Ping.Create) && c.Ping.Key == "" {
		errs = append(errs, &Error{"TOWPATH_PING_CREATE", "on", "checks can come to be only where they are pinged by name; set TOWPATH_PING_KEY too"})
	}
	return errors.Join(errs...)
}

func validateListen(name, value string) error {
	if value == "" || value == ListenOff {
		return nil
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return &Error{name, value, "not an address; write host:port or :port, such as 127.0.0.1:8080, or off"}
	}
	return nil
}

func validateArchive(value string) error {
	if value == "" {
		return nil
	}
	if parsed, err := url.Parse(value); err != nil || parsed.Host == "" || !strings.HasPrefix(parsed.Scheme, "http") {
		return &Error{"TOWPATH_POSTGRES_ARCHIVE_URL", "", "not an http or https address; write https://host/path"}
	}
	return nil
}
