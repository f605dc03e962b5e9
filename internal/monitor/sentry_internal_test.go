package monitor

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What args hide is taken out of the error's text: numbers too, short ones, and of two that begin alike the longer first.
func TestRedaction(t *testing.T) {
	t.Parallel()
	r := newRedaction([]string{"pin"})
	value, hidden := r.args([]byte(`{"pin": 4711, "token": "abcd", "api_token": "abcdefgh", "password": "x", "order": 9007199254740993}`))
	text, err := json.Marshal(value)
	require.NoError(t, err)
	require.JSONEq(t, `{"pin": "[redacted]", "token": "[redacted]", "api_token": "[redacted]", "password": "[redacted]", "order": 9007199254740993}`, string(text))
	require.Equal(t, "pin [redacted], [redacted] and [redacted] for x", hidden.Replace("pin 4711, abcdefgh and abcd for x"))

	value, hidden = r.args([]byte(`{"pin"`))
	require.Equal(t, redacted, value)
	require.Equal(t, "as it is", hidden.Replace("as it is"))
}
