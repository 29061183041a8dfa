package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/toftdb/toft"

// file is one parsed Go file.
type file struct {
	path  string // slash-separated, relative to the module: node/sync.go
	dir   string // the room: node
	lines int
	test  bool // _test.go
	ast   *ast.File
}

// tree is the source of the module.
type tree struct {
	fset  *token.FileSet
	files []*file
}

// at says where n stands.
func (t *tree) at(f *file, n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, t.fset.Position(n.Pos()).Line)
}

// code returns the files that are no tests.
func (t *tree) code() []*file {
	return slices.DeleteFunc(slices.Clone(t.files), func(f *file) bool { return f.test })
}

// rooms returns the directories that hold code, sorted.
func (t *tree) rooms() []string {
	var out []string
	for _, f := range t.code() {
		if !slices.Contains(out, f.dir) {
			out = append(out, f.dir)
		}
	}
	slices.Sort(out)
	return out
}

// imports returns the import paths of f.
func (f *file) imports() []string {
	var out []string
	for _, s := range f.ast.Imports {
		out = append(out, strings.Trim(s.Path.Value, `"`))
	}
	return out
}

// name returns how f calls the package with this import path, "" if it does not
// import it.
func (f *file) name(importPath string) string {
	for _, s := range f.ast.Imports {
		if strings.Trim(s.Path.Value, `"`) != importPath {
			continue
		}
		if s.Name != nil {
			return s.Name.Name
		}
		base := path.Base(importPath)
		if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
			base = path.Base(path.Dir(importPath))
		}
		return strings.TrimPrefix(base, "go-")
	}
	return ""
}

func (t *tree) add(name string, src []byte) error {
	a, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.files = append(t.files, &file{
		path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
		lines: strings.Count(string(src), "\n"), ast: a,
	})
	return nil
}

// planted returns a tree of made-up files: path, source, path, source …
func planted(t *testing.T, pathsAndSources ...string) *tree {
	t.Helper()
	out := &tree{fset: token.NewFileSet()}
	for pair := range slices.Chunk(pathsAndSources, 2) {
		if err := out.add(pair[0], []byte(pair[1])); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// root is where go.mod stands.
const root = "../.."

var readTree = sync.OnceValues(func() (*tree, error) {
	out := &tree{fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			own := name == "." || name == ".."
			if d.Name() == "testdata" || d.Name() == "node_modules" || !own && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && !own {
				return fs.SkipDir // bench is a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || name == filepath.Join("internal", "house", "pins.go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return out.add(filepath.ToSlash(name), src)
	})
	return out, err
})

func source(t *testing.T) *tree {
	t.Helper()
	out, err := readTree()
	if err != nil {
		t.Fatal(err)
	}
	if len(out.files) < 20 {
		t.Fatalf("found only %d Go files under %s", len(out.files), root)
	}
	return out
}

// rule judges a tree and returns its complaints.
type rule func(*tree) []string

// keep runs a rule over the real source, and over a planted tree that breaks it
// once for every string in catches.
func keep(t *testing.T, r rule, broken *tree, catches ...string) {
	t.Helper()
	for _, complaint := range r(source(t)) {
		t.Error(complaint)
	}
	got := r(broken)
	for _, want := range catches {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("blind rule: nothing about %q in the planted tree, only %q", want, got)
		}
	}
	if len(got) != len(catches) {
		t.Errorf("rule found %d faults in the planted tree, want %d: %q", len(got), len(catches), got)
	}
}
