package crdt

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Doc is a document: an object whose values are nil, bool, int64, float64,
// string, []any and map[string]any. A document that was read has "_id" and
// "_rev"; files stand under "_files". Other keys that start with "_" are
// reserved at the top level.
type Doc map[string]any

// Reserved top-level keys.
const (
	keyID    = "_id"
	keyRev   = "_rev"
	keyFiles = "_files"
	keyInc   = "$inc"
)

// ParseJSON reads one JSON object (RFC 8259) strictly: a number without fraction
// and exponent is an int64, any other a float64; duplicate keys, invalid UTF-8,
// integers outside int64, floats beyond float64, nesting beyond [MaxDepth], keys
// beyond [MaxKey] and reserved keys are errors. It returns a *BadDocError that
// names the path and the rule.
func ParseJSON(text []byte) (Doc, error) {
	if len(text) > MaxJSON {
		return nil, tooLarge("JSON text", len(text), MaxJSON)
	}
	p := parser{dec: jsontext.NewDecoder(bytes.NewBuffer(text))}
	v, err := p.value(1)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, badDoc(nil, "a document is a JSON object, as in {\"title\": \"milk\"}")
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, badDoc(nil, "more than one JSON value")
	}
	d := Doc(m)
	if err := d.checkReserved(); err != nil {
		return nil, err
	}
	return d, d.checkSize()
}

// checkReserved refuses top-level keys that documents may not set.
func (d Doc) checkReserved() error {
	for k, v := range d {
		if !strings.HasPrefix(k, "_") {
			continue
		}
		_, text := v.(string)
		_, object := v.(map[string]any)
		switch {
		case (k == keyID || k == keyRev) && text, k == keyFiles && object:
		case k == keyID || k == keyRev:
			return badDoc([]string{k}, "must be a string")
		default:
			return badDoc([]string{k}, "keys that start with _ are reserved")
		}
	}
	return nil
}

// checkSize refuses documents that are too large, or hold what no document may.
func (d Doc) checkSize() error {
	b, err := appendObject(nil, d, nil, 1)
	if err != nil {
		return err
	}
	if len(b) > MaxDocument {
		return tooLarge("document", len(b), MaxDocument)
	}
	return nil
}

// size is how long the document is as it is stored, 0 if it is none.
func (d Doc) size() int {
	b, _ := appendObject(nil, d, nil, 1)
	return len(b)
}

// CheckID reports whether id may name a document: 1–1,024 bytes of UTF-8 without
// control characters.
func CheckID(id string) error {
	bad := func(rule string) error { return &BadDocError{ID: id, Path: []string{keyID}, Rule: rule} }
	switch {
	case id == "":
		return bad("a document needs an id of at least one byte")
	case len(id) > MaxID:
		return bad("id of " + strconv.Itoa(len(id)) + " bytes, at most " + strconv.Itoa(MaxID))
	case !utf8.ValidString(id):
		return bad("id is not valid UTF-8")
	case strings.ContainsFunc(id, isControl):
		return bad("id has a control character")
	}
	return nil
}

// isControl reports Unicode category Cc.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

type parser struct {
	dec  *jsontext.Decoder
	path []string
}

func (p *parser) value(depth int) (any, error) {
	tok, err := p.dec.ReadToken()
	if err != nil {
		return nil, p.syntax(err)
	}
	switch tok.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return tok.Bool(), nil
	case '"':
		return tok.String(), nil
	case '0':
		return p.number(tok.String())
	}
	if depth > MaxDepth {
		return nil, badDoc(p.path, "nested deeper than %d", MaxDepth)
	}
	if tok.Kind() == '{' {
		return p.object(depth)
	}
	return p.array(depth)
}

func (p *parser) object(depth int) (any, error) {
	m := map[string]any{}
	for p.dec.PeekKind() != '}' {
		tok, err := p.dec.ReadToken()
		if err != nil {
			return nil, p.syntax(err)
		}
		k := tok.String()
		p.path = append(p.path, k)
		if err := checkKey(k, p.path); err != nil {
			return nil, err
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		m[k] = v
	}
	_, err := p.dec.ReadToken()
	return m, p.syntax(err)
}

func (p *parser) array(depth int) (any, error) {
	list := []any{}
	for p.dec.PeekKind() != ']' {
		p.path = append(p.path, strconv.Itoa(len(list)))
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		p.path = p.path[:len(p.path)-1]
		list = append(list, v)
	}
	_, err := p.dec.ReadToken()
	return list, p.syntax(err)
}

func (p *parser) number(lit string) (any, error) {
	if !strings.ContainsAny(lit, ".eE") {
		n, err := strconv.ParseInt(lit, 10, 64)
		if err != nil {
			return nil, badDoc(p.path, "integer %.40s does not fit 64 bits; write it as a string", lit)
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(lit, 64)
	if err != nil {
		return nil, badDoc(p.path, "number %.40s is beyond the range of float64", lit)
	}
	return f + 0, nil // −0 + 0 is 0
}

// syntax turns an error of the JSON reader into one that names the path.
func (p *parser) syntax(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return badDoc(p.path, "JSON ends early")
	}
	path := p.path
	var s *jsontext.SyntacticError
	if !errors.As(err, &s) {
		return badDoc(path, "invalid JSON: %v", err)
	}
	path = slices.Collect(s.JSONPointer.Tokens())
	if errors.Is(s.Err, jsontext.ErrDuplicateName) {
		return badDoc(path, "duplicate key")
	}
	return badDoc(path, "invalid JSON at byte %d: %v", s.ByteOffset, s.Err)
}

// JSON returns the document as one line of JSON: "_id" first, then all keys
// sorted by code point. Parsing it gives the same document back.
func (d Doc) JSON() []byte { return appendJSONObject(nil, d) }

func appendJSONObject(b []byte, m map[string]any) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y string) int {
		if (x == keyID) != (y == keyID) {
			return map[bool]int{true: -1, false: 1}[x == keyID]
		}
		return strings.Compare(x, y)
	})
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, k), ':')
		b = appendJSON(b, m[k])
	}
	return append(b, '}')
}

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendJSONFloat(b, v)
	case string:
		return appendJSONString(b, v)
	case []any:
		b = append(b, '[')
		for i, x := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, x)
		}
		return append(b, ']')
	case map[string]any:
		return appendJSONObject(b, v)
	case Doc:
		return appendJSONObject(b, v)
	}
	// Other Go numbers are taken in by a write; a document that was read has none.
	enc, err := appendNumber(nil, v, nil)
	if err != nil {
		return append(b, "null"...)
	}
	r := reader{b: enc}
	return appendJSON(b, r.value())
}

// appendJSONFloat keeps a float recognisable as one: 1.0, not 1.
func appendJSONFloat(b []byte, f float64) []byte {
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	n := len(b)
	b = strconv.AppendFloat(b, f, format, -1, 64)
	if !bytes.ContainsAny(b[n:], ".e") {
		b = append(b, ".0"...)
	}
	return b
}

func appendJSONString(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, s)
	if err != nil { // invalid UTF-8, which no document that was parsed or read has
		out, _ = jsontext.AppendQuote(b, strings.ToValidUTF8(s, "\uFFFD"))
	}
	return out
}
