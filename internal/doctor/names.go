package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/towpath/towpath/internal/migrate"
)

// lookAtNames finds that names without a schema mean ours. By default that is so for a role of the schema's name: tables
// that an application makes from then on land beside the queue's, and one that is called as one of those means the queue's.
func lookAtNames(ctx context.Context, e *examination) error {
	var first, path, source string
	if err := e.pool.QueryRow(ctx, `SELECT coalesce(current_schema(), ''), setting, source FROM pg_catalog.pg_settings WHERE name = 'search_path'`).
		Scan(&first, &path, &source); err != nil {
		return err
	}
	if first != migrate.Schema {
		return nil
	}
	mend := fmt.Sprintf("ALTER ROLE %s SET search_path = %s;", e.asker.Me, withoutOurs(path))
	if source == "client" || source == "session" {
		mend = "take search_path out of the connection string, or of the SET that the pool sends"
	}
	e.find(Note, fmt.Sprintf("what %s makes without naming a schema lands in %s, for its search_path (%s) begins there", e.asker.Me, first, path),
		"role "+e.asker.Me, mend+"   -- first move what landed there: ALTER TABLE "+first+".X SET SCHEMA public")
	return nil
}

// withoutOurs is a search path without our schema, and without the one that is called as the role is.
func withoutOurs(path string) string {
	var kept []string
	for name := range strings.SplitSeq(path, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains([]string{"", `"$user"`, migrate.Schema, `"` + migrate.Schema + `"`}, name) {
			kept = append(kept, name)
		}
	}
	if len(kept) == 0 {
		return "public"
	}
	return strings.Join(kept, ", ")
}
