package house

import (
	"fmt"
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// decoders are functions that take bytes or text from outside. Whatever reads
// them must have met bytes nobody thought of.
var decoders = regexp.MustCompile(`^(Parse|Decode|Unwrap|Verify)[A-Z]?`)

// unfuzzed are decoders without a fuzz target of their own, and why.
const unfuzzed = `
internal/wire:DecodeFirst  through Decode
team:ParseRole             compares with four words
`

// checkFuzz wants every exported decoder of bytes or text to be named in the body
// of a fuzz target of its room.
func checkFuzz(t *tree) []string {
	named := map[string]bool{} // dir:identifier
	for _, f := range t.files {
		if !f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					named[f.dir+":"+id.Name] = true
				}
				return true
			})
		}
	}
	var out []string
	for _, f := range t.code() {
		if strings.HasPrefix(f.dir, "cmd/") || f.dir == "internal/house" {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || !fn.Name.IsExported() || !decoders.MatchString(fn.Name.Name) || !takesBytes(fn.Type) {
				continue
			}
			name := f.dir + ":" + fn.Name.Name
			if !named[name] && !strings.Contains(unfuzzed, "\n"+name+" ") {
				out = append(out, fmt.Sprintf("%s: no fuzz target of %s calls %s", t.at(f, fn), f.dir, fn.Name.Name))
			}
		}
	}
	return out
}

// takesBytes reports whether the first parameter is []byte or string.
func takesBytes(f *ast.FuncType) bool {
	if len(f.Params.List) == 0 {
		return false
	}
	switch p := f.Params.List[0].Type.(type) {
	case *ast.Ident:
		return p.Name == "string"
	case *ast.ArrayType:
		return p.Len == nil && isName(p.Elt, "byte")
	}
	return false
}

func TestDecodersAreFuzzed(t *testing.T) {
	keep(t, checkFuzz, planted(t,
		"team/a.go", "package team\nfunc Parse(b []byte) error { return nil }\nfunc ParseCode(s string) error { return nil }\nfunc ParseTree(x int) {}\nfunc parse(b []byte) {}\n",
		"team/a_test.go", "package team\nfunc FuzzCode(f *F) { ParseCode(x) }\nfunc TestParse(t *T) { Parse(nil) }\n",
	), "team/a.go:2: no fuzz target of team calls Parse")
}
