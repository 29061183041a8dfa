package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// banned calls, and where they may stand all the same: package, names, reason,
// then after "in" the rooms or files that may.
const banned = `
time     Now,Since,Until,NewTimer,NewTicker,After,AfterFunc,Tick  the clock is handed in below node   in node node/api node/api/server cmd/toft internal/peering internal/store gossip bitswap internal/hosttest node/nodetest node/api/apitest
time     Sleep                                  wait on a channel or a context instead in internal/hosttest internal/store/lock.go
os       Exit                                   only main ends the process             in cmd/toft/main.go
fmt      Print,Printf,Println                   write to the writer you were given     in
context  TODO                                   pass the caller's context              in
github.com/libp2p/go-libp2p  New,NewWithoutDefaults  one place makes a host            in node/host.go internal/hosttest
crypto/ed25519  Sign,GenerateKey,NewKeyFromSeed only vault makes and uses secret keys  in internal/vault
crypto/hpke     Seal,Open,NewSender,NewRecipient,DeriveKeyPair,GenerateKey  only vault seals and opens  in internal/vault
crypto/rand     Text,Int,Prime                  read from the reader you were given    in
log/slog        Default,SetDefault,Info,Warn,Error,Debug  the logger is handed in      in
net/http        Get,Post,Head,PostForm,Handle,HandleFunc,ListenAndServe  no package state of net/http  in
`

// panics is how many panics a room may hold: each guards an invariant that no
// input can break. A new one is a decision, made here.
const panics = `
internal/wire      4
internal/replicate 1
internal/vault     6
internal/words     1
bitswap            1
crdt               4
team               2
internal/peering   1
node/api/server    1
node/api/apitest   2
`

// excused are constructs that are banned elsewhere: what, where, why.
const excused = `
any      crdt:EncodeValue          a document value has no narrower type
any      crdt:DecodeValue          the same
any      gossip:Subscribe          the signature of libp2p's event bus
context  internal/peering/network.go  a lifetime, ended by Close, not a request
context  node/api/server/server.go    the same
`

func isExcused(what, where string) bool {
	return slices.ContainsFunc(table(excused), func(row []string) bool { return row[0] == what && row[1] == where })
}

// calls visits every pkg.Name of f, with pkg resolved to its import path.
func calls(f *file, visit func(importPath, name string, n ast.Node)) {
	paths := map[string]string{}
	for _, p := range f.imports() {
		paths[f.name(p)] = p
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && paths[x.Name] != "" {
				visit(paths[x.Name], s.Sel.Name, n)
			}
		}
		return true
	})
}

func checkCalls(t *tree) []string {
	var out []string
	for _, f := range t.code() {
		calls(f, func(importPath, name string, n ast.Node) {
			for _, row := range table(banned) {
				i := slices.Index(row, "in")
				if row[0] != importPath || !slices.Contains(strings.Split(row[1], ","), name) {
					continue
				}
				if !slices.Contains(row[i+1:], f.dir) && !slices.Contains(row[i+1:], f.path) {
					out = append(out, fmt.Sprintf("%s: %s.%s: %s", t.at(f, n), importPath, name, strings.Join(row[2:i], " ")))
				}
			}
		})
	}
	return out
}

func TestCalls(t *testing.T) {
	keep(t, checkCalls, planted(t,
		"team/a.go", `package team; import ("time"; "fmt"); func f() { time.Now(); time.Sleep(time.Second); fmt.Println() }`,
		"node/a.go", `package node; import ("time"; "github.com/libp2p/go-libp2p"; ed "crypto/ed25519"); func f() { time.Now(); libp2p.New(); ed.Sign(nil, nil) }`,
		"node/host.go", `package node; import "github.com/libp2p/go-libp2p"; func g() { libp2p.New() }`,
		"node/a_test.go", `package node; import "time"; func f() { time.Now() }`,
	),
		"team/a.go:1: time.Now", "team/a.go:1: time.Sleep", "team/a.go:1: fmt.Println",
		"node/a.go:1: github.com/libp2p/go-libp2p.New", "node/a.go:1: crypto/ed25519.Sign")
}

// slow are tests that may sleep, and why.
const slow = `
cmd/toft/script_test.go      polls another process, with a deadline
bitswap/hostile_test.go      a hostile peer that trickles
bitswap/fetch_test.go        gives what must not happen the time to happen
gossip/bench_test.go         a benchmark of lone messages, which leaves time between them
`

// checkSleep bans real sleeps from tests. Under testing/synctest time is fake and
// a sleep costs nothing and races nothing.
func checkSleep(t *tree) []string {
	var out []string
	for _, f := range t.files {
		excused := slices.ContainsFunc(table(slow), func(row []string) bool { return row[0] == f.path })
		if !f.test || excused || f.name("testing/synctest") != "" {
			continue
		}
		calls(f, func(importPath, name string, n ast.Node) {
			if importPath == "time" && name == "Sleep" {
				out = append(out, t.at(f, n)+": time.Sleep in a test: wait for what should happen, or use testing/synctest")
			}
		})
	}
	return out
}

func TestNoSleepInTests(t *testing.T) {
	keep(t, checkSleep, planted(t,
		"node/a_test.go", `package node; import "time"; func f() { time.Sleep(1) }`,
		"node/b_test.go", `package node; import ("time"; "testing/synctest"); var _ = synctest.Wait; func g() { time.Sleep(1) }`,
	), "node/a_test.go:1")
}

