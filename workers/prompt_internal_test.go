package workers

import (
	"context"
	"testing"

	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/require"
)

// noFinisher is asked for nothing.
type noFinisher struct{ promptFinisher }

// What an attempt that panicked has recorded is kept for River's report of the panic, which never comes where it cannot be
// encoded.
func TestPanicsAreKeptUntilTheyAreReported(t *testing.T) {
	t.Parallel()
	rt, _ := testRuntime(&sink{})
	rt.prompt = noFinisher{}
	panics := func(updates map[string]any) *rivertype.JobRow {
		row := &rivertype.JobRow{ID: 1}
		rt.panics(&attempt{Context: context.WithValue(t.Context(), metadataKey(), updates)}, row)
		return row
	}
	want := map[string]any{"output": 1}
	updates, ok := rt.panicOf(panics(want))
	require.True(t, ok)
	require.Equal(t, want, updates)
	panics(map[string]any{"output": make(chan int)})
	require.Empty(t, rt.panicked)
}
