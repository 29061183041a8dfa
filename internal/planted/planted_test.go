package planted

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// run asks for the long way: every bug, one after another.
var (
	run  = flag.Bool("bugs", false, "plant every bug of testdata and prove that it is caught")
	only = flag.String("bug", "", "with -bugs: only those whose name contains this")
)

const root = "../.."

// bug is a line of testdata/*.txt.
type bug struct{ name, dir, tests, what string }

func listed(t *testing.T) []bug {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, name := range files {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(append(text, part...), '\n')
	}
	var out []bug
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 4 {
			t.Fatalf("the list: a line is NAME PACKAGE TESTS what is wrong, not %q", line)
		}
		b := bug{name: words[0], dir: words[1], tests: words[2], what: strings.Join(words[3:], " ")}
		if slices.ContainsFunc(out, func(x bug) bool { return x.name == b.name }) {
			t.Errorf("the list: %s stands there twice", b.name)
		}
		out = append(out, b)
	}
	return out
}

// inSource returns where bugs are planted: name → file:line.
func inSource(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2, d.IsDir() && d.Name() == "testdata":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Bug" {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); !ok || x.Name != "planted" {
				return true
			}
			at := fset.Position(call.Pos()).String()
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a bug is named by a literal", at)
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Errorf("%s: %v", at, err)
			}
			out[name] = at
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every bug in the source has a line that says who catches it, and every line a bug.
func TestTheListIsTheSource(t *testing.T) {
	source, list := inSource(t), listed(t)
	for _, b := range list {
		if source[b.name] == "" {
			t.Errorf("the list lists %s, which is planted nowhere", b.name)
		}
		delete(source, b.name)
		if _, err := os.Stat(filepath.Join(root, b.dir)); err != nil {
			t.Errorf("the list: %s is caught in %s, which is not there", b.name, b.dir)
		}
	}
	for name, at := range source {
		t.Errorf("%s: bug %s has no line in testdata: who catches it?", at, name)
	}
}

// In this build there are no bugs.
func TestNoBugIsHere(t *testing.T) {
	for _, b := range listed(t) {
		if Bug(b.name) {
			t.Errorf("bug %s is in the build", b.name)
		}
	}
}

// Each bug is planted, and its tests are run. First they must pass without it.
func TestPlantedBugs(t *testing.T) {
	if !*run {
		t.Skip("-bugs plants them")
	}
	dir := t.TempDir()
	built := map[string]string{} // by package: the test binary
	sound := map[string]error{}  // by package and tests: what they say without a bug
	caught, all := 0, 0
	for _, b := range listed(t) {
		if !strings.Contains(b.name, *only) {
			continue
		}
		all++
		bin, ok := built[b.dir]
		if !ok {
			bin = filepath.Join(dir, strings.ReplaceAll(b.dir, "/", "_"))
			cmd := exec.CommandContext(t.Context(), "go", "test", "-tags", "toftbug", "-c", "-o", bin, "./"+b.dir)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("build tests of %s: %v\n%s", b.dir, err, out)
			}
			built[b.dir] = bin
		}
		key := b.dir + " " + b.tests
		if _, ok := sound[key]; !ok {
			out, err := try(t, bin, b, "")
			if err == nil && bytes.Contains(out, []byte("no tests to run")) {
				err = fmt.Errorf("no tests fit %s", b.tests)
			}
			if sound[key] = err; err != nil {
				t.Errorf("tests of %s fail without a bug: %v\n%s", key, err, tail(out))
			}
		}
		begun := time.Now()
		out, err := try(t, bin, b, b.name)
		switch {
		case sound[key] != nil:
			t.Logf("?      %-34s its tests fail without it", b.name)
		case err != nil:
			caught++
			t.Logf("caught %-34s by %s in %.1f s: %s", b.name, first(out), time.Since(begun).Seconds(), b.what)
		default:
			t.Errorf("MISSED %-34s by %s -run %s: %s", b.name, b.dir, b.tests, b.what)
		}
	}
	t.Logf("%d of %d planted bugs caught", caught, all)
}

// try runs a bug's tests with a bug in the build, "" for none.
func try(t *testing.T, bin string, b bug, name string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "-test.run", b.tests, "-test.count=1", "-test.timeout=4m", "-test.failfast")
	cmd.Dir, cmd.Env = filepath.Join(root, b.dir), append(os.Environ(), "TOFT_BUG="+name)
	return cmd.CombinedOutput()
}

// first returns the test that failed.
func first(out []byte) string {
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
			name, _, _ = strings.Cut(name, " ")
			return name
		}
		if strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			return line
		}
	}
	return "its tests"
}

// tail is the end of a long output.
func tail(out []byte) []byte { return out[max(0, len(out)-4000):] }
