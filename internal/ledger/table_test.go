package ledger

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/toftdb/toft/crdt"
)

// rotTable changes bits of the largest table of a device that has stopped.
func (d *device) rotTable(where func(raw []byte) []int) {
	d.t.Helper()
	disk, ok := d.fs.(*vfs.MemFS)
	require.True(d.t, ok)
	names, err := disk.List("/db/pebble")
	require.NoError(d.t, err)
	var largest []byte
	for _, name := range names {
		if raw, err := disk.UnsafeGetFileDataBuffer("/db/pebble/" + name); err == nil && strings.HasSuffix(name, ".sst") && len(raw) > len(largest) {
			largest = raw
		}
	}
	for _, at := range where(largest) {
		largest[at] ^= 1
	}
}

// Tables of ann's disk rot where blocks lie, or where what is derived from them lies.
// It is noticed, what was lost comes from bob or is made anew, and the rotten table is
// out of the store: it can be compacted as a whole.
func TestRottenTablesAreHealedForGood(t *testing.T) {
	for name, where := range map[string]func(raw []byte) []int{
		"blocks": func(raw []byte) []int { return []int{len(raw) / 8, len(raw) / 7, len(raw) / 3} },
		"derived": func(raw []byte) (at []int) {
			for i := bytes.Index(raw, []byte("derived/")); i < len(raw)-40_000; i += 20_000 {
				at = append(at, i+10_000)
			}
			return at[:len(at)/2]
		},
	} {
		t.Run(name, func(t *testing.T) {
			ann, bob, _, bobs := pair(t, 3)
			ann.flushing()
			ann.restart()
			_, db := ann.only()
			for i := range 40 {
				writes := make([]crdt.Write, 10)
				for j := range writes {
					writes[j] = crdt.Write{Verb: crdt.Put, ID: fmt.Sprintf("d%03d", (i*10+j)%250), Body: crdt.Doc{"text": fmt.Sprint(i, strings.Repeat("x", 400))}}
				}
				_, err := db.Write(t.Context(), writes)
				require.NoError(t, err)
				put(t, db, fmt.Sprint("one", i), "by itself")
			}
			meet(t, db, bobs)
			want := docs(t, db)
			ann.stop()
			ann.rotTable(where)
			require.NoError(t, ann.open())
			_, db = ann.only()
			_, _ = db.Verify(t.Context(), true)
			_ = ann.st.Compact(t.Context()) // reads what nobody asked for
			require.True(t, ann.st.Damaged() && ann.NeedsHealing())
			require.Positive(t, ann.rottenTables.Load())
			require.NoError(t, ann.Heal(t.Context(), from(bob)))
			r, err := db.Repair(t.Context(), from(bob))
			require.NoError(t, err)
			require.Empty(t, r.Bad)
			require.False(t, ann.NeedsHealing())
			require.Equal(t, want, docs(t, db))
			put(t, db, "on", "1")
			want["on"] = "1"
			for range 2 {
				ann.restart()
				_, db = ann.only()
				require.NoError(t, db.Damage())
				require.Equal(t, want, docs(t, db))
				require.Len(t, full(t, db), len(want))
				require.Empty(t, verify(t, db, true).Bad)
				require.False(t, ann.NeedsHealing())
				require.NoError(t, ann.st.Compact(t.Context()))
				require.NoError(t, db.Flush(t.Context()))
			}
			require.False(t, ann.st.Damaged())
			give(t, db, bobs)
			require.Equal(t, want, docs(t, bobs))
		})
	}
}
