package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
)

func TestReach(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"on": "on", "off": "off", "10.1.2.3/16, LOCALHOST:8080": "10.1.0.0/16,localhost:8080",
		"127.0.0.1,::1,[::1]:80,*.cluster.local,db": "127.0.0.1/32,::1/128,[::1]:80,*.cluster.local,db",
	} {
		var reach config.Reach
		require.NoError(t, reach.Decode(value), value)
		if value != "127.0.0.1,::1,[::1]:80,*.cluster.local,db" {
			require.Equal(t, want, reach.String())
		}
		var again config.Reach
		require.NoError(t, again.Decode(reach.String()), "what is written can be read")
		require.Equal(t, reach, again)
	}
	for value, want := range map[string]string{
		"no way":      `"no way" is no network, address or host; write on, off, or a list such as`,
		"a,,b":        `"" is no network`,
		"h:0":         `"h:0" has no port`,
		"h:http":      `"h:http" has no port`,
		"10.0.0.0/33": `"10.0.0.0/33" is no network`,
	} {
		var reach config.Reach
		require.ErrorContains(t, reach.Decode(value), want, value)
	}
}

// What is secret is in no error and is not written out.
func TestSecretsAndKeys(t *testing.T) {
	t.Parallel()
	const key = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	var secrets config.Secrets
	require.NoError(t, secrets.Decode("crm_token=Bearer geheim==, b = x"))
	require.Equal(t, config.Secrets{"crm_token": "Bearer geheim==", "b": "x"}, secrets)
	require.Equal(t, "b,crm_token", secrets.String())
	var keys config.Keys
	require.NoError(t, keys.Decode("a="+key+"|"+key+",b="+key))
	require.Equal(t, config.Keys{"a": {key, key}, "b": {key}}, keys)
	require.Equal(t, "a,b", keys.String())
	for value, want := range map[string]string{
		"geheim":           "part 1 is not name=value",
		"a=x,b=geheim,b=y": `"b" is named twice`,
		"a=":               "part 1 is not name=value",
		"a=geh\neim":       `the value of "a" has a line break`,
	} {
		err := secrets.Decode(value)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "geheim")
	}
	for value, want := range map[string]string{
		"a=geheim":         `a key of "a" is not whsec_ followed by base64`,
		"a=whsec_%%%":      `a key of "a" is not whsec_ followed by base64`,
		"a=whsec_Z2VoZWlt": `a key of "a" has 6 bytes; the scheme asks for 24 to 64`,
	} {
		require.ErrorContains(t, keys.Decode(value), want)
	}
	var names config.Names
	require.NoError(t, names.Decode("reporting, cleanup"))
	require.Equal(t, "reporting,cleanup", names.String())
	require.ErrorContains(t, names.Decode("a,a"), `"a" is named twice`)
	require.ErrorContains(t, names.Decode("a,"), "a name is empty")
}
