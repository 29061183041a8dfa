package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds config.toml.
const maxFile = 64 << 10

// Load returns the configuration of dir: defaults, then DIR/config.toml if there is
// one, then TOFT_USER, TOFT_DEVICE, TOFT_NETWORK, TOFT_LISTEN (separated by
// commas), TOFT_LOG_LEVEL, TOFT_HISTORY and TOFT_PASSPHRASE_FILE. The caller puts flags on top
// and then calls Check.
func Load(dir string, getenv func(string) string) (Config, error) {
	c, err := loadFile(dir)
	if err != nil {
		return Config{}, err
	}
	for name, field := range map[string]*string{
		"TOFT_USER":            &c.User,
		"TOFT_DEVICE":          &c.Device,
		"TOFT_NETWORK":         (*string)(&c.Network),
		"TOFT_LOG_LEVEL":       &c.LogLevel,
		"TOFT_HISTORY":         &c.History,
		"TOFT_PASSPHRASE_FILE": &c.PassphraseFile,
	} {
		if v := getenv(name); v != "" {
			*field = v
		}
	}
	if v := getenv("TOFT_LISTEN"); v != "" {
		c.Listen = strings.Split(v, ",")
	}
	return c, nil
}

// loadFile reads DIR/config.toml over the defaults. A key that is not known is an
// error: a misspelt one must not be taken for a default.
func loadFile(dir string) (Config, error) {
	c := Default(dir)
	path := PathsOf(dir).Config
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("config: read %s: %w", path, err)
	}
	if len(text) > maxFile {
		return Config{}, &FieldError{Field: path, Why: fmt.Sprintf("larger than %d bytes", maxFile)}
	}
	dec := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return Config{}, &FieldError{Field: path, Why: tomlFault(err)}
	}
	c.Dir = dir
	return c, nil
}

// tomlFault says where and what, in one line.
func tomlFault(err error) string {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		line, _ := strict.Errors[0].Position()
		return fmt.Sprintf("line %d: unknown key %s", line, strings.Join(strict.Errors[0].Key(), "."))
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		line, col := syntax.Position()
		return fmt.Sprintf("line %d column %d: %s", line, col, syntax.Error())
	}
	return err.Error()
}

// save writes c to DIR/config.toml: a crash leaves the old file or the new one.
func save(c Config) error {
	path := PathsOf(c.Dir).Config
	text, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "config-*.tmp") // 0600
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer os.Remove(f.Name()) // gone already where the rename worked
	_, err = f.Write(append([]byte("# Toft. What each key means: docs/cli.md. TOFT_… and flags come before it.\n"), text...))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("config: write %s: %w", path, err)
	}
	return nil
}
