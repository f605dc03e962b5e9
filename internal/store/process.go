package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// ProcessBeat returns how long ago the latest process of a client id gave a sign of life, by the database's clock.
// alive is false when there is none, or when it has stopped or was declared dead.
func ProcessBeat(ctx context.Context, db DB, clientID string) (ago time.Duration, alive bool, err error) {
	beat, err := queries.ProcessBeat(ctx, db, clientID)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the beat of process %q: %w", clientID, err)
	}
	return beat.Ago, beat.Alive, nil
}
