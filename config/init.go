package config

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Init makes dir a home for a node: the directory (0700) and config.toml, if they
// are not there yet. want holds what the caller was told, empty fields mean: as it
// is, or else what the environment says (names only), or else the default. It is
// idempotent; a want that contradicts the file is an error, because the names may
// already stand in a team's chain. random draws the port.
func Init(dir string, getenv func(string) string, want Config, random io.Reader) (Config, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	_, err := os.Stat(PathsOf(dir).Config)
	if err == nil {
		return reInit(dir, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	c := Default(dir)
	overlay(&c, want)
	c.User = cmp.Or(c.User, getenv("TOFT_USER"), loginName())
	c.Device = cmp.Or(c.Device, getenv("TOFT_DEVICE"), hostName())
	c.PassphraseFile = cmp.Or(c.PassphraseFile, getenv("TOFT_PASSPHRASE_FILE"))
	if c.Listen == nil {
		port, err := drawPort(random)
		if err != nil {
			return Config{}, err
		}
		c.Listen = Everywhere(port)
	}
	if c.PassphraseFile != "" { // the next start may be in another directory
		if c.PassphraseFile, err = filepath.Abs(c.PassphraseFile); err != nil {
			return Config{}, fmt.Errorf("config: %w", err)
		}
	}
	if err := c.Check(); err != nil {
		return Config{}, err
	}
	return c, save(c)
}

func reInit(dir string, want Config) (Config, error) {
	c, err := loadFile(dir)
	if err != nil {
		return Config{}, err
	}
	if want.PassphraseFile != "" {
		if want.PassphraseFile, err = filepath.Abs(want.PassphraseFile); err != nil {
			return Config{}, fmt.Errorf("config: %w", err)
		}
	}
	for _, f := range []struct{ field, have, want string }{
		{"user", c.User, want.User},
		{"device", c.Device, want.Device},
		{"network", string(c.Network), string(want.Network)},
		{"passphrase_file", c.PassphraseFile, want.PassphraseFile},
	} {
		if f.want != "" && f.want != f.have {
			return Config{}, &FieldError{Field: f.field, Why: fmt.Sprintf("is %q already in %s, not %q", f.have, PathsOf(dir).Config, f.want)}
		}
	}
	return c, c.Check()
}

func overlay(c *Config, want Config) {
	c.User = cmp.Or(want.User, c.User)
	c.Device = cmp.Or(want.Device, c.Device)
	c.Network = cmp.Or(want.Network, c.Network)
	c.PassphraseFile = cmp.Or(want.PassphraseFile, c.PassphraseFile)
	if want.Listen != nil {
		c.Listen = want.Listen
	}
}

// Everywhere returns the listen addresses for QUIC and TCP on one port of every
// interface.
func Everywhere(port int) []string {
	p := strconv.Itoa(port)
	return []string{
		"/ip4/0.0.0.0/udp/" + p + "/quic-v1", "/ip4/0.0.0.0/tcp/" + p,
		"/ip6/::/udp/" + p + "/quic-v1", "/ip6/::/tcp/" + p,
	}
}

// Ports are drawn below the ephemeral ranges of all common systems, so that no
// outgoing connection of another program sits on ours at the next start.
const (
	firstPort = 20_000
	portCount = 12_000
)

// drawPort draws a port that is free for TCP and UDP now.
func drawPort(random io.Reader) (int, error) {
	for range 64 {
		var b [4]byte
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return 0, fmt.Errorf("config: draw a port: %w", err)
		}
		port := firstPort + int(binary.BigEndian.Uint32(b[:])%portCount)
		if free(port) {
			return port, nil
		}
	}
	return 0, &FieldError{Field: "listen", Why: "found no free port: name one with --listen"}
}

func free(port int) bool {
	t, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
	if err != nil {
		return false
	}
	defer t.Close()
	u, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return false
	}
	return u.Close() == nil
}

func loginName() string {
	u, err := user.Current()
	if err != nil {
		return "me"
	}
	name := u.Username
	if i := strings.LastIndexByte(name, '\\'); i >= 0 { // DOMAIN\name on Windows
		name = name[i+1:]
	}
	return cleanName(name, "me")
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "device"
	}
	name, _, _ = strings.Cut(name, ".")
	return cleanName(name, "device")
}

// cleanName makes what the system calls something into a name that Check takes.
func cleanName(s, otherwise string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, norm.NFC.String(strings.ToValidUTF8(s, "")))
	for len(s) > maxName {
		r := []rune(s)
		s = string(r[:len(r)-1])
	}
	if s = strings.TrimSpace(s); s == "" {
		return otherwise
	}
	return s
}
