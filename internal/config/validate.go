package config

import (
	"errors"
	"net"
	"net/url"
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
		validateListen("TOWPATH_LISTEN", c.Listen),
		validateListen("TOWPATH_METRICS_LISTEN", c.Metrics.Listen),
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
