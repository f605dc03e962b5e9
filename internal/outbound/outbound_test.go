package outbound

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/towpath/towpath/internal/config"
)

func TestReserved(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.1.1.1", "240.0.0.1",
		"255.255.255.255", "168.63.129.16",
		"::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "100::1",
		"::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1",
		"2002:7f00:1::", "2002:a9fe:a9fe::1",
	} {
		require.NotEmpty(t, reserved(netip.MustParseAddr(address)), address)
	}
	for _, address := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "128.0.0.1", "172.15.0.1", "172.32.0.1", "192.169.0.1", "223.255.255.255",
		"2606:4700::1111", "2a00:1450:4001:81b::200e", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1",
	} {
		require.Empty(t, reserved(netip.MustParseAddr(address)), address)
	}
}

func TestReachAllows(t *testing.T) {
	t.Parallel()
	var reach config.Reach
	require.NoError(t, reach.Decode("10.1.0.0/16,fd00::/8,192.168.0.7,Intranet.example:8080,*.cluster.local,wiki"))
	for _, resolved := range []string{"10.1.2.3:80", "[::ffff:10.1.2.3]:80", "[fd00::1]:443", "192.168.0.7:1", "1.1.1.1:443"} {
		require.NoError(t, check(reach, "h", resolved), resolved)
	}
	for _, resolved := range []string{"10.2.0.1:80", "192.168.0.8:1", "[::1]:80", "127.0.0.1:80"} {
		var refused *AddressError
		require.ErrorAs(t, check(reach, "h", resolved), &refused, resolved)
	}
	require.Error(t, check(reach, "h", "/var/run/docker.sock"))
	for _, address := range []string{"intranet.example:8080", "INTRANET.example:8080", "a.b.cluster.local:80", "wiki:80", "wiki:443"} {
		require.True(t, allowsHost(reach, address), address)
	}
	for _, address := range []string{"intranet.example:80", "cluster.local:80", "evilcluster.local:80", "wiki.example:80"} {
		require.False(t, allowsHost(reach, address), address)
	}
	require.EqualError(t, check(config.Reach{}, "db.example", "10.0.0.5:80"),
		"db.example (10.0.0.5) is private and is not called; a worker whose TOWPATH_HTTP_ALLOW_PRIVATE names it may")
}

// The example of the scheme's specification.
func TestSign(t *testing.T) {
	t.Parallel()
	header := http.Header{}
	body := []byte(`{"test": 2432232314}`)
	err := Sign(header, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), body, []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", header.Get("Webhook-Signature"))
	require.Equal(t, "msg_p5jXN8AQM9LWM0D4loKWxJek", header.Get("Webhook-Id"))
	require.Equal(t, "1614265330", header.Get("Webhook-Timestamp"))
}
