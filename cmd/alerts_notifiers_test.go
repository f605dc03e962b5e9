package cmd_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test of a notifier is an alert and its end, at a real receiver.
func TestAlertsTest(t *testing.T) {
	t.Parallel()
	got := make(chan string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	}))
	t.Cleanup(server.Close)
	command := exec.CommandContext(t.Context(), "towpath", "alerts", "test", "slack:ops")
	command.Env = append(os.Environ(), "TOWPATH_SLACK_WEBHOOK_URL=ops="+server.URL+"/services/geheimgeheim")
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "slack:ops took an alert and its end\n", string(out))
	require.Contains(t, <-got, "[Alerting] Test of Towpath")
	require.Contains(t, <-got, "[OK] Test of Towpath")
}
