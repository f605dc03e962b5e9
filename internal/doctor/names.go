package doctor

import (
	"context"
	"fmt"

	"github.com/towpath/towpath/internal/migrate"
)

// lookAtNames finds that names without a schema mean ours. By default that is so for a role of the schema's name: tables
// that an application makes from then on land beside the queue's, and one that is called as one of those means the queue's.
func lookAtNames(ctx context.Context, e *examination) error {
	var first string
	if err := e.pool.QueryRow(ctx, `SELECT coalesce(current_schema(), '')`).Scan(&first); err != nil {
		return err
	}
	if first == migrate.Schema {
		e.find(Note, fmt.Sprintf("what %s makes without naming a schema lands in %s, for its search_path begins there", e.asker.Me, first),
			"role "+e.asker.Me, fmt.Sprintf("ALTER ROLE %s SET search_path = public;", e.asker.Me))
	}
	return nil
}
