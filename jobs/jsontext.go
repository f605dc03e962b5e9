package jobs

import (
	"bytes"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// badText is a string of a JSON document that jsonb cannot hold.
type badText struct {
	path    string // from the root, as in .items[3].name
	problem string
}

const (
	problemNUL       = "holds a NUL character, which Postgres cannot keep"
	problemUTF8      = "is not valid UTF-8"
	problemSurrogate = "holds half a surrogate pair, which Postgres cannot keep"
	keyProblem       = " (in the name of a member)"
)

// findBadText returns the first bad string of a well-formed document, or nil. With replaced, an escaped U+FFFD stands
// for a byte that was not UTF-8.
func findBadText(document []byte, replaced bool) *badText {
	s := &textScanner{rest: document, replaced: replaced}
	return s.value("")
}

// textScanner walks through a document that an encoder has written, so it checks strings and trusts the rest.
type textScanner struct {
	rest     []byte
	replaced bool
}

// skip drops white space and separators.
func (s *textScanner) skip() { s.rest = bytes.TrimLeft(s.rest, " \t\r\n,:") }

func (s *textScanner) value(path string) *badText {
	s.skip()
	if len(s.rest) == 0 {
		return nil
	}
	switch s.rest[0] {
	case '{':
		return s.object(path)
	case '[':
		return s.array(path)
	case '"':
		if _, problem := s.text(); problem != "" {
			return &badText{path: path, problem: problem}
		}
	default: // a number or a word
		if end := bytes.IndexAny(s.rest, ",]} \t\r\n"); end >= 0 {
			s.rest = s.rest[end:]
		} else {
			s.rest = nil
		}
	}
	return nil
}

func (s *textScanner) object(path string) *badText {
	s.rest = s.rest[1:]
	for {
		s.skip()
		if len(s.rest) == 0 {
			return nil
		}
		if s.rest[0] != '"' { // the closing brace
			s.rest = s.rest[1:]
			return nil
		}
		name, problem := s.text()
		member := path + memberPath(name)
		if problem != "" {
			return &badText{path: member, problem: problem + keyProblem}
		}
		if bad := s.value(member); bad != nil {
			return bad
		}
	}
}

func (s *textScanner) array(path string) *badText {
	s.rest = s.rest[1:]
	for i := 0; ; i++ {
		s.skip()
		if len(s.rest) == 0 {
			return nil
		}
		if s.rest[0] == ']' {
			s.rest = s.rest[1:]
			return nil
		}
		if bad := s.value(path + "[" + strconv.Itoa(i) + "]"); bad != nil {
			return bad
		}
	}
}

// text drops a string, returns what is between its quotes, and says what is wrong with it.
func (s *textScanner) text() (raw []byte, problem string) {
	end := 1
	for end < len(s.rest) && s.rest[end] != '"' {
		if s.rest[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(s.rest))
	raw = s.rest[1:end]
	s.rest = s.rest[min(end+1, len(s.rest)):]
	if !utf8.Valid(raw) {
		return raw, problemUTF8
	}
	return raw, s.escapes(raw)
}

// escapes looks at the \u escapes of a string.
func (s *textScanner) escapes(raw []byte) string {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		unit, ok := codeUnit(raw[i:])
		switch {
		case !ok:
			i++ // the escaped character
			continue
		case unit == 0:
			return problemNUL
		case unit == utf8.RuneError && s.replaced:
			return problemUTF8
		case unit >= 0xd800 && unit < 0xdc00:
			if low, ok := codeUnit(raw[i+6:]); !ok || low < 0xdc00 || low > 0xdfff {
				return problemSurrogate
			}
			i += 6
		case unit >= 0xdc00 && unit <= 0xdfff:
			return problemSurrogate
		}
		i += 5
	}
	return ""
}

// codeUnit reads \uXXXX.
func codeUnit(raw []byte) (uint64, bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	return unit, err == nil
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func memberPath(name []byte) string {
	if plainName.Match(name) {
		return "." + string(name)
	}
	return `["` + string(bytes.ToValidUTF8(name, []byte("\ufffd"))) + `"]`
}
