package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FormatVersion is the format this program writes; it opens no newer one.
const FormatVersion = 1

const (
	formatFile   = "format"
	formatMagic  = "toft-store "
	maxFormatLen = 64 // "toft-store " ‖ decimal ‖ "\n"
)

// readFormat returns the format of dir, and 0 for a directory that is missing
// or has never held a store. It writes nothing: an older program must be able
// to turn away without a trace. That is why the version is a file of its own
// and not a key; opening the engine would already write.
func readFormat(disk vfs.FS, dir string) (int, error) {
	raw, err := readBounded(disk, disk.PathJoin(dir, formatFile), maxFormatLen)
	if errors.Is(err, fs.ErrNotExist) {
		_, err := disk.Stat(disk.PathJoin(dir, engineDir))
		switch {
		case err == nil:
			return 0, &VersionError{Dir: dir, Known: FormatVersion}
		case errors.Is(err, fs.ErrNotExist):
			return 0, nil
		default:
			return 0, fmt.Errorf("store %s: look for data: %w", dir, err)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("store %s: read format: %w", dir, err)
	}
	found := parseFormat(raw)
	if found < 1 || found > FormatVersion {
		return 0, &VersionError{Dir: dir, Found: found, Known: FormatVersion}
	}
	return found, nil
}

// parseFormat accepts exactly what writeFormat writes and returns 0 for the
// rest.
func parseFormat(raw []byte) int {
	digits, isFormat := bytes.CutPrefix(raw, []byte(formatMagic))
	digits, ended := bytes.CutSuffix(digits, []byte("\n"))
	n, err := strconv.Atoi(string(digits))
	if !isFormat || !ended || err != nil || n < 1 || strconv.Itoa(n) != string(digits) {
		return 0
	}
	return n
}

// writeFormat makes the version durable before the first byte of data is: a
// crash leaves a directory that is fresh or one that says what it is.
func writeFormat(disk vfs.FS, dir string) error {
	name := disk.PathJoin(dir, formatFile)
	text := formatMagic + strconv.Itoa(FormatVersion) + "\n"
	if err := replaceFile(disk, name, []byte(text)); err != nil {
		return fmt.Errorf("store %s: write format: %w", dir, writeError(err))
	}
	return nil
}

// replaceFile writes name so that after a crash it is old or new, never half:
// temporary file, fsync, rename, fsync of the directory.
func replaceFile(disk vfs.FS, name string, text []byte) error {
	temp := name + ".tmp"
	f, err := disk.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(bytes.Clone(text)) // a vfs.File may scribble on what it is given
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := disk.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(disk, disk.PathDir(name))
}

func syncDir(disk vfs.FS, dir string) error {
	d, err := disk.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readBounded reads a small file whole and refuses one above limit.
func readBounded(disk vfs.FS, name string, limit int64) ([]byte, error) {
	f, err := disk.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		return nil, nil // no valid content is that long
	}
	return raw, err
}
