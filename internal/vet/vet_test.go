package vet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/vet"
)

// tool builds a program that answers `go vet`, without the race detector, since it is started for every dependency.
func tool(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tool")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./testdata/tool").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

var want = regexp.MustCompile(`// want (.+)`)

// The comments "// want …" in the files say what is to be found, and nothing else may be.
func TestFindings(t *testing.T) {
	t.Parallel()
	findings, err := vet.Run(t.Context(), tool(t), ".", []string{"./testdata/app", "./testdata/help"})
	require.NoError(t, err)

	text, err := os.ReadFile(filepath.Join("testdata", "app", "app.go"))
	require.NoError(t, err)
	wanted := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		if match := want.FindStringSubmatch(line); match != nil {
			wanted[fmt.Sprintf("app.go:%d", i+1)] = match[1]
		}
	}
	require.NotEmpty(t, wanted)
	for _, finding := range findings {
		parts := strings.Split(filepath.Base(finding.Position), ":")
		at := parts[0] + ":" + parts[1]
		require.Contains(t, wanted, at, "%s: %s", finding.Position, finding.Message)
		require.Contains(t, finding.Message, wanted[at], "%s", finding.Position)
		delete(wanted, at)
	}
	require.Empty(t, wanted, "not found")
}

func TestErrorsOfCode(t *testing.T) {
	t.Parallel()
	tool := tool(t)
	_, err := vet.Run(t.Context(), tool, ".", []string{"./testdata/broken"})
	require.ErrorContains(t, err, "broken.go:4:")
	_, err = vet.Run(t.Context(), tool, ".", []string{"./nowhere"})
	require.ErrorContains(t, err, "nowhere")
}
