package api

import (
	"fmt"

	json "github.com/go-json-experiment/json"
)

// Marshal returns the JSON of a noun or a request as it crosses the door: one
// line, empty lists as [], documents exact.
func Marshal[T any](v T) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %T as JSON: %w", v, err)
	}
	return b, nil
}

// Unmarshal reads what [Marshal] wrote, perhaps in a later version: fields that are
// not known are skipped. Duplicate keys and invalid UTF-8 are errors.
func Unmarshal[T any](text []byte) (T, error) { return unmarshal[T](text) }

// UnmarshalStrict is Unmarshal for requests: a field that is not known is an error,
// because a misspelt condition must not be taken for none. Errors are [ErrUsage] or
// [ErrBadDocument].
func UnmarshalStrict[T any](text []byte) (T, error) {
	v, err := unmarshal[T](text, json.RejectUnknownMembers(true))
	if err != nil {
		if e := ErrorOf(err); e.Is(ErrBadDocument) {
			return v, e
		}
		return v, ErrUsage.Wrap(err, "")
	}
	return v, nil
}

func unmarshal[T any](text []byte, options ...json.Options) (v T, err error) {
	if err := json.Unmarshal(text, &v, options...); err != nil {
		var zero T
		return zero, fmt.Errorf("read JSON: %w", err)
	}
	return v, nil
}
