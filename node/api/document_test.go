package api

import (
	"bufio"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDocIsWrittenInOneOrder(t *testing.T) {
	d := Doc{"b": int64(1), "_rev": "1-x", "a": map[string]any{"z": 1.0, "_id": nil}, "_id": "é\n", "_a": []any{true, 1e21, 0.1, -2.0}}
	want := `{"_id":"é\n","_rev":"1-x","_a":[true,1e+21,0.1,-2.0],"a":{"_id":null,"z":1.0},"b":1}`
	text, err := d.MarshalJSON()
	require.NoError(t, err)
	require.Equal(t, want, string(text))
	std, err := json.Marshal(d)
	require.NoError(t, err)
	require.Equal(t, want, string(std), "the standard library writes the same")
	back, err := ParseDoc(text)
	require.NoError(t, err)
	require.Equal(t, d, back)
}

func TestNumbersKeepTheirKind(t *testing.T) {
	for text, want := range map[string]any{
		"9007199254740993": int64(9007199254740993), "-9223372036854775808": int64(math.MinInt64),
		"1.0": 1.0, "1e2": 100.0, "-0": int64(0), "-0.0": 0.0, "5e-324": 5e-324,
	} {
		d, err := ParseDoc([]byte(`{"n":` + text + `}`))
		require.NoError(t, err)
		require.Equal(t, want, d["n"], text)
		if f, ok := d["n"].(float64); ok {
			require.False(t, math.Signbit(f))
		}
	}
}

func TestCanonicalTakesWhatGoProgramsHave(t *testing.T) {
	d, err := Doc{
		"int": 1, "i8": int8(-1), "u": uint(7), "f": float32(0.5), "s": []string{"a"}, "m": map[string]string{"k": "v"},
		"docs": []Doc{{"x": 2}}, "doc": Doc{"y": uint8(3)}, "ints": []int{4}, "maps": []map[string]any{{"z": int16(5)}},
	}.Canonical()
	require.NoError(t, err)
	require.Equal(t, Doc{
		"int": int64(1), "i8": int64(-1), "u": int64(7), "f": 0.5, "s": []any{"a"}, "m": map[string]any{"k": "v"},
		"docs": []any{map[string]any{"x": int64(2)}}, "doc": map[string]any{"y": int64(3)},
		"ints": []any{int64(4)}, "maps": []any{map[string]any{"z": int64(5)}},
	}, d)

	inner := []any{map[string]any{"deep": 1}}
	c, err := Doc{"l": inner}.Canonical()
	require.NoError(t, err)
	c["l"].([]any)[0].(map[string]any)["deep"] = "changed"
	require.Equal(t, 1, inner[0].(map[string]any)["deep"], "it is a copy")

	for name, v := range map[string]any{"chan": make(chan int), "nan": math.NaN(), "inf": math.Inf(1), "u64": uint64(math.MaxUint64), "utf8": "\xff"} {
		_, err := Doc{"a": map[string]any{"b": []any{v}}}.Canonical()
		require.ErrorIs(t, err, ErrBadDocument, name)
		require.ErrorContains(t, err, `"a": "b": [0]: `, "it says where")
	}
	loop := Doc{}
	loop["me"] = loop
	_, err = loop.Canonical()
	require.ErrorIs(t, err, ErrBadDocument)
	_, err = loop.MarshalJSON()
	require.ErrorIs(t, err, ErrBadDocument)
}

func TestNullIsNoDocument(t *testing.T) {
	_, err := ParseDoc([]byte("null"))
	require.ErrorIs(t, err, ErrBadDocument)
	text, err := Marshal(Change{ID: "x", Deleted: true})
	require.NoError(t, err)
	require.NotContains(t, string(text), "doc")
	c, err := Unmarshal[Change]([]byte(`{"id":"x","doc":null,"fieldOfTomorrow":1}`))
	require.NoError(t, err)
	require.Nil(t, c.Doc)
}

func TestValueIsText(t *testing.T) {
	v, err := ValueOf(map[string]any{"n": 1, "f": 2.0})
	require.NoError(t, err)
	require.Equal(t, `{"f":2.0,"n":1}`, v.String())
	_, err = ValueOf(make(chan int))
	require.ErrorIs(t, err, ErrBadDocument)
	text, err := Marshal(Conflict{ID: "x", Path: []string{"a"}, Winner: v})
	require.NoError(t, err)
	require.Equal(t, `{"id":"x","path":["a"],"winner":{"f":2.0,"n":1},"others":[]}`, string(text))
	back, err := Unmarshal[Conflict](text)
	require.NoError(t, err)
	require.Equal(t, v, back.Winner)
}

func value() *rapid.Generator[any] {
	leaf := rapid.OneOf(
		rapid.Just(any(nil)), rapid.Map(rapid.Bool(), toAny), rapid.Map(rapid.Int64(), toAny),
		rapid.Map(rapid.String(), toAny), rapid.Map(rapid.Float64(), func(f float64) any { return positiveZero(f) }),
	)
	return rapid.OneOf(leaf,
		rapid.Map(rapid.SliceOfN(leaf, 0, 4), toAny), rapid.Map(rapid.MapOfN(rapid.String(), leaf, 0, 4), toAny))
}

func toAny[T any](v T) any { return v }

func TestEncodeDecodeIsTheIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Doc(rapid.MapOfN(rapid.String(), value(), 0, 5).Draw(t, "doc"))
		text, err := d.MarshalJSON()
		require.NoError(t, err)
		back, err := ParseDoc(text)
		require.NoError(t, err)
		require.Equal(t, d, back)
	})
}

func FuzzParseDoc(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":1,"a":2}`, `{"a":[1.0,{"b":null}]}`, `null`, `[`, `{"a":9223372036854775808}`, strings.Repeat(`{"a":`, 200), "{\"a\":\"\xff\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDoc(text)
		if err != nil {
			require.ErrorIs(t, err, ErrBadDocument)
			return
		}
		again, err := d.MarshalJSON()
		require.NoError(t, err)
		back, err := ParseDoc(again)
		require.NoError(t, err)
		require.Equal(t, d, back)
	})
}

func FuzzReadEvent(f *testing.F) {
	for _, s := range []string{"event: a\ndata: {}\n\n", ":\n\n", "data: a\ndata: b\r\n\r\n", "event: x\n\ndata: 1\n\n", "data"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bufio.NewReader(strings.NewReader(string(text)))
		for {
			name, data, err := readEvent(r)
			if err != nil {
				return
			}
			require.LessOrEqual(t, len(data)+len(name), len(text))
		}
	})
}

func TestEventsAreReadWhole(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	r := bufio.NewReaderSize(strings.NewReader(":\n\nevent: add\nid: 7\ndata: {\"a\":\ndata: 1}\n\ndata:"+long+"\r\n\r\nevent: cut"), 16)
	name, data, err := readEvent(r)
	require.NoError(t, err)
	require.Equal(t, "add", name)
	require.Equal(t, "{\"a\":\n1}", string(data))
	name, data, err = readEvent(r)
	require.NoError(t, err)
	require.Empty(t, name)
	require.Len(t, data, len(long))
	_, _, err = readEvent(r)
	require.Error(t, err)
	_, err = readLine(bufio.NewReader(strings.NewReader(strings.Repeat("y", maxLine+4097))))
	require.ErrorIs(t, err, errLineTooLong)
}

func TestPathKeepsEverySegmentApart(t *testing.T) {
	require.Equal(t, "/a%2Fb/%2E%2E/%2E/x%20y/%25", path("a/b", "..", ".", "x y", "%"))
}
