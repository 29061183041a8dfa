package store

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/go-json-experiment/json"
	"github.com/gofrs/flock"
)

const (
	lockFile   = "lock"
	maxLockLen = 4 << 10
)

// Holder tells a person which process has a store open.
type Holder struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`          // base name only: arguments could hold secrets
	Started time.Time `json:"started,omitzero"` // zero if the opener gave no time
}

func (h Holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	text := fmt.Sprintf("%q (process %d", h.Command, h.PID)
	if !h.Started.IsZero() {
		text += ", since " + h.Started.Format(time.RFC3339)
	}
	return text + ")"
}

// lockDir takes DIR/lock for this process and writes into it who we are. The
// lock is the kernel's and ends with the process; the text in the file is only
// for people and may be that of a process that has crashed. The file is never
// removed: a process that waits on a removed file would hold a lock nobody
// else can see.
func lockDir(dir string, holder Holder) (io.Closer, error) {
	name := filepath.Join(dir, lockFile)
	lock := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("store %s: lock: %w", dir, err)
	}
	if !got {
		return nil, &LockedError{Dir: dir, Holder: readHolder(name)}
	}
	text, err := json.Marshal(holder)
	if err == nil {
		// The lock is held already; without the text (a full disk) the second
		// opener is only told less.
		_ = os.WriteFile(name, append(text, '\n'), 0o600)
	}
	return &heldLock{lock: lock, name: name}, nil
}

type heldLock struct {
	lock *flock.Flock
	name string
}

// Close empties the file before it lets go, so that a store nobody holds names
// nobody.
func (h *heldLock) Close() error {
	_ = os.Truncate(h.name, 0) // only text for people
	return h.lock.Unlock()
}

// readHolder reads who has the lock. It may look in the instant between
// locking and writing, so it looks a few times before it gives up.
func readHolder(name string) Holder {
	for range 10 {
		raw, err := readBounded(vfs.Default, name, maxLockLen)
		var holder Holder
		if err == nil && json.Unmarshal(raw, &holder) == nil && holder.PID != 0 {
			return holder
		}
		time.Sleep(5 * time.Millisecond)
	}
	return Holder{}
}
