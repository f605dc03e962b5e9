package store

import (
	"context"
	"encoding/json"
	"fmt"
)

// ImportSchedule gives a schedule a definition by define_schedule. existed says whether there was one of the name, changed
// whether it is another one now.
func ImportSchedule(ctx context.Context, db DB, name string, definition json.RawMessage) (existed, changed bool, err error) {
	row, err := queries.ImportSchedule(ctx, db, ImportScheduleParams{Schedule: name, Definition: definition})
	if err != nil {
		return false, false, fmt.Errorf("define schedule %q: %w", name, err)
	}
	return row.Existed, row.Changed, nil
}
