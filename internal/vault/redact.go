package vault

import (
	"errors"
	"fmt"
	"log/slog"
)

const redacted = "REDACTED"

// hidden is embedded by every type that holds a secret: its promoted methods
// answer each way in which Go prints a value, so that none reaches a log, an
// error, a panic or a dump.
type hidden struct{}

// String returns REDACTED, as do all the methods below.
func (hidden) String() string { return redacted }

// GoString is what %#v prints.
func (hidden) GoString() string { return redacted }

// Format answers every verb.
func (hidden) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue is what slog writes.
func (hidden) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText fails: a secret in JSON is a mistake to be noticed.
func (hidden) MarshalText() ([]byte, error) { return nil, errors.New("a secret has no text form") }

// kept is a secret behind a function. fmt does not ask the methods of a value that
// stands in somebody's unexported field, and verbs that do not fit (%s of a
// struct) follow pointers; a function prints as an address whatever happens.
type kept[T any] func() T

func keep[T any](v T) kept[T] { return func() T { return v } }
