package message

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Errors of reading; callers branch on them.
var (
	// ErrTooLarge: a message or a frame exceeds its bound.
	ErrTooLarge = errors.New("message too large")
	// ErrMalformed: the bytes are not a message of the kind that was expected.
	ErrMalformed = errors.New("malformed message")
	// ErrVersion: the message is of another version.
	ErrVersion = errors.New("message of another version: upgrade toft")
)

// Read reads one frame from r and returns the message in it, version byte
// included. It refuses a frame longer than limit (≤ [MaxFrame]) by its header
// alone, and allocates as bytes arrive, so that a header that promises much and
// sends nothing costs nothing. A stream that ends before a frame starts returns
// io.EOF itself; one that ends inside a frame, an error wrapping
// io.ErrUnexpectedEOF.
func Read(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("read frame header: %w", err)
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > int64(min(limit, MaxFrame)) {
		return nil, fmt.Errorf("%w: frame of %d bytes, at most %d", ErrTooLarge, n, min(limit, MaxFrame))
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: empty frame", ErrMalformed)
	}
	var buf bytes.Buffer
	got, err := io.CopyN(&buf, r, n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read frame: %d of %d bytes: %w", got, n, err)
	}
	return buf.Bytes(), nil
}

// Write writes msg as one frame, in one call to w, so that a small message is
// one packet.
func Write(w io.Writer, msg []byte) error {
	if len(msg) == 0 {
		return fmt.Errorf("%w: empty frame", ErrMalformed)
	}
	if len(msg) > MaxFrame {
		return fmt.Errorf("%w: frame of %d bytes, at most %d", ErrTooLarge, len(msg), MaxFrame)
	}
	frame := make([]byte, 4, 4+len(msg))
	binary.BigEndian.PutUint32(frame, uint32(len(msg)))
	if _, err := w.Write(append(frame, msg...)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}
