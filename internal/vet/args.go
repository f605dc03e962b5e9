package vet

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"reflect"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// Args checks the args of jobs. They are written to the database as JSON and read by another process, perhaps tomorrow:
// what is not a plain value does not get there.
var Args = &analysis.Analyzer{
	Name: "args",
	Doc:  "report job args that hold clients, files, channels, functions, pointers or fields that JSON leaves out",
	Run:  runArgs,
}

func runArgs(pass *analysis.Pass) (any, error) {
	isAllowed := allowed(pass)
	for _, file := range pass.Files {
		for _, decl := range file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || !namesKind(function) {
				continue
			}
			named := argsType(pass, receiverName(function))
			if named == nil {
				continue
			}
			c := argsCheck{pass: pass, args: named, allowed: isAllowed, seen: map[types.Type]bool{}}
			c.fields(named, named.Obj().Name(), token.NoPos)
		}
	}
	return nil, nil
}

// namesKind reports whether a declaration is what makes a type a job's args: Kind() string that returns a constant.
func namesKind(function *ast.FuncDecl) bool {
	if function.Name.Name != "Kind" || function.Recv == nil || function.Body == nil || function.Type.Params.NumFields() != 0 ||
		function.Type.Results.NumFields() != 1 || len(function.Body.List) != 1 {
		return false
	}
	result, ok := function.Type.Results.List[0].Type.(*ast.Ident)
	if !ok || result.Name != "string" {
		return false
	}
	returned, ok := function.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(returned.Results) != 1 {
		return false
	}
	switch returned.Results[0].(type) {
	case *ast.BasicLit, *ast.Ident, *ast.SelectorExpr, *ast.BinaryExpr:
		return true
	}
	return false
}

func argsType(pass *analysis.Pass, name string) *types.Named {
	object, ok := pass.Pkg.Scope().Lookup(name).(*types.TypeName)
	if !ok {
		return nil
	}
	named, ok := object.Type().(*types.Named)
	if !ok || hasMethod(named, "MarshalJSON") {
		return nil // it says itself what is kept
	}
	if _, ok := named.Underlying().(*types.Struct); !ok {
		return nil
	}
	return named
}

type argsCheck struct {
	pass    *analysis.Pass
	args    *types.Named
	allowed func(token.Pos) bool
	seen    map[types.Type]bool
}

// fields checks the fields of a struct. Those of a type of another package are reported where ours uses it. A type that
// reads itself knows what it does with fields that are not exported.
func (c *argsCheck) fields(t types.Type, path string, at token.Pos) {
	s := t.Underlying().(*types.Struct) //nolint:forcetypeassert // both callers have looked
	readsItself := hasMethod(t, "UnmarshalJSON")
	for i := range s.NumFields() {
		field := s.Field(i)
		pos := at
		if pos == token.NoPos || field.Pkg() == c.pass.Pkg && c.inPackage(field.Pos()) {
			pos = field.Pos()
		}
		if reflect.StructTag(s.Tag(i)).Get("json") == "-" || field.Name() == "_" {
			continue
		}
		where := path + "." + field.Name()
		if !field.Exported() && !field.Embedded() {
			if field.Pkg() == c.pass.Pkg && !readsItself {
				c.report(pos, where, "is not exported, so it is not stored: the worker finds it empty; export it, or mark it `json:\"-\"`")
			}
			continue
		}
		c.value(field.Type(), where, pos)
	}
}

func (c *argsCheck) inPackage(pos token.Pos) bool {
	for _, file := range c.pass.Files {
		if file.FileStart <= pos && pos <= file.FileEnd {
			return true
		}
	}
	return false
}

