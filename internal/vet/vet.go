// Package vet looks through Go code for what makes background jobs fail later, in the manner of `go vet`:
//
//   - args: the args of a job that hold what the database cannot keep, such as clients, files, channels and pointers.
//   - waits: handlers that wait for other jobs, which hold their slots while they do.
//
// The checks are analyzers of golang.org/x/tools and run inside `go vet`, which brings the packages' types, build tags
// and a cache, so a program that offers them is called again by `go vet` as its tool: IsTool recognises such a call
// and Tool answers it. Run is the way in for people.
//
// A comment //towpath:allow with a reason, at the end of the line or alone on the line before, keeps a finding quiet.
package vet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/unitchecker"
)

// Analyzers are all checks.
func Analyzers() []*analysis.Analyzer { return []*analysis.Analyzer{Args, Waits} }

// IsTool reports whether a program's arguments are a call by `go vet`.
func IsTool(args []string) bool {
	if len(args) == 1 && (args[0] == "-flags" || args[0] == "-V=full") {
		return true
	}
	last := len(args) - 1
	return last >= 0 && filepath.Base(args[last]) == "vet.cfg" &&
		!slices.ContainsFunc(args[:last], func(arg string) bool { return !strings.HasPrefix(arg, "-") })
}

// Tool answers a call by `go vet` and ends the process.
func Tool() { unitchecker.Main(Analyzers()...) }

// A Finding is one place to mend.
type Finding struct {
	Check    string `json:"check" about:"which check found it: args or waits"`
	Position string `json:"position" about:"file:line:column"`
	Message  string `json:"message" about:"what is wrong, and what to do"`
}

// Run checks packages, which are named as for `go vet`, with tool, the path of a program that answers as Tool does. The
// findings come in the order of their positions. It needs the go command; packages that do not compile are an error.
func Run(ctx context.Context, tool, dir string, packages []string) ([]Finding, error) {
	args := append([]string{"vet", "-vettool=" + tool, "-json"}, packages...)
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("the go command is needed to read Go code, and is not in PATH; install Go: https://go.dev/dl")
	}
	if err != nil {
		return nil, fmt.Errorf("vet %s: %s", strings.Join(packages, " "), report(stderr.String(), err))
	}
	findings, err := parse(stdout.Bytes())
	if err == nil && len(findings) == 0 {
		findings, err = parse(stderr.Bytes()) // where older versions of go print them
	}
	if err != nil {
		return nil, fmt.Errorf("vet %s: read what `go vet` printed: %w", strings.Join(packages, " "), err)
	}
	return findings, nil
}

// report is what the go command said of its failure.
func report(text string, err error) string {
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(text), "\n"), func(line string) bool {
		return line == "" || strings.HasPrefix(line, "#")
	})
	if len(lines) == 0 {
		return err.Error()
	}
	return strings.Join(lines, "\n\t")
}

// parse reads the JSON of `go vet -json`: an object for each package, between lines of comments.
func parse(output []byte) ([]Finding, error) {
	var objects bytes.Buffer
	for line := range bytes.Lines(output) {
		if !bytes.HasPrefix(line, []byte("#")) {
			objects.Write(line)
		}
	}
	decoder := json.NewDecoder(&objects)
	found := map[Finding]bool{} // a package and its tests are two packages, which share files
	for decoder.More() {
		var byPackage map[string]map[string]json.RawMessage
		if err := decoder.Decode(&byPackage); err != nil {
			return nil, err
		}
		for _, checks := range byPackage {
			for check, raw := range checks {
				if err := collect(found, check, raw); err != nil {
					return nil, err
				}
			}
		}
	}
	var findings []Finding
	for finding := range found {
		findings = append(findings, finding)
	}
	slices.SortFunc(findings, func(a, b Finding) int { return comparePositions(a.Position, b.Position) })
	return findings, nil
}

func collect(found map[Finding]bool, check string, raw json.RawMessage) error {
	var diagnostics []struct {
		Posn    string `json:"posn"`
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &diagnostics) != nil {
		var failure struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal(raw, &failure); err != nil {
			return err
		}
		return fmt.Errorf("check %s: %s", check, failure.Error)
	}
	for _, d := range diagnostics {
		found[Finding{Check: check, Position: d.Posn, Message: d.Message}] = true
	}
	return nil
}

// comparePositions orders by file, then by line and column as numbers: a shorter number is a smaller one.
func comparePositions(a, b string) int {
	as, bs := strings.Split(a, ":"), strings.Split(b, ":")
	for i := range min(len(as), len(bs)) {
		if i > 0 && len(as[i]) != len(bs[i]) {
			return len(as[i]) - len(bs[i])
		}
		if c := strings.Compare(as[i], bs[i]); c != 0 {
			return c
		}
	}
	return len(as) - len(bs)
}

// allowMark begins a comment that keeps a finding quiet.
const allowMark = "//towpath:allow"

// allowed returns the lines of a package on which findings are kept quiet.
func allowed(pass *analysis.Pass) func(token.Pos) bool {
	type line struct {
		file string
		n    int
	}
	lines := map[line]bool{}
	for _, file := range pass.Files {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				if reason, ok := strings.CutPrefix(comment.Text, allowMark); ok && strings.TrimSpace(reason) != "" {
					at := pass.Fset.Position(comment.Pos())
					lines[line{at.Filename, at.Line}] = true
					lines[line{at.Filename, at.Line + 1}] = true
				}
			}
		}
	}
	return func(pos token.Pos) bool {
		at := pass.Fset.Position(pos)
		return lines[line{at.Filename, at.Line}]
	}
}

// receiverName is the name of the type whose method a declaration is, or "".
func receiverName(decl *ast.FuncDecl) string {
	if decl.Recv == nil || len(decl.Recv.List) == 0 {
		return ""
	}
	expr := decl.Recv.List[0].Type
	for {
		switch e := expr.(type) {
		case *ast.StarExpr:
			expr = e.X
		case *ast.IndexExpr:
			expr = e.X
		case *ast.IndexListExpr:
			expr = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}
