// Package outbound sends HTTP requests to addresses that somebody else has named, and signs them; and to those of the
// configuration.
//
// # Contract
//
//   - A client of NewClient connects to public addresses alone, unless config.Reach allows more. The address is looked at
//     when the connection is made, after DNS, so that a name cannot lead elsewhere than it did when it was checked. Private,
//     loopback, link-local, shared (CGNAT), multicast, documentation and other reserved networks of IPv4 and IPv6 are
//     refused, and so are the addresses of IPv4 in the forms that IPv6 has for them, and clouds' metadata services.
//   - It uses no proxy, since a proxy would make the connection where nobody looks, and follows no redirect.
//   - A refusal is an *AddressError.
//   - NewTrustedClient is for addresses that whoever runs the process has configured: it reaches all of them, by the proxy of
//     the environment if there is one, and follows no redirect either.
//   - Sign makes the headers of the Standard Webhooks scheme.
package outbound

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/towpath/towpath/internal/config"
)

// AddressError is a connection that was refused because of where it leads.
type AddressError struct {
	Host    string
	Address netip.Addr
	Network string // what the address belongs to
}

// Error names the address and the variable that allows it.
func (e *AddressError) Error() string {
	shown := e.Address.String()
	if e.Host != shown {
		shown = e.Host + " (" + shown + ")"
	}
	return fmt.Sprintf("%s is %s and is not called; a worker whose TOWPATH_HTTP_ALLOW_PRIVATE names it may", shown, e.Network)
}

// NewClient returns a client without a time limit of its own: the context of a request gives it.
func NewClient(reach config.Reach) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dial(reach),
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			ExpectContinueTimeout:  time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// NewTrustedClient returns a client for addresses of the configuration, without a time limit of its own either.
func NewTrustedClient() *http.Client {
	client := NewClient(config.Reach{All: true})
	client.Transport.(*http.Transport).Proxy = http.ProxyFromEnvironment //nolint:forcetypeassert // made above
	return client
}

// dialLimit bounds one attempt to connect.
const dialLimit = 10 * time.Second

func dial(reach config.Reach) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		dialer := &net.Dialer{Timeout: dialLimit}
		if !reach.All && !allowsHost(reach, address) {
			host, _, _ := net.SplitHostPort(address) // the transport has put it together
			dialer.Control = func(_, resolved string, _ syscall.RawConn) error { return check(reach, host, resolved) }
		}
		return dialer.DialContext(ctx, network, address)
	}
}

func allowsHost(reach config.Reach, address string) bool {
	address = strings.ToLower(address)
	host, _, _ := net.SplitHostPort(address)
	host = strings.TrimSuffix(host, ".")
	return slices.ContainsFunc(reach.Hosts, func(entry string) bool {
		if domain, ok := strings.CutPrefix(entry, "*."); ok {
			return strings.HasSuffix(host, "."+domain)
		}
		return entry == host || entry == address
	})
}

// check decides about an address as it is handed to the system.
func check(reach config.Reach, host, resolved string) error {
	address, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return fmt.Errorf("connect to %q: %w", resolved, err)
	}
	to := address.Addr().WithZone("")
	what := reserved(to)
	if what == "" {
		return nil
	}
	for _, network := range reach.Networks {
		if network.Contains(to) || network.Contains(to.Unmap()) {
			return nil
		}
	}
	return &AddressError{Host: host, Address: to, Network: what}
}

// networks are those that no public service has its address in, from the registries of special-purpose addresses.
var networks = func() []struct {
	prefix netip.Prefix
	what   string
} {
	var all []struct {
		prefix netip.Prefix
		what   string
	}
	for _, entry := range [][2]string{
		{"0.0.0.0/8", "this machine's"},
		{"10.0.0.0/8", "private"},
		{"100.64.0.0/10", "shared (CGNAT)"},
		{"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local"},
		{"172.16.0.0/12", "private"},
		{"192.0.0.0/24", "reserved"},
		{"192.0.2.0/24", "for documentation"},
		{"192.88.99.0/24", "reserved"},
		{"192.168.0.0/16", "private"},
		{"198.18.0.0/15", "for measurements"},
		{"198.51.100.0/24", "for documentation"},
		{"203.0.113.0/24", "for documentation"},
		{"224.0.0.0/4", "multicast"},
		{"240.0.0.0/4", "reserved"},
		{"168.63.129.16/32", "a cloud's metadata service"},
		{"::/128", "this machine's"},
		{"::1/128", "loopback"},
		{"64:ff9b:1::/48", "private"},
		{"100::/64", "reserved"},
		{"2001::/23", "reserved"},
		{"2001:db8::/32", "for documentation"},
		{"3fff::/20", "for documentation"},
		{"5f00::/16", "reserved"},
		{"fc00::/7", "private"},
		{"fe80::/10", "link-local"},
		{"fec0::/10", "private"},
		{"ff00::/8", "multicast"},
	} {
		all = append(all, struct {
			prefix netip.Prefix
			what   string
		}{netip.MustParsePrefix(entry[0]), entry[1]})
	}
	return all
}()

// The forms of IPv6 that lead to an address of IPv4, and where in them it stands.
var (
	compatible = netip.MustParsePrefix("::/96")
	translated = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// reserved says what an address belongs to, "" for a public one.
func reserved(address netip.Addr) string {
	address = address.Unmap()
	for _, network := range networks {
		if network.prefix.Contains(address) {
			return network.what
		}
	}
	bytes := address.As16()
	switch {
	case address.Is4():
		return ""
	case compatible.Contains(address), translated.Contains(address):
		return reserved(netip.AddrFrom4([4]byte(bytes[12:16])))
	case sixToFour.Contains(address):
		return reserved(netip.AddrFrom4([4]byte(bytes[2:6])))
	}
	return ""
}
