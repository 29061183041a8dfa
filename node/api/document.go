package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Doc is a document: a JSON object. Its values are nil, bool, int64, float64,
// string, []any and map[string]any; [Doc.Canonical] makes the other Go types that
// mean one of these into them. A number without point and exponent is an int64 and
// every int64 is exact, on the way in, in the database and on the way out:
//
//	{"n": 9007199254740993, "x": 1.0}  ⇄  Doc{"n": int64(1<<53 + 1), "x": float64(1)}
//
// A document that was read has its id in "_id" and its revision in "_rev".
type Doc map[string]any

// Value is the JSON text of one value of a document.
type Value []byte

// maxNesting bounds the recursion over a document from outside. Documents may be
// 64 deep, which the node checks; the bound here only keeps the stack safe.
const maxNesting = 128

var (
	errNesting = fmt.Errorf("nested deeper than %d", maxNesting)
	errUTF8    = errors.New("a text is not valid UTF-8: binary data goes into files")
)

// ID returns the document's _id, "" if it has none.
func (d Doc) ID() string { s, _ := d["_id"].(string); return s }

// Rev returns the document's _rev, "" if it has none.
func (d Doc) Rev() string { s, _ := d["_rev"].(string); return s }

// ParseDoc reads one JSON object and nothing after it. Duplicate keys, invalid
// UTF-8, integers outside int64 and numbers outside float64 are [ErrBadDocument].
func ParseDoc(text []byte) (Doc, error) {
	var d Doc
	if err := d.UnmarshalJSON(text); err != nil {
		return nil, err
	}
	if d == nil {
		return nil, ErrBadDocument.With("a document is a JSON object, not null", "")
	}
	return d, nil
}

// Canonical returns a deep copy in which integers of every Go type are int64,
// float32 is float64, and typed slices and maps of the common kinds are []any and
// map[string]any. A value that has no JSON form is [ErrBadDocument].
func (d Doc) Canonical() (Doc, error) {
	if d == nil {
		return nil, nil
	}
	v, err := canonical(map[string]any(d), 0)
	if err != nil {
		return nil, badDocument(err)
	}
	return Doc(v.(map[string]any)), nil
}

// MarshalJSON writes _id and _rev first and the other keys sorted.
func (d Doc) MarshalJSON() ([]byte, error) {
	if d == nil {
		return []byte("null"), nil
	}
	b, err := appendValue(nil, map[string]any(d), 0)
	if err != nil {
		return nil, badDocument(err)
	}
	return b, nil
}

// UnmarshalJSON is [ParseDoc] that takes null for a nil Doc.
func (d *Doc) UnmarshalJSON(text []byte) error {
	v, err := parseValue(text)
	if err != nil {
		return badDocument(err)
	}
	switch v := v.(type) {
	case nil:
		*d = nil
	case map[string]any:
		*d = v
	default:
		return ErrBadDocument.With("a document is a JSON object {…}", "")
	}
	return nil
}

// ValueOf returns the JSON text of v, under the rules of [Doc].
func ValueOf[T any](v T) (Value, error) {
	b, err := appendValue(nil, v, 0)
	if err != nil {
		return nil, badDocument(err)
	}
	return b, nil
}

// MarshalJSON returns the text itself.
func (v Value) MarshalJSON() ([]byte, error) {
	if len(v) == 0 {
		return []byte("null"), nil
	}
	return v, nil
}

// UnmarshalJSON keeps a copy of the text.
func (v *Value) UnmarshalJSON(text []byte) error { *v = bytes.Clone(text); return nil }

// String returns the text.
func (v Value) String() string { return string(v) }

func badDocument(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return ErrBadDocument.Wrap(err, "")
}

// parseValue reads exactly one JSON value.
func parseValue(text []byte) (any, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(text))
	v, err := readValue(dec, 0)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("the JSON text ends too early, after byte %d", dec.InputOffset())
		}
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more text after the JSON value, at byte %d", dec.InputOffset())
	}
	return v, nil
}

