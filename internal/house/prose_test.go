package house

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// checkPackageComments wants one comment per room, in one file, that teaches:
// the idea, an example or a drawing, and what the room refuses to know.
func checkPackageComments(t *tree) []string {
	var out []string
	for _, dir := range t.rooms() {
		var docs []string
		prefix := "Package "
		for _, f := range t.code() {
			if f.dir != dir {
				continue
			}
			if f.ast.Name.Name == "main" {
				prefix = "Command "
			}
			if f.ast.Doc != nil {
				docs = append(docs, f.ast.Doc.Text())
			}
		}
		switch {
		case len(docs) == 0:
			out = append(out, dir+": no package comment")
		case len(docs) > 1:
			out = append(out, dir+": more than one package comment")
		case !strings.HasPrefix(docs[0], prefix):
			out = append(out, dir+": package comment does not start with "+prefix)
		case len(strings.Fields(docs[0])) < 40:
			out = append(out, dir+": package comment teaches nothing: the idea, an example, what it refuses to know")
		}
	}
	return out
}

func TestPackageComments(t *testing.T) {
	long := strings.Repeat("word ", 40)
	keep(t, checkPackageComments, planted(t,
		"a/a.go", "package a", "b/b.go", "// Package b is short.\npackage b",
		"c/c.go", "// Package c "+long+"\npackage c", "c/d.go", "// Package c "+long+"\npackage c",
		"d/d.go", "// Hello "+long+"\npackage d", "e/e.go", "// Package e "+long+"\npackage e",
	), "a: no package", "b: package comment teaches", "c: more than one", "d: package comment does not start")
}

// known are methods whose meaning their interface fixes.
const known = ` String Error Unwrap Is As GoString Format LogValue MarshalText UnmarshalText MarshalJSON UnmarshalJSON
MarshalCBOR UnmarshalCBOR MarshalJSONTo UnmarshalJSONFrom Len Less Swap Read Write Close ServeHTTP `

// checkDocs wants a comment on every exported function, method and type. A group
// of constants or variables may share one, and so may methods of one name that
// stand in a block.
func checkDocs(t *tree) []string {
	var out []string
	missing := func(f *file, n ast.Node, name string) {
		out = append(out, fmt.Sprintf("%s: exported %s without a comment", t.at(f, n), name))
	}
	for _, f := range t.code() {
		if f.ast.Name.Name == "main" {
			continue
		}
		for i, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				name := d.Name.Name
				if i > 0 && t.follows(f.ast.Decls[i-1], d) {
					continue
				}
				if d.Name.IsExported() && d.Doc == nil && receiverExported(d) && (d.Recv == nil || !strings.Contains(known, " "+name+" ")) {
					missing(f, d, name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
							missing(f, s, s.Name.Name)
						}
					case *ast.ValueSpec:
						if s.Names[0].IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
							missing(f, s, s.Names[0].Name)
						}
					}
				}
			}
		}
	}
	return out
}

// follows reports whether d is one more method of the name of the one on the line
// above.
func (t *tree) follows(above ast.Decl, d *ast.FuncDecl) bool {
	m, ok := above.(*ast.FuncDecl)
	return ok && m.Recv != nil && d.Recv != nil && m.Name.Name == d.Name.Name &&
		t.fset.Position(m.End()).Line+1 == t.fset.Position(d.Pos()).Line
}

func receiverExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	if s, ok := e.(*ast.StarExpr); ok {
		e = s.X
	}
	if g, ok := e.(*ast.IndexExpr); ok {
		e = g.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}

func TestDocs(t *testing.T) {
	keep(t, checkDocs, planted(t, "a/a.go", `package a
type T struct{}
func (T) String() string { return "" }
func (T) Do() {}
func F() {}
func f() {}
// Kinds.
const (
	A = 1
	B = 2
)
var V = 1
type u struct{}
func (u) Do() {}
`), "a.go:2: exported T", "a.go:4: exported Do", "a.go:5: exported F", "a.go:12: exported V")
}

// checkNames bans words that say nothing: they name no idea, so anything fits in.
func checkNames(t *tree) []string {
	empty := regexp.MustCompile(`(?i)^(util|utils|common|helper|helpers|misc|base|impl|manager|service|types|shared)$`)
	suffix := regexp.MustCompile(`(Manager|Util|Utils|Helper|Helpers|Impl|Service|Factory)$`)
	var out []string
	for _, f := range t.files {
		if name := strings.TrimSuffix(f.ast.Name.Name, "_test"); empty.MatchString(name) {
			out = append(out, f.path+": package name "+name+" says nothing")
		}
		if stem := strings.TrimSuffix(filepath.Base(f.path), ".go"); empty.MatchString(strings.TrimSuffix(stem, "_test")) {
			out = append(out, f.path+": file name says nothing")
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && suffix.MatchString(s.Name.Name) {
				out = append(out, t.at(f, s)+": type name "+s.Name.Name+" says nothing")
			}
			return true
		})
	}
	return out
}

func TestNames(t *testing.T) {
	keep(t, checkNames, planted(t,
		"util/a.go", "package util", "a/helpers.go", "package a", "a/b.go", "package a; type PeerManager struct{}", "a/server.go", "package a; type Server struct{}",
	), "util/a.go: package name", "a/helpers.go: file name", "a/b.go:1: type name PeerManager")
}

// checkTodos wants an issue number behind every promise.
func checkTodos(t *tree) []string {
	promise := regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
	numbered := regexp.MustCompile(`\bTODO\(#[0-9]+\)`)
	var out []string
	for _, f := range t.files {
		if f.dir == "internal/house" {
			continue
		}
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				if promise.MatchString(c.Text) && !numbered.MatchString(c.Text) {
					out = append(out, t.at(f, c)+": a promise without an issue: TODO(#12)")
				}
			}
		}
	}
	return out
}

func TestTodos(t *testing.T) {
	keep(t, checkTodos, planted(t, "a/a.go", "package a\n// TODO later\n// TODO(#3) later\n// FIXME\n"), "a/a.go:2", "a/a.go:4")
}

// checkReferences refuses comments that send the reader to a document that is not
// in the house.
func checkReferences(t *tree) []string {
	document := regexp.MustCompile(`[A-Za-z0-9_/-]+\.md\b`)
	var out []string
	for _, f := range t.files {
		if f.dir == "internal/house" {
			continue
		}
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				for _, name := range document.FindAllString(c.Text, -1) {
					if _, err := os.Stat(filepath.Join(root, name)); err != nil {
						out = append(out, fmt.Sprintf("%s: refers to %s, which is not there", t.at(f, c), name))
					}
				}
			}
		}
	}
	return out
}

func TestReferences(t *testing.T) {
	keep(t, checkReferences, planted(t, "a/a.go", "package a\n// See README.md.\n// See 10-design.md.\n"), "a/a.go:3")
}

// A link in the documents that leads nowhere is a document nobody reads.
func TestDocumentLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, want := range []string{"README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md", "docs/format.md", "docs/protocol.md"} {
		if !slices.Contains(files, filepath.Join(root, want)) {
			t.Errorf("no %s", want)
		}
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}
