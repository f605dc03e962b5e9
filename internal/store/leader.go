package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A Leader is who leads. Host, PID and Roles are empty for a client that is no process of ours.
type Leader struct {
	ID    string
	Host  string
	PID   int
	Roles []string
}

// FindLeader returns the leader; there is false when nobody leads.
func FindLeader(ctx context.Context, db DB) (leader Leader, there bool, err error) {
	row, err := queries.Leader(ctx, db)
	if errors.Is(err, pgx.ErrNoRows) {
		return Leader{}, false, nil
	}
	if err != nil {
		return Leader{}, false, fmt.Errorf("look for the leader: %w", err)
	}
	return Leader{ID: row.LeaderID, Host: row.Host, PID: int(row.Pid), Roles: row.Roles}, true, nil
}

// A Sign is a sign of life of a process.
type Sign struct {
	Epoch, Beat int64
	Host        string
	PID         int
}

// LastSign returns the last sign of life of a client id's process; alive is false when it gave none for 20 seconds, has
// stopped, or is dead.
func LastSign(ctx context.Context, db DB, clientID string) (sign Sign, alive bool, err error) {
	row, err := queries.ProcessAlive(ctx, db, clientID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Sign{}, false, nil
	}
	if err != nil {
		return Sign{}, false, fmt.Errorf("look for a process %q: %w", clientID, err)
	}
	return Sign{Epoch: row.Epoch, Beat: row.Beat, Host: row.Host, PID: int(row.Pid)}, true, nil
}

// QueueIsWorked reports whether a live process works a queue, couriers left out.
func QueueIsWorked(ctx context.Context, db DB, queue string) (bool, error) {
	worked, err := queries.QueueIsWorked(ctx, db, queue)
	if err != nil {
		return false, fmt.Errorf("look who works queue %q: %w", queue, err)
	}
	return worked, nil
}
