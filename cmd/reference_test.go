package cmd_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/cmd"
)

var updateFlag = flag.Bool("update", false, "write testdata/json-fields.txt anew")

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	var want bytes.Buffer
	require.NoError(t, cmd.WriteReference(&want))
	got, err := os.ReadFile("../docs/cli.md")
	require.NoError(t, err)
	if want.String() != string(got) { // the difference would be pages long
		t.Error("docs/cli.md is not current; run `go generate ./cmd`")
	}
}

// What programs read of --json stays: a line that goes from this file, or that changes, breaks somebody's script.
func TestJSONFieldsStay(t *testing.T) {
	t.Parallel()
	fields := cmd.JSONFields()
	var lines strings.Builder
	for _, command := range slices.Sorted(maps.Keys(fields)) {
		for _, field := range fields[command] {
			require.NotEmpty(t, field[2], "%s: field %s says nothing about itself; give it a tag `about`", command, field[0])
			fmt.Fprintf(&lines, "%s: %s: %s\n", command, field[0], field[1])
		}
	}
	const golden = "testdata/json-fields.txt"
	if *updateFlag {
		require.NoError(t, os.WriteFile(golden, []byte(lines.String()), 0o600))
	}
	got, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(got), lines.String(), "if it is meant: go test ./cmd -run TestJSONFieldsStay -update")
}
