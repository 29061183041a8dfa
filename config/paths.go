package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
)

// Paths is where things lie in a directory.
type Paths struct {
	Dir        string
	Config     string // DIR/config.toml
	Keystore   string // DIR/identity: the device key, locked
	Store      string // DIR/store
	Socket     string // DIR/api.sock
	SocketAddr string // DIR/api.addr: names the socket where it cannot lie in DIR
}

// maxSocket is the longest path a unix socket may have on every system, with some
// room: sun_path is 104 bytes on macOS and the BSDs, 108 on Linux.
const maxSocket = 100

// PathsOf returns the paths of a directory.
func PathsOf(dir string) Paths {
	in := func(name string) string { return filepath.Join(dir, name) }
	return Paths{
		Dir: dir, Config: in("config.toml"), Keystore: in("identity"), Store: in("store"),
		Socket: in("api.sock"), SocketAddr: in("api.addr"),
	}
}

// Paths returns the paths of c.Dir.
func (c Config) Paths() Paths { return PathsOf(c.Dir) }

// Initialised reports whether a node has lived in the directory: it has a key.
func (p Paths) Initialised() bool {
	_, err := os.Stat(p.Keystore)
	return err == nil
}

// DefaultDir returns where the command line keeps its node when nothing else is
// said: $TOFT_DIR, else toft in the data directory of the XDG specification or of
// the platform.
func DefaultDir(getenv func(string) string) string {
	if dir := getenv("TOFT_DIR"); dir != "" {
		return dir
	}
	if home := getenv("XDG_DATA_HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, "toft")
	}
	return filepath.Join(xdg.DataHome, "toft")
}

// ListenSocket returns where the daemon shall put its socket. Where DIR/api.sock
// would be longer than a socket's path may be, that is a private directory below
// $XDG_RUNTIME_DIR (or the temporary directory), and DIR/api.addr is written to
// say so; otherwise a stale DIR/api.addr is removed.
func (p Paths) ListenSocket(getenv func(string) string) (string, error) {
	abs, err := filepath.Abs(p.Socket)
	if err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	if len(abs) <= maxSocket {
		if err := os.Remove(p.SocketAddr); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("socket: %w", err)
		}
		return abs, nil
	}
	base := getenv("XDG_RUNTIME_DIR")
	if base == "" {
		base = os.TempDir()
	}
	sum := sha256.Sum256([]byte(abs))
	dir := filepath.Join(base, fmt.Sprintf("toft-%d-%s", os.Getuid(), hex.EncodeToString(sum[:8])))
	if err := privateDir(dir); err != nil {
		return "", err
	}
	socket := filepath.Join(dir, "api.sock")
	if len(socket) > maxSocket {
		return "", fmt.Errorf("socket: %s is longer than %d bytes: set XDG_RUNTIME_DIR to a short path", socket, maxSocket)
	}
	if err := os.WriteFile(p.SocketAddr, []byte(socket+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("socket: %w", err)
	}
	return socket, nil
}

// DialSocket returns where the daemon of this directory has its socket, if it runs.
func (p Paths) DialSocket() (string, error) {
	text, err := os.ReadFile(p.SocketAddr)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return filepath.Abs(p.Socket)
	case err != nil:
		return "", fmt.Errorf("socket: %w", err)
	}
	socket := strings.TrimSpace(string(text))
	if !filepath.IsAbs(socket) || len(socket) > maxSocket {
		return "", fmt.Errorf("socket: %s does not name one: remove it and restart the daemon", p.SocketAddr)
	}
	return socket, nil
}

// privateDir makes dir with mode 0700. Somebody else may have made it first, in a
// temporary directory that all share: then it is not used.
func privateDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ours(info) {
		return fmt.Errorf("socket: %s is not a directory of this user alone: remove it", dir)
	}
	return nil
}
