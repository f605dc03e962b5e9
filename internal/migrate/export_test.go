package migrate

import "context"

// UpUnlocked is Up without the advisory lock.
func (m *Migrator) UpUnlocked(ctx context.Context) error { return m.up(ctx) }