// value checks what a field or an element holds.
func (c *argsCheck) value(t types.Type, where string, pos token.Pos) {
	if c.seen[t] {
		return
	}
	if what := resource(t); what != "" {
		c.report(pos, where, fmt.Sprintf("is %s, which lives in this process alone; pass what the worker needs to open its own, such as a name or an id", what))
		return
	}
	switch u := t.Underlying().(type) {
	case *types.Chan:
		c.report(pos, where, "is a channel, which JSON cannot hold: the insert fails; a job's result is kept with river.RecordOutput")
	case *types.Signature:
		c.report(pos, where, "is a function, which JSON cannot hold: the insert fails; pass the name of what is to be done")
	case *types.Pointer:
		c.pointer(u, where, pos)
	case *types.Slice:
		c.value(u.Elem(), where+"[]", pos)
	case *types.Array:
		c.value(u.Elem(), where+"[]", pos)
	case *types.Map:
		c.value(u.Elem(), where+"[]", pos)
	case *types.Struct:
		if marshals(t) {
			return
		}
		c.seen[t] = true
		c.fields(t, where, pos)
		delete(c.seen, t)
	}
}

// pointer allows what is optional, a pointer to a plain value, and nothing that somebody else may change.
func (c *argsCheck) pointer(p *types.Pointer, where string, pos token.Pos) {
	elem := p.Elem()
	if _, basic := elem.Underlying().(*types.Basic); basic || marshals(elem) {
		return
	}
	c.report(pos, where, fmt.Sprintf("is a pointer to %s, of which the worker gets a copy as it was when the job was enqueued; pass an id, or the value itself",
		types.TypeString(elem, types.RelativeTo(c.pass.Pkg))))
}

func (c *argsCheck) report(pos token.Pos, where, message string) {
	if !c.allowed(pos) {
		c.pass.Reportf(pos, "args of a job: %s %s", where, message)
	}
}

// resources are types that stand for something outside of a value, by the package's path and the type's name.
var resources = map[string]string{
	"context.Context":                        "a context",
	"database/sql.Conn":                      "a database connection",
	"database/sql.DB":                        "a database handle",
	"database/sql.Rows":                      "an open query",
	"database/sql.Stmt":                      "a prepared statement",
	"database/sql.Tx":                        "a transaction",
	"io.Closer":                              "a stream",
	"io.ReadCloser":                          "a stream",
	"io.Reader":                              "a stream",
	"io.ReadWriter":                          "a stream",
	"io.Writer":                              "a stream",
	"log/slog.Logger":                        "a logger",
	"log.Logger":                             "a logger",
	"net.Conn":                               "a network connection",
	"net.Listener":                           "a listener",
	"net/http.Client":                        "an HTTP client",
	"net/http.Request":                       "an HTTP request",
	"net/http.Response":                      "an HTTP response",
	"net/http.ResponseWriter":                "an HTTP response",
	"os.File":                                "an open file",
	"os.Process":                             "a process",
	"os/exec.Cmd":                            "a command",
	"sync.Mutex":                             "a lock",
	"sync.Once":                              "a lock",
	"sync.RWMutex":                           "a lock",
	"sync.WaitGroup":                         "a lock",
	"testing.T":                              "a test",
	"github.com/jackc/pgx/v5.Conn":           "a database connection",
	"github.com/jackc/pgx/v5.Tx":             "a transaction",
	"github.com/jackc/pgx/v5.Rows":           "an open query",
	"github.com/riverqueue/river.Job":        "a job",
	"github.com/towpath/towpath/jobs.Client": "a job client",
}

// resource says what a type, or what it points to, stands for when that is no value; "" when it may be one. A type whose
// name ends in Client, Conn or Pool and that has methods is taken for what its name says.
func resource(t types.Type) string {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	named, ok := t.(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return ""
	}
	name := named.Obj().Name()
	if what := resources[named.Obj().Pkg().Path()+"."+name]; what != "" {
		return what
	}
	if types.NewMethodSet(types.NewPointer(named)).Len() == 0 || marshals(named) {
		return ""
	}
	for suffix, what := range map[string]string{"Client": "a client", "Conn": "a connection", "Pool": "a pool"} {
		if strings.HasSuffix(name, suffix) {
			return what
		}
	}
	return ""
}

// marshals reports whether a type says itself how it is written as JSON or as text.
func marshals(t types.Type) bool { return hasMethod(t, "MarshalJSON") || hasMethod(t, "MarshalText") }

func hasMethod(t types.Type, name string) bool {
	if _, pointer := t.(*types.Pointer); !pointer {
		t = types.NewPointer(t)
	}
	method, _, _ := types.LookupFieldOrMethod(t, true, nil, name)
	_, ok := method.(*types.Func)
	return ok
}
