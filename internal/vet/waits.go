package vet

import (
	"go/ast"
	"go/types"

	"golang.org/x/tools/go/analysis"
)

// Waits checks that no handler waits for another job. One that does keeps its slot busy, and when all slots wait,
// nothing moves any more; Await refuses it when it runs, and this says so before. Waits looks through functions of the same
// package. Facts about those of others would have every dependency read, at a minute for the first run, for what Await
// refuses anyway.
var Waits = &analysis.Analyzer{
	Name: "waits",
	Doc:  "report handlers that wait for jobs",
	Run:  runWaits,
}

const awaitMethod = "(*github.com/towpath/towpath/jobs.Client).Await"

func runWaits(pass *analysis.Pass) (any, error) {
	w := waitsCheck{pass: pass, via: map[*types.Func]string{}}
	declared := map[*types.Func]*ast.FuncDecl{}
	for _, file := range pass.Files {
		for _, decl := range file.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok && function.Body != nil {
				if object, ok := pass.TypesInfo.Defs[function.Name].(*types.Func); ok {
					declared[object] = function
				}
			}
		}
	}
	// What waits makes its callers wait: until nothing new is found.
	for found := true; found; {
		found = false
		for object, function := range declared {
			if w.via[object] != "" {
				continue
			}
			if call := w.waitingCall(function.Body); call != nil {
				w.via[object], found = call.via, true
			}
		}
	}
	w.reportHandlers(declared)
	return nil, nil
}

type waitsCheck struct {
	pass *analysis.Pass
	via  map[*types.Func]string
}

// waitingCall is a call that waits for a job.
type waitingCall struct {
	*ast.CallExpr
	via string
}

// waitingCall finds the first call in a body that waits. Calls in a goroutine of its own hold no slot.
func (w *waitsCheck) waitingCall(body ast.Node) *waitingCall {
	var found *waitingCall
	ast.Inspect(body, func(node ast.Node) bool {
		if found != nil {
			return false
		}
		switch n := node.(type) {
		case *ast.GoStmt:
			return false
		case *ast.CallExpr:
			if via := w.waitsFor(n); via != "" {
				found = &waitingCall{CallExpr: n, via: via}
			}
		}
		return true
	})
	return found
}

// waitsFor says what a call waits with, "" when it does not.
func (w *waitsCheck) waitsFor(call *ast.CallExpr) string {
	callee := calledFunction(w.pass.TypesInfo, call)
	if callee == nil {
		return ""
	}
	if callee.Origin().FullName() == awaitMethod {
		return "jobs.Client.Await"
	}
	if w.via[callee.Origin()] != "" {
		return callee.Name()
	}
	return ""
}

func calledFunction(info *types.Info, call *ast.CallExpr) *types.Func {
	expr := ast.Unparen(call.Fun)
	switch e := expr.(type) {
	case *ast.IndexExpr:
		expr = e.X
	case *ast.IndexListExpr:
		expr = e.X
	}
	switch e := expr.(type) {
	case *ast.Ident:
		function, _ := info.Uses[e].(*types.Func)
		return function
	case *ast.SelectorExpr:
		function, _ := info.Uses[e.Sel].(*types.Func)
		return function
	}
	return nil
}

// reportHandlers reports the handlers that wait: methods Work and functions that take a *river.Job.
func (w *waitsCheck) reportHandlers(declared map[*types.Func]*ast.FuncDecl) {
	isAllowed := allowed(w.pass)
	report := func(signature *types.Signature, body ast.Node) {
		if !takesJob(signature) {
			return
		}
		if call := w.waitingCall(body); call != nil && !isAllowed(call.Pos()) {
			w.pass.Reportf(call.Pos(), "a handler waits for another job with %s and holds its slot meanwhile; "+
				"enqueue what is to follow at the end of the job that it waits for", call.via)
		}
	}
	for object, function := range declared {
		report(object.Type().(*types.Signature), function.Body) //nolint:forcetypeassert // a function's type
	}
	for _, file := range w.pass.Files {
		ast.Inspect(file, func(node ast.Node) bool {
			if literal, ok := node.(*ast.FuncLit); ok {
				if signature, ok := w.pass.TypesInfo.TypeOf(literal).(*types.Signature); ok {
					report(signature, literal.Body)
				}
			}
			return true
		})
	}
}

// takesJob reports whether a function is called as River calls handlers: with a context and a job, for an error.
func takesJob(signature *types.Signature) bool {
	if signature.Params().Len() != 2 || signature.Results().Len() != 1 {
		return false
	}
	pointer, ok := signature.Params().At(1).Type().(*types.Pointer)
	if !ok {
		return false
	}
	named, ok := pointer.Elem().(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "github.com/riverqueue/river" && named.Obj().Name() == "Job"
}
