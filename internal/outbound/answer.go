package outbound

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfterMax bounds what a server may ask for.
const retryAfterMax = 24 * time.Hour

// RetryAfter reads the header of that name in both of its forms. What lies in the past asks for nothing; what lies too
// far ahead is a day.
func RetryAfter(value string, now time.Time) (time.Time, bool) {
	var at time.Time
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		at = now.Add(time.Duration(seconds) * time.Second)
	} else if at, err = http.ParseTime(value); err != nil {
		return time.Time{}, false
	}
	if !at.After(now) {
		return time.Time{}, false
	}
	if most := now.Add(retryAfterMax); at.After(most) {
		return most, true
	}
	return at, true
}

// Excerpt is the beginning of a body for an error, and the colon before it.
func Excerpt(body string) string {
	body = strings.Join(strings.Fields(body), " ")
	if body == "" {
		return ""
	}
	const most = 200
	if len(body) > most {
		body = strings.ToValidUTF8(body[:most], "") + "…"
	}
	return ": " + body
}

// Retryable reports whether another try may change an answer of this status: 408, 425, 429 and all of 500 and above.
func Retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}
