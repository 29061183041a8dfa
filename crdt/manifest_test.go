package crdt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// hashes returns n distinct ones.
func hashes(n int) [][32]byte {
	out := make([][32]byte, n)
	for i := range out {
		out[i] = [32]byte{byte(i), byte(i >> 8), 0xaa}
	}
	return out
}

func TestManifestGolden(t *testing.T) {
	m := Manifest{Level: 1, Size: ChunkSize + 1, Hashes: [][32]byte{{1}, {2}}}
	got, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	zeros := hex.EncodeToString(make([]byte, 31))
	want := "a3" + "0101" + "02" + "1a000fc000" + "03" + "82" + "5820" + "01" + zeros + "5820" + "02" + zeros
	if hex.EncodeToString(got) != want {
		t.Fatalf("manifest is\n%x, want\n%s", got, want)
	}
	back, err := ParseManifest(got, 2)
	if err != nil || back.Size != m.Size || len(back.Hashes) != 2 {
		t.Fatalf("read back as %+v, %v", back, err)
	}
}

func TestManifestRefuses(t *testing.T) {
	for name, m := range map[string]Manifest{
		"level 0":          {Level: 0, Size: 1, Hashes: hashes(1)},
		"level 4":          {Level: 4, Size: 1, Hashes: hashes(1)},
		"nothing":          {Level: 1},
		"a chunk missing":  {Level: 1, Size: 2*ChunkSize + 1, Hashes: hashes(2)},
		"a chunk too many": {Level: 1, Size: ChunkSize, Hashes: hashes(2)},
		"too large":        {Level: 1, Size: ChunkSize*MaxFanout + 1, Hashes: hashes(MaxFanout + 1)},
		"a subtree short":  {Level: 2, Size: ChunkSize*MaxFanout + 1, Hashes: hashes(1)},
	} {
		if _, err := m.Encode(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	plain, err := Manifest{Level: 2, Size: ChunkSize*MaxFanout + 1, Hashes: hashes(2)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseManifest(plain, 3); !errors.Is(err, ErrMalformed) {
		t.Errorf("a link that is not listed: %v, want ErrMalformed", err)
	}
	if _, err := ParseManifest(append(plain, 0), 2); !errors.Is(err, ErrMalformed) {
		t.Errorf("bytes after the end: %v, want ErrMalformed", err)
	}
}

func FuzzManifest(f *testing.F) {
	plain, err := Manifest{Level: 1, Size: ChunkSize + 1, Hashes: hashes(2)}.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, 2)
	f.Fuzz(func(t *testing.T, data []byte, links int) {
		m, err := ParseManifest(data, links)
		if err != nil {
			return
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("two encodings: %x, %x, %v", data, again, err)
		}
	})
}
