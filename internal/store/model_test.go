package store

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A store is a sorted map that is still there after Close and Open.
func TestStoreIsASortedMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewCrashableMem()
		model := map[string]string{}
		reopen := func() *Store {
			s, err := Open("/db", Options{FS: disk, tune: small})
			require.NoError(t, err)
			return s
		}
		s := reopen()
		defer func() { _ = s.Close() }()
		key := rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"b/", "d/", "derived/", "\xff", ""}).Draw(t, "prefix") +
				rapid.StringOfN(rapid.SampledFrom([]rune("ab\x00")), 1, 3, -1).Draw(t, "rest")
		})
		value := rapid.Map(rapid.IntRange(0, 3000), func(n int) string { return strings.Repeat("v", n) })
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) {
				b := s.NewBatch()
				for range rapid.IntRange(0, 6).Draw(t, "changes") {
					k := key.Draw(t, "key")
					if rapid.Bool().Draw(t, "delete") {
						b.Delete([]byte(k))
						delete(model, k)
						continue
					}
					v := value.Draw(t, "value")
					b.Set([]byte(k), []byte(v))
					model[k] = v
				}
				require.NoError(t, s.Commit(t.Context(), b))
			},
			"drop derived": func(t *rapid.T) {
				require.NoError(t, s.DropDerived(t.Context()))
				maps.DeleteFunc(model, func(k, _ string) bool { return strings.HasPrefix(k, prefixDerived) })
			},
			"restart": func(t *rapid.T) {
				require.NoError(t, s.Close())
				s = reopen()
			},
			"power loss": func(t *rapid.T) {
				after := crash(disk, rapid.Uint64().Draw(t, "seed"))
				require.NoError(t, s.Close())
				disk = after
				s = reopen()
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				got, err := s.Get([]byte(k))
				size, sizeErr := s.Size([]byte(k))
				has, hasErr := s.Has([]byte(k))
				want, there := model[k]
				require.NoError(t, hasErr)
				require.Equal(t, there, has)
				if !there {
					require.ErrorIs(t, err, ErrNotFound)
					require.ErrorIs(t, sizeErr, ErrNotFound)
					return
				}
				require.NoError(t, err)
				require.NoError(t, sizeErr)
				require.Equal(t, want, string(got))
				require.Equal(t, len(want), size)
			},
			"": func(t *rapid.T) {
				span := Span{
					Prefix:  []byte(rapid.SampledFrom([]string{"", "b/", "d/a", "\xff"}).Draw(t, "scan")),
					Reverse: rapid.Bool().Draw(t, "reverse"),
				}
				if rapid.Bool().Draw(t, "from somewhere") {
					span.From = []byte(key.Draw(t, "from"))
				}
				var got []string
				for e, err := range s.ScanSpan(span) {
					require.NoError(t, err)
					require.Equal(t, model[string(e.Key)], string(e.Value))
					got = append(got, string(e.Key))
				}
				require.Equal(t, keysIn(model, span), got)
			},
		})
	})
}

// keysIn is ScanSpan, said plainly.
func keysIn(model map[string]string, span Span) []string {
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		order := bytes.Compare([]byte(k), span.From)
		switch {
		case !strings.HasPrefix(k, string(span.Prefix)):
		case len(span.From) > 0 && !span.Reverse && order < 0:
		case len(span.From) > 0 && span.Reverse && order > 0:
		default:
			keys = append(keys, k)
		}
	}
	if span.Reverse {
		slices.Reverse(keys)
	}
	return keys
}
