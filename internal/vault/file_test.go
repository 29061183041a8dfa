package vault

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Where the file system has no hard links the file is renamed into place, and
// still nothing that is there is replaced.
func TestNewFilesWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	noLinks := func(old, new string) error {
		return &os.LinkError{Op: "link", Old: old, New: new, Err: errors.ErrUnsupported}
	}
	if err := putNew(path, []byte("first"), noLinks); err != nil {
		t.Fatal(err)
	}
	if err := putNew(path, []byte("second"), noLinks); !errors.Is(err, ErrKeystoreExists) {
		t.Errorf("again: %v", err)
	}
	// Somebody else was faster, between the look and the link.
	raced := filepath.Join(dir, "raced")
	for name, link := range map[string]func(old, new string) error{
		"with links": os.Link, "without links": noLinks,
	} {
		err := putNew(raced, []byte("mine"), func(old, new string) error {
			if err := os.WriteFile(new, []byte("theirs"), 0o600); err != nil {
				t.Fatal(err)
			}
			return link(old, new)
		})
		if !errors.Is(err, ErrKeystoreExists) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _ := os.ReadFile(raced); string(got) != "theirs" {
			t.Errorf("%s: the file holds %q", name, got)
		}
		if err := os.Remove(raced); err != nil {
			t.Fatal(err)
		}
	}
	if files := content(t, dir); len(files) != 1 || files["file"] != "first" {
		t.Errorf("left: %v", files)
	}
}

func TestFilesWhereNoneCanBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	under := filepath.Join(file, "identity")
	if err := CreateKeystore(under, identity(t, "alice"), KeyFile()); err == nil || errors.Is(err, ErrKeystoreExists) {
		t.Errorf("under a file: %v", err)
	}
	if err := replace(filepath.Join(dir, "no", "such"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replace in no directory: %v", err)
	}
	// A rename that fails leaves no temporary file.
	full := filepath.Join(dir, "full")
	if err := os.MkdirAll(filepath.Join(full, "of"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replace(full, []byte("x")); err == nil {
		t.Error("a directory was replaced")
	}
	if err := syncDir(filepath.Join(dir, "no", "such")); err == nil {
		t.Error("synced no directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