func readValue(dec *jsontext.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNesting
	}
	tok, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return tok.Bool(), nil
	case '"':
		return tok.String(), nil
	case '0':
		return parseNumber(tok.String())
	case '[':
		list := []any{}
		for dec.PeekKind() != ']' {
			v, err := readValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.ReadToken()
		return list, err
	default: // '{': the decoder yields nothing else, and refuses duplicate keys
		object := map[string]any{}
		for dec.PeekKind() != '}' {
			key, err := dec.ReadToken()
			if err != nil {
				return nil, err
			}
			name := key.String() // the token is void after the next read
			if object[name], err = readValue(dec, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := dec.ReadToken()
		return object, err
	}
}

// parseNumber keeps the two kinds of number apart by how they are written.
func parseNumber(text string) (any, error) {
	if !strings.ContainsAny(text, ".eE") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("integer %.30s is outside int64: write it with a decimal point or as a string", text)
		}
		return n, nil
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("number %.30s is outside float64", text)
	}
	return positiveZero(x), nil
}

// positiveZero makes -0 into 0: documents do not tell them apart.
func positiveZero(x float64) float64 {
	if x == 0 {
		return 0
	}
	return x
}

func canonical(v any, depth int) (any, error) {
	if depth > maxNesting {
		return nil, errNesting
	}
	switch v := v.(type) {
	case nil, bool, int64:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, errUTF8
		}
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%v is no JSON number", v)
		}
		return positiveZero(v), nil
	case float32:
		return canonical(float64(v), depth)
	case []any:
		return canonicalList(v, depth)
	case map[string]any:
		return canonicalMap(v, depth)
	case Doc:
		return canonicalMap(map[string]any(v), depth)
	case []string:
		return canonicalList(v, depth)
	case []int:
		return canonicalList(v, depth)
	case []Doc:
		return canonicalList(v, depth)
	case []map[string]any:
		return canonicalList(v, depth)
	case map[string]string:
		return canonicalMap(v, depth)
	}
	return integer(v)
}

func integer(v any) (any, error) {
	switch v := v.(type) {
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case int8:
		return int64(v), nil
	case uint8:
		return int64(v), nil
	case uint16:
		return int64(v), nil
	case uint32:
		return int64(v), nil
	case uint:
		return integer(uint64(v))
	case uint64:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("integer %d is outside int64", v)
		}
		return int64(v), nil
	}
	return nil, fmt.Errorf("a Go %T has no place in a document: use nil, bool, a number, string, []any or map[string]any", v)
}

func canonicalList[T any](list []T, depth int) (any, error) {
	out := make([]any, len(list))
	for i, v := range list {
		var err error
		if out[i], err = canonical(v, depth+1); err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
	}
	return out, nil
}

func canonicalMap[T any](object map[string]T, depth int) (any, error) {
	out := make(map[string]any, len(object))
	for k, v := range object {
		if !utf8.ValidString(k) {
			return nil, errUTF8
		}
		var err error
		if out[k], err = canonical(v, depth+1); err != nil {
			return nil, fmt.Errorf("%q: %w", k, err)
		}
	}
	return out, nil
}

// appendValue writes compact JSON whose floats always show a point or exponent, so
// that reading it gives the same Go values.
func appendValue(b []byte, v any, depth int) ([]byte, error) {
	v, err := canonical(v, depth)
	if err != nil {
		return nil, err
	}
	return appendCanonical(b, v)
}

func appendCanonical(b []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case string:
		return jsontext.AppendQuote(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		return appendFloat(b, v), nil
	case []any:
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendCanonical(b, x); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
	object := v.(map[string]any)
	b = append(b, '{')
	for i, k := range sortedKeys(object) {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = jsontext.AppendQuote(b, k); err != nil {
			return nil, err
		}
		if b, err = appendCanonical(append(b, ':'), object[k]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// sortedKeys returns _id, _rev, then the others bytewise.
func sortedKeys(object map[string]any) []string {
	rank := func(k string) int { return slices.Index([]string{"_rev", "_id"}, k) }
	keys := make([]string, 0, len(object))
	for k := range object {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if r := rank(b) - rank(a); r != 0 {
			return r
		}
		return strings.Compare(a, b)
	})
	return keys
}

func appendFloat(b []byte, x float64) []byte {
	start := len(b)
	b = strconv.AppendFloat(b, x, 'g', -1, 64)
	if !bytes.ContainsAny(b[start:], ".e") {
		b = append(b, ".0"...)
	}
	return b
}
