// Package config is the one struct of plain values a Toft node is made from, and
// where they come from. Each source overrides the one before it:
//
//	default  <  DIR/config.toml  <  TOFT_… in the environment  <  flags
//
// A file as the first start writes it:
//
//	user = "ann"
//	device = "laptop"
//	network = "public"
//	listen = ["/ip4/0.0.0.0/udp/24011/quic-v1", "/ip4/0.0.0.0/tcp/24011", …]
//	log_level = "info"
//
// The zero Config works too and means: local only, nothing listens, nothing dials.
// Embedders start from it; the command line starts from [Default].
//
// The package holds values and checks them. It opens no store, no key and no
// network, and it knows no live object: those are in node.Config, which embeds
// this one.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/text/unicode/norm"
)

// Network says how far a node reaches.
type Network string

// The reaches, from least to most. The empty Network is Offline.
const (
	Offline Network = "offline" // no listening, no dialing
	LAN     Network = "lan"     // peers on private and loopback addresses only
	Public  Network = "public"  // any peer
)

// Config is the plain configuration of a node. Unit, default and trade-off stand
// at each field.
type Config struct {
	// Dir is the directory that holds everything: keys, store, socket, this file.
	// Default: $XDG_DATA_HOME/toft or what the platform has for it. One process at a
	// time; on a network file system locks may lie, so keep it on a local disk.
	Dir string `toml:"-"`

	// User is the name others see for the person, ≤ 64 bytes of NFC without controls.
	// Default: the login name. Only a label: duplicates are told apart by their id.
	User string `toml:"user"`

	// Device is the name others see for this device, bounds as User. Default: the
	// host name up to the first dot.
	Device string `toml:"device"`

	// Network is how far the node reaches: public, lan or offline. Default: public.
	// A narrower one is quieter, and finds fewer peers.
	Network Network `toml:"network"`

	// Listen is where peers may reach the node, as multiaddrs; at most 16. Default:
	// QUIC and TCP on all IPv4 and IPv6 addresses, on one port that is drawn at the
	// first start and kept, so that invitations and peers find the device again.
	// Port 0 draws a new one at each start. Empty: dial only.
	Listen []string `toml:"listen"`

	// LogLevel is the least severe line that is logged: debug, info, warn or error.
	// Default: info. Debug shows peers and ids, never content or keys.
	LogLevel string `toml:"log_level"`

	// History is what of a database's past is kept when it was begun at another member's
	// checkpoint: full (the default; it is fetched in the background, and held against
	// the checkpoint) or none, which spares the disk and the network, and leaves what
	// the documents say the word of whoever made the checkpoint.
	History string `toml:"history,omitempty"`

	// PassphraseFile names a file whose first line locks the device key at rest, ≤ 4
	// KiB. Default: none, the key is locked by a 0600 file beside it. With one, a
	// stolen directory is worthless, and every start needs the file.
	PassphraseFile string `toml:"passphrase_file,omitempty"`
}

// Bounds of what a file or the environment may say.
const (
	maxName   = 64
	maxListen = 16
)

// FieldError names the field that cannot be used, and why.
type FieldError struct {
	Field string // as in config.toml
	Why   string
}

func (e *FieldError) Error() string { return fmt.Sprintf("config: %s: %s", e.Field, e.Why) }

// Default returns the configuration of the command line before any source is read.
// User and Device are filled at the first start, see [Init].
func Default(dir string) Config {
	return Config{Dir: dir, Network: Public, LogLevel: "info"}
}

// Check reports everything that is wrong with c, as joined FieldErrors.
func (c Config) Check() error {
	var errs []error
	bad := func(field, why string) { errs = append(errs, &FieldError{Field: field, Why: why}) }
	if c.Dir == "" {
		bad("dir", "empty: name a directory")
	}
	for field, name := range map[string]string{"user": c.User, "device": c.Device} {
		if why := nameFault(name); why != "" {
			bad(field, why)
		}
	}
	if !slices.Contains([]Network{"", Offline, LAN, Public}, c.Network) {
		bad("network", fmt.Sprintf("%q is none of public, lan, offline", c.Network))
	}
	if len(c.Listen) > maxListen {
		bad("listen", fmt.Sprintf("%d addresses, at most %d", len(c.Listen), maxListen))
	}
	for _, s := range c.Listen {
		if _, err := ma.NewMultiaddr(s); err != nil {
			bad("listen", fmt.Sprintf("%.60q is no multiaddr such as /ip4/0.0.0.0/tcp/4001", s))
		}
	}
	if !slices.Contains([]string{"", "full", "none"}, c.History) {
		bad("history", fmt.Sprintf("%q is none of full, none", c.History))
	}
	if _, err := c.Level(); err != nil {
		bad("log_level", fmt.Sprintf("%q is none of debug, info, warn, error", c.LogLevel))
	}
	return errors.Join(errs...)
}

// Level returns LogLevel for slog; the empty one is info.
func (c Config) Level() (slog.Level, error) {
	if c.LogLevel == "" {
		return slog.LevelInfo, nil
	}
	var l slog.Level
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return 0, fmt.Errorf("log level %q", c.LogLevel)
	}
	return l, l.UnmarshalText([]byte(c.LogLevel))
}

// nameFault says what keeps s from being a name others see; "" if nothing does.
// The empty name is fine here: it is filled later.
func nameFault(s string) string {
	switch {
	case len(s) > maxName:
		return fmt.Sprintf("%d bytes, at most %d", len(s), maxName)
	case !utf8.ValidString(s) || !norm.NFC.IsNormalString(s):
		return "not normalised UTF-8 (NFC)"
	case strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) >= 0:
		return "holds a control character"
	case s != strings.TrimSpace(s):
		return "starts or ends with a space"
	}
	return ""
}
