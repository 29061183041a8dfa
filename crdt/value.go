package crdt

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Values are null, bool, int64, float64, string, array and object. In Go they are
// nil, bool, int64, float64, string, []any and map[string]any; stored they are
// canonical CBOR, and two values are equal iff their bytes are.

// appendValue writes v, a value at depth (the container it would be), and returns
// a *BadDocError if it is none. Other Go integers, float32 and Doc are taken too.
func appendValue(b []byte, v any, path []string, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, cborNull), nil
	case bool:
		if v {
			return append(b, cborTrue), nil
		}
		return append(b, cborFalse), nil
	case string:
		if !utf8.ValidString(v) {
			return nil, badDoc(path, "text is not valid UTF-8")
		}
		return appendText(b, v), nil
	case []any:
		if depth > MaxDepth {
			return nil, badDoc(path, "nested deeper than %d", MaxDepth)
		}
		b = appendHead(b, majorArray, uint64(len(v)))
		var err error
		for i, x := range v {
			if b, err = appendValue(b, x, append(path, fmt.Sprint(i)), depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case map[string]any:
		return appendObject(b, v, path, depth)
	case Doc:
		return appendObject(b, v, path, depth)
	}
	return appendNumber(b, v, path)
}

func appendNumber(b []byte, v any, path []string) ([]byte, error) {
	switch v := v.(type) {
	case int64:
		return appendInt(b, v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, badDoc(path, "NaN and infinity are no JSON values")
		}
		return appendFloat(b, v), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int32:
		return appendInt(b, int64(v)), nil
	case uint32:
		return appendInt(b, int64(v)), nil
	case float32:
		return appendNumber(b, float64(v), path)
	}
	return nil, badDoc(path, "a Go %T is no document value: use nil, bool, int64, float64, string, []any, map[string]any", v)
}

func appendObject(b []byte, m map[string]any, path []string, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, badDoc(path, "nested deeper than %d", MaxDepth)
	}
	b = appendHead(b, majorMap, uint64(len(m)))
	var err error
	for _, k := range canonicalKeys(m) {
		sub := append(path, k)
		if err := checkKey(k, sub); err != nil {
			return nil, err
		}
		b = appendText(b, k)
		if b, err = appendValue(b, m[k], sub, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// canonicalKeys sorts by encoding: shorter keys first, then bytewise.
func canonicalKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	return keys
}

// sortedKeys returns the keys in the order of paths: bytewise.
func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func compareKeys(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func checkKey(k string, path []string) error {
	if len(k) > MaxKey {
		return badDoc(path[:len(path)-1], "key of %d bytes, at most %d", len(k), MaxKey)
	}
	if !utf8.ValidString(k) {
		return badDoc(path[:len(path)-1], "key is not valid UTF-8")
	}
	return nil
}

func badDoc(path []string, format string, args ...any) error {
	return &BadDocError{Path: slices.Clone(path), Rule: fmt.Sprintf(format, args...)}
}

func tooLarge(what string, have, most int) error {
	return &BadDocError{Rule: fmt.Sprintf("%s of %d bytes, at most %d; put large data into files", what, have, most), large: true}
}

// skipValue checks one value and moves behind it. depth is that of the value, if
// it is a container.
func (r *reader) skipValue(depth int) {
	if len(r.b) == 0 {
		r.fail("bytes end early")
		return
	}
	if first := r.b[0]; first>>5 == majorOther {
		r.skipOther(first)
		return
	}
	major, n := r.head()
	switch major {
	case majorUint, majorNeg:
		if n > math.MaxInt64 {
			r.fail("integer beyond 64 bits")
		}
	case majorText:
		if !utf8.Valid(r.take(n)) {
			r.fail("text is not UTF-8")
		}
	case majorArray, majorMap:
		r.skipContainer(major, n, depth)
	default:
		r.fail("no document value")
	}
}

func (r *reader) skipOther(first byte) {
	switch first {
	case cborFalse, cborTrue, cborNull:
		r.b = r.b[1:]
	case cborF16, cborF32, cborF64:
		r.float()
	default:
		r.fail("no document value")
	}
}

func (r *reader) skipContainer(major byte, n uint64, depth int) {
	if depth > MaxDepth {
		r.fail("nested deeper than %d", MaxDepth)
		return
	}
	if n > uint64(len(r.b)) {
		r.fail("bytes end early")
		return
	}
	last := ""
	for i := range n {
		if r.err != nil {
			return
		}
		if major == majorMap {
			k := r.text(MaxKey)
			if i > 0 && compareKeys(last, k) >= 0 {
				r.fail("keys are not sorted")
				return
			}
			last = k
		}
		r.skipValue(depth + 1)
	}
}

// value reads one value that skipValue has checked.
func (r *reader) value() any {
	if len(r.b) == 0 {
		r.fail("bytes end early")
		return nil
	}
	switch first := r.b[0]; first {
	case cborFalse, cborTrue:
		r.b = r.b[1:]
		return first == cborTrue
	case cborNull:
		r.b = r.b[1:]
		return nil
	case cborF16, cborF32, cborF64:
		return r.float()
	}
	major, n := r.head()
	switch major {
	case majorUint:
		return int64(n)
	case majorNeg:
		return ^int64(n)
	case majorText:
		return string(r.take(n))
	case majorArray:
		list := make([]any, 0, min(n, uint64(len(r.b))))
		for range n {
			list = append(list, r.value())
		}
		return list
	case majorMap:
		m := make(map[string]any, min(n, uint64(len(r.b))))
		for range n {
			k := r.text(MaxKey)
			m[k] = r.value()
		}
		return m
	}
	r.fail("no document value")
	return nil
}

// EncodeValue returns the canonical CBOR of a document value. It returns a
// *BadDocError for anything else.
func EncodeValue(v any) ([]byte, error) { return appendValue(nil, v, nil, 1) }

// DecodeValue reads exactly one canonical document value of at most
// [MaxDocument] bytes.
func DecodeValue(b []byte) (any, error) {
	if len(b) > MaxDocument {
		return nil, malformed("value of %d bytes, at most %d", len(b), MaxDocument)
	}
	check := reader{b: b}
	check.skipValue(1)
	if err := check.end(); err != nil {
		return nil, err
	}
	r := reader{b: b}
	return r.value(), nil
}
