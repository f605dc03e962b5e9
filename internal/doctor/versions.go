package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/towpath/towpath/internal/migrate"
)

const (
	oldestServer = 15 // the oldest and the newest major version of Postgres that our tests run on
	newestServer = 18
)

// lookAtVersions compares the schema, the server and the processes with this program.
func lookAtVersions(ctx context.Context, e *examination) error {
	var number int
	if err := e.pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&number); err != nil {
		return err
	}
	e.judgeServer(number / 10000)
	var err error
	if e.schema, err = e.migrator.Check(ctx); err != nil {
		return err
	}
	where := "schema " + migrate.Schema
	switch e.schema.State {
	case migrate.Older:
		e.find(Fault, "the schema is older than this program; missing: "+strings.Join(e.schema.Missing, ", "), where, e.command("migrate up"))
		return nil
	case migrate.Newer:
		e.find(Note, "the schema is newer than this program, which works on; unknown: "+strings.Join(e.schema.Unknown, ", "), where,
			"replace this program by the newer one")
	case migrate.Current:
	}
	e.exists = true
	return e.compareProcesses(ctx)
}

// judgeServer finds a server that our tests do not run on.
func (e *examination) judgeServer(major int) {
	switch {
	case major < oldestServer:
		e.find(Fault, fmt.Sprintf("Postgres %d is older than the oldest that Towpath works on, %d", major, oldestServer), "server",
			fmt.Sprintf("upgrade the server to Postgres %d to %d", oldestServer, newestServer))
	case major > newestServer:
		e.find(Note, fmt.Sprintf("Postgres %d is newer than those that this version was tested on, %d to %d", major, oldestServer, newestServer),
			"server", "look for a newer version of this program")
	}
}

// compareProcesses finds a fleet of several versions.
func (e *examination) compareProcesses(ctx context.Context) error {
	type version struct {
		Version string
		Clients []string
	}
	versions, err := query[version](ctx, e, `
		SELECT version, array_agg(client_id ORDER BY client_id) FROM towpath.processes WHERE status = 'live' GROUP BY version ORDER BY version`)
	if err != nil || len(versions) < 2 {
		return err
	}
	parts := make([]string, len(versions))
	for i, v := range versions {
		name := v.Version
		if name == "" {
			name = "(none)"
		}
		parts[i] = fmt.Sprintf("%s: %s", name, strings.Join(first(v.Clients, 5), ", "))
	}
	e.find(Warning, fmt.Sprintf("the processes have %d versions", len(versions)), strings.Join(parts, "; "),
		"end the rollout: restart the older processes with the new program")
	return nil
}

// first are the first n of names, and how many there are beyond.
func first(names []string, n int) []string {
	if len(names) <= n {
		return names
	}
	return append(names[:n:n], fmt.Sprintf("and %d more", len(names)-n))
}
