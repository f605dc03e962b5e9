// Package builtin works the kinds of jobs that Towpath brings along: "http" (one request), "sql" (one statement) and
// "shell" (one command), whose args are jobs.HTTPArgs, jobs.SQLArgs and jobs.ShellArgs. They make schedules useful
// without writing Go.
//
// Every program made with cmd.Main works them; one that calls workers.Run adds them itself:
//
//	err := builtin.Add(bundle, builtin.Config{})
//
// # Contract
//
//   - The zero Config allows what harms nobody: requests to public addresses. Statements need roles, commands need Shell.
//   - A kind that the bundle has a worker for stays the bundle's.
//   - Args that could never be worked, unknown fields among them, discard the job at once; the error names the field, the
//     value and an example.
//   - Nothing secret comes into a job's row, its errors or its log: secrets are named in args and come from Config.
//   - What a job brought is its output, bounded in size, also when it failed.
package builtin

import (
	"errors"
	"fmt"
	"slices"

	"github.com/towpath/towpath/internal/config"
	"github.com/towpath/towpath/jobs"
	"github.com/towpath/towpath/workers"
)

// Config says what the built-in kinds may do. Its fields have the meaning and the form of the variables that are named.
type Config struct {
	HTTPAllowPrivate string              // TOWPATH_HTTP_ALLOW_PRIVATE; "" is off
	HTTPKeys         map[string][]string // TOWPATH_HTTP_KEYS: whsec_… by name
	HTTPSecrets      map[string]string   // TOWPATH_HTTP_SECRETS
	SQLRoles         []string            // TOWPATH_SQL_ROLES
	SQLDatabaseURL   string              // TOWPATH_SQL_DATABASE_URL
	Shell            bool                // TOWPATH_SHELL
}

// Add adds the built-in kinds to a bundle, but for those that it has a worker for. An error is about the configuration.
func Add(bundle *workers.Bundle, c Config) error {
	var reach config.Reach
	if c.HTTPAllowPrivate != "" {
		if err := reach.Decode(c.HTTPAllowPrivate); err != nil {
			return fmt.Errorf("add built-in kinds: addresses to allow: %w", err)
		}
	}
	has := bundle.Kinds()
	var errs []error
	if !slices.Contains(has, jobs.HTTPArgs{}.Kind()) {
		errs = append(errs, workers.AddSafely(bundle, newHTTPWorker(reach, c.HTTPKeys, c.HTTPSecrets)))
	}
	if !slices.Contains(has, jobs.SQLArgs{}.Kind()) {
		errs = append(errs, workers.AddSafely(bundle, &sqlWorker{roles: c.SQLRoles, url: c.SQLDatabaseURL}))
	}
	if !slices.Contains(has, jobs.ShellArgs{}.Kind()) {
		errs = append(errs, workers.AddSafely(bundle, &shellWorker{on: c.Shell}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("add built-in kinds: %w", err)
	}
	return nil
}
