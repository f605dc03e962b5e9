package notify

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// secrets are texts that must not be shown.
type secrets []string

// minSecret is the length from which a part of an address is taken for secret. Shorter ones are words.
const minSecret = 8

// secretAddress hides an address: as a whole, its path, its query and what is long in them, and a user's password.
func secretAddress(address string) secrets {
	found := secrets{address}
	u, err := url.Parse(address)
	if err != nil {
		return found
	}
	if password, has := u.User.Password(); has {
		found = append(found, password, url.QueryEscape(password), u.User.String())
	}
	if len(u.Path) >= minSecret {
		found = append(found, u.EscapedPath(), u.Path)
	}
	for part := range strings.SplitSeq(u.Path, "/") {
		if len(part) >= minSecret {
			found = append(found, part, url.PathEscape(part))
		}
	}
	if u.RawQuery != "" {
		found = append(found, u.RawQuery)
	}
	for _, values := range u.Query() {
		for _, value := range values {
			if len(value) >= minSecret {
				found = append(found, value)
			}
		}
	}
	return found
}

// encoded adds the forms in which servers of mail are told a password.
func (s secrets) encoded(user string) secrets {
	all := slices.Clone(s)
	for _, secret := range s {
		all = append(all, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+secret)))
	}
	return all
}

// hide takes the secrets out of a text, the longest first, since one may hold another.
func (s secrets) hide(text string) string {
	sorted := slices.Clone(s)
	slices.SortFunc(sorted, func(a, b string) int { return len(b) - len(a) })
	for _, secret := range sorted {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}
