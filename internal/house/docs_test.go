package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// maxReadme is in lines: a README is read standing up.
const maxReadme = 150

var (
	// fenced matches a block of code from its fence to the next fence of the kind, code a span of it.
	fenced = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```[ \t]*$|^[ \t]*~~~.*?^[ \t]*~~~[ \t]*$")
	code   = regexp.MustCompile("`[^`\n]+`")

	// inline matches [text](target "title") and images, reference a line [name]: target, and attribute an HTML one.
	inline    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	reference = regexp.MustCompile(`(?m)^[ ]{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s+"[^"]*")?\s*$`)
	attribute = regexp.MustCompile(`\b(?:href|src)="([^"]+)"`)

	external = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	heading  = regexp.MustCompile(`(?m)^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$`)
	anchor   = regexp.MustCompile(`<a\s+(?:id|name)="([^"]+)"`)
	linked   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// documents are the Markdown files of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*.md", "docs/*.md", "cmd/*/*.md"} {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		found = append(found, matches...)
	}
	require.Contains(t, found, filepath.Join(root, "README.md"))
	return found
}

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	require.Less(t, strings.Count(string(text), "\n"), maxReadme)
}

func TestLinksResolve(t *testing.T) {
	t.Parallel()
	for _, document := range documents(t) {
		text, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, target := range targets(string(text)) {
			if problem := follow(document, target); problem != "" {
				t.Errorf("%s: link to %s: %s", document, target, problem)
			}
		}
	}
}

// targets returns what a document links to inside the repository.
func targets(text string) []string {
	text = code.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
	var found []string
	for _, form := range []*regexp.Regexp{inline, reference, attribute} {
		for _, match := range form.FindAllStringSubmatch(text, -1) {
			if !external.MatchString(match[1]) {
				found = append(found, match[1])
			}
		}
	}
	return found
}

// follow says what is wrong with a link, "" when nothing is.
func follow(document, target string) string {
	path, fragment, _ := strings.Cut(target, "#")
	file := document
	if path != "" {
		file = filepath.Join(filepath.Dir(document), filepath.FromSlash(path))
	}
	info, err := os.Stat(file)
	if err != nil {
		return "there is no such file"
	}
	if fragment == "" || info.IsDir() || filepath.Ext(file) != ".md" {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	if !anchors(string(text))[fragment] {
		return "there is no such heading"
	}
	return ""
}

// anchors returns the names that headings get on GitHub, and those given by hand.
func anchors(text string) map[string]bool {
	text = fenced.ReplaceAllString(text, "")
	names := map[string]bool{}
	for _, match := range anchor.FindAllStringSubmatch(text, -1) {
		names[match[1]] = true
	}
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		name := slug(match[1])
		for n := 1; names[name]; n++ {
			name = slug(match[1]) + "-" + strconv.Itoa(n)
		}
		names[name] = true
	}
	return names
}

// slug is a heading's name: small letters, digits, hyphens and underscores, with hyphens for spaces.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, linked.ReplaceAllString(heading, "$1"))
}

// A checker that finds nothing looks like documents without faults, so it is shown some.
func TestTheLinkCheckerSees(t *testing.T) {
	t.Parallel()
	text := "[a](b.md#c) ![i](<d.png> \"t\") <a href=\"e\">\n\n[r]: f.md\n`[no](g)`\n\n```\n[no](h)\n```\n[out](https://example.com)"
	require.ElementsMatch(t, []string{"b.md#c", "d.png", "e", "f.md"}, targets(text))

	document := filepath.Join(t.TempDir(), "document.md")
	require.NoError(t, os.WriteFile(document, []byte("# One `two`: three\n\n## Four\n\n## Four\n"), 0o600))
	require.Empty(t, follow(document, "#one-two-three"))
	require.Empty(t, follow(document, "document.md#four-1"))
	require.NotEmpty(t, follow(document, "#five"))
	require.NotEmpty(t, follow(document, "absent.md"))
}
