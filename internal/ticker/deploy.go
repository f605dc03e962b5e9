package ticker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/towpath/towpath/internal/store"
)

// deployEvery is how often a process says that it lives with its set of schedules; one that has not been seen for a
// minute no longer counts.
const deployEvery = 15 * time.Second

// Deployment tells the database what a program's code defines: schedules, or another thing that is told in the same way.
type Deployment struct {
	Pool        *pgxpool.Pool
	Logger      *slog.Logger
	Application string
	Version     string
	What        string                     // in the plural
	Definitions map[string]json.RawMessage // by name
	Deploy      func(ctx context.Context, db store.DB, application, fingerprint, version string, definitions json.RawMessage) (applied bool, err error)
}

// Tell tells once: at the start of a process, whose start fails with it.
func (d *Deployment) Tell(ctx context.Context) error {
	definitions, err := json.Marshal(d.Definitions) // in the order of the names
	if err != nil {
		return fmt.Errorf("deploy %s: %w", d.What, err)
	}
	sum := sha256.Sum256(definitions)
	applied, err := d.Deploy(ctx, d.Pool, d.Application, hex.EncodeToString(sum[:16]), d.Version, definitions)
	if err != nil {
		return err
	}
	if applied {
		d.Logger.InfoContext(ctx, "definitions deployed", slog.String("application", d.Application), slog.String("what", d.What), slog.Int("definitions", len(d.Definitions)))
	}
	return nil
}

// Run goes on telling until ctx ends.
func (d *Deployment) Run(ctx context.Context) {
	ticker := time.NewTicker(deployEvery)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := d.Tell(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			d.Logger.WarnContext(ctx, "tell what this program defines", slog.String("what", d.What), slog.Any("error", err))
		}
		failing = err != nil
	}
}
