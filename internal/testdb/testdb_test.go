package testdb_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/testdb"
)

func TestPoolIsMigrated(t *testing.T) {
	t.Parallel()
	var jobs int
	require.NoError(t, testdb.Pool(t).QueryRow(t.Context(), `SELECT count(*) FROM towpath.river_job`).Scan(&jobs))
	require.Zero(t, jobs)
}
