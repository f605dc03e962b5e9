package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Reach says which reserved addresses may be reached: all, none, or those of a list.
type Reach struct {
	All      bool
	Networks []netip.Prefix
	Hosts    []string // host, host:port, or *.domain; lower case
}

var hostEntry = regexp.MustCompile(`^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$`)

// Decode parses a value of the environment.
func (r *Reach) Decode(value string) error {
	var all Switch
	if all.Decode(value) == nil {
		*r = Reach{All: bool(all)}
		return nil
	}
	var reach Reach
	for part := range strings.SplitSeq(value, ",") {
		part = strings.ToLower(strings.TrimSpace(part))
		if network, err := netip.ParsePrefix(part); err == nil {
			reach.Networks = append(reach.Networks, network.Masked())
			continue
		}
		if address, err := netip.ParseAddr(part); err == nil {
			reach.Networks = append(reach.Networks, netip.PrefixFrom(address, address.BitLen()))
			continue
		}
		host, port, err := net.SplitHostPort(part)
		if err != nil {
			host = part
		} else if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
			return fmt.Errorf("%q has no port; write host:port, such as localhost:8080", part)
		}
		if _, isAddress := netip.ParseAddr(host); isAddress != nil && !hostEntry.MatchString(host) {
			return fmt.Errorf("%q is no network, address or host; write on, off, or a list such as 10.1.0.0/16,localhost:8080,*.svc.cluster.local", part)
		}
		reach.Hosts = append(reach.Hosts, part)
	}
	*r = reach
	return nil
}

// String writes the value as Decode reads it.
func (r Reach) String() string {
	if r.All || len(r.Networks)+len(r.Hosts) == 0 {
		return Switch(r.All).String()
	}
	var parts []string
	for _, network := range r.Networks {
		parts = append(parts, network.String())
	}
	return strings.Join(append(parts, r.Hosts...), ",")
}

// Names is a list of names.
type Names []string

// Decode parses a value of the environment: names with commas between.
func (n *Names) Decode(value string) error {
	var names Names
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			return errors.New("a name is empty; write names with commas between, such as reporting,cleanup")
		}
		if slices.Contains(names, part) {
			return fmt.Errorf("%q is named twice; name it once", part)
		}
		names = append(names, part)
	}
	*n = names
	return nil
}

// String writes the names as Decode reads them.
func (n Names) String() string { return strings.Join(n, ",") }

// Secrets maps names to values that must not be shown.
type Secrets map[string]string

var secretName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Decode parses a value of the environment: name=value, with commas between. Its errors hold no value.
func (s *Secrets) Decode(value string) error {
	secrets := Secrets{}
	for part := range strings.SplitSeq(value, ",") {
		name, secret, ok := strings.Cut(part, "=")
		name, secret = strings.TrimSpace(name), strings.TrimSpace(secret)
		switch _, twice := secrets[name]; {
		case !ok || !secretName.MatchString(name) || secret == "":
			return fmt.Errorf("part %d is not name=value; write name=value with commas between, where a name has letters, digits, _ . - only", len(secrets)+1)
		case twice:
			return fmt.Errorf("%q is named twice; name it once", name)
		case strings.ContainsAny(secret, "\r\n\x00"):
			return fmt.Errorf("the value of %q has a line break; write it on one line", name)
		}
		secrets[name] = secret
	}
	*s = secrets
	return nil
}

// String tells the names alone.
func (s Secrets) String() string { return strings.Join(slices.Sorted(maps.Keys(s)), ",") }

// Keys maps names to signing keys, whsec_ and base64.
type Keys map[string][]string

// keyPrefix marks a symmetric key of the Standard Webhooks scheme.
const keyPrefix = "whsec_"

// Decode parses a value of the environment: name=key or name=key|key, with commas between. Its errors hold no key.
func (k *Keys) Decode(value string) error {
	var named Secrets
	if err := named.Decode(value); err != nil {
		return err
	}
	keys := Keys{}
	for name, list := range named {
		for key := range strings.SplitSeq(list, "|") {
			key = strings.TrimSpace(key)
			raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, keyPrefix))
			switch {
			case !strings.HasPrefix(key, keyPrefix) || err != nil:
				return fmt.Errorf("a key of %q is not whsec_ followed by base64; make one with: echo whsec_$(head -c 32 /dev/urandom | base64)", name)
			case len(raw) < 24 || len(raw) > 64:
				return fmt.Errorf("a key of %q has %d bytes; the scheme asks for 24 to 64: echo whsec_$(head -c 32 /dev/urandom | base64)", name, len(raw))
			}
			keys[name] = append(keys[name], key)
		}
	}
	*k = keys
	return nil
}

// String tells the names alone.
func (k Keys) String() string { return strings.Join(slices.Sorted(maps.Keys(k)), ",") }
