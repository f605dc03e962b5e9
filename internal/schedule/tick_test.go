package schedule_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/schedule"
)

func TestTickOf(t *testing.T) {
	t.Parallel()
	name, tick, ok := schedule.TickOf([]byte(`{"x": 1, "towpath:schedule": "digest", "towpath:tick": "2026-11-30T05:00:00Z"}`))
	require.True(t, ok)
	require.Equal(t, "digest", name)
	require.Equal(t, time.Date(2026, 11, 30, 5, 0, 0, 0, time.UTC), tick.UTC())
	for _, metadata := range []string{"", "{}", `{"towpath:schedule": ""}`, `{"note": "\"towpath:schedule\""}`, `{"towpath:schedule": 7}`, "["} {
		_, _, ok := schedule.TickOf([]byte(metadata))
		require.False(t, ok, metadata)
	}
}