// checkConstructs bans init, panics beyond the budget, contexts in structs, and
// any in exported signatures.
func checkConstructs(t *tree) []string {
	var out []string
	found := map[string]int{}
	for _, f := range t.code() {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					out = append(out, t.at(f, n)+": init: make it a function that somebody calls")
				}
				if n.Name.IsExported() && takesAny(n.Type) && !isExcused("any", f.dir+":"+n.Name.Name) {
					out = append(out, t.at(f, n)+": any in the exported signature of "+n.Name.Name)
				}
			case *ast.StructType:
				for _, field := range n.Fields.List {
					if s, ok := field.Type.(*ast.SelectorExpr); ok && isName(s.X, "context") && s.Sel.Name == "Context" && !isExcused("context", f.path) {
						out = append(out, t.at(f, field)+": context in a struct: pass it to the call")
					}
				}
			case *ast.CallExpr:
				if isName(n.Fun, "panic") {
					found[f.dir]++
				}
				if isName(n.Fun, "print") || isName(n.Fun, "println") {
					out = append(out, t.at(f, n)+": print: write to the writer you were given")
				}
			}
			return true
		})
	}
	for dir, n := range found {
		if limit := budget(panics, dir); n > limit {
			out = append(out, fmt.Sprintf("%s: %d panics, at most %d: return an error", dir, n, limit))
		}
	}
	return out
}

func budget(text, dir string) int {
	for _, row := range table(text) {
		if row[0] == dir {
			n := 0
			_, _ = fmt.Sscan(row[1], &n)
			return n
		}
	}
	return 0
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// takesAny reports whether a parameter or a result is any itself. A variadic
// ...any is printf's shape; map[string]any inside a named type is a document.
func takesAny(f *ast.FuncType) bool {
	lists := []*ast.FieldList{f.Params, f.Results}
	for _, list := range lists {
		if list == nil {
			continue
		}
		for _, field := range list.List {
			if i, ok := field.Type.(*ast.InterfaceType); ok && len(i.Methods.List) == 0 || isName(field.Type, "any") {
				return true
			}
		}
	}
	return false
}

func TestConstructs(t *testing.T) {
	keep(t, checkConstructs, planted(t,
		"attic/a.go", `package attic
import "context"
func init() {}
type s struct { ctx context.Context }
func Bad(v any) {}
func Fine(format string, args ...any) {}
func fine(v any) {}
func boom() { panic("x") }
func out() { println("x") }
`),
		"attic/a.go:3: init", "attic/a.go:4: context", "attic/a.go:5: any", "attic: 1 panics", "attic/a.go:9: print")
}

// checkState bans package variables that change: those without a value, and those
// that some function assigns to.
func checkState(t *tree) []string {
	vars := map[string]map[string]string{} // dir → name → where
	var out []string
	for _, f := range t.code() {
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				s := spec.(*ast.ValueSpec)
				for _, name := range s.Names {
					if name.Name == "_" {
						continue
					}
					if len(s.Values) == 0 && !embedded(g, s) && !stamped(f, name.Name) {
						out = append(out, fmt.Sprintf("%s: package variable %s without a value can only be there to change", t.at(f, name), name.Name))
					}
					if vars[f.dir] == nil {
						vars[f.dir] = map[string]string{}
					}
					vars[f.dir][name.Name] = t.at(f, name)
				}
			}
		}
	}
	for _, f := range t.code() {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				out = append(out, t.assigned(f, fn, vars[f.dir])...)
			}
		}
	}
	return out
}

// embedded reports a go:embed directive above the variable.
func embedded(g *ast.GenDecl, s *ast.ValueSpec) bool {
	for _, c := range []*ast.CommentGroup{g.Doc, s.Doc} {
		if c != nil && slices.ContainsFunc(c.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed") }) {
			return true
		}
	}
	return false
}

// stamped is the one variable that the linker sets.
func stamped(f *file, name string) bool { return f.dir == "cmd/toft" && name == "version" }

// assigned complains about assignments in fn to package variables. Names that fn
// declares itself are its own.
func (t *tree) assigned(f *file, fn *ast.FuncDecl, vars map[string]string) []string {
	own := map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				own[name.Name] = true
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					own[rootName(e)] = true
				}
			}
		case *ast.RangeStmt:
			own[rootName(n.Key)], own[rootName(n.Value)] = true, true
		case *ast.ValueSpec:
			for _, name := range n.Names {
				own[name.Name] = true
			}
		}
		return true
	})
	var out []string
	complain := func(e ast.Expr) {
		if name := rootName(e); name != "" && !own[name] && vars[name] != "" {
			out = append(out, fmt.Sprintf("%s: changes package variable %s (%s)", t.at(f, e), name, vars[name]))
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					complain(e)
				}
			}
		case *ast.IncDecStmt:
			complain(n.X)
		case *ast.CallExpr:
			if isName(n.Fun, "delete") || isName(n.Fun, "clear") {
				complain(n.Args[0])
			}
		}
		return true
	})
	return out
}

// rootName returns x of x, x.f, x[i], *x.
func rootName(e ast.Expr) string {
	for {
		switch v := e.(type) {
		case *ast.Ident:
			return v.Name
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
			e = v.X
		case *ast.StarExpr:
			e = v.X
		case *ast.ParenExpr:
			e = v.X
		default:
			return ""
		}
	}
}

func TestNoState(t *testing.T) {
	keep(t, checkState, planted(t, "node/a.go", `package node
import ("errors"; "sync")
var ErrX = errors.New("x")
var seen = map[string]int{}
var mu sync.Mutex
var n = 1
func f() { seen["a"] = 1 }
func g() { n++; n := 2; _ = n }
func h() { n++ }
`),
		"node/a.go:5: package variable mu", "node/a.go:7: changes package variable seen", "node/a.go:9: changes package variable n")
}
