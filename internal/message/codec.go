package message

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/toftdb/toft/block"
	"github.com/toftdb/toft/internal/wire"
)

// checked is a message that knows its own bounds.
type checked interface{ check() error }

// encode returns version ‖ CBOR of m, refusing what parse would refuse: a
// sender's mistake shows at the sender.
func encode[T checked](m T, limit int) ([]byte, error) {
	body, err := encodeBody(m, limit-1)
	if err != nil {
		return nil, err
	}
	return append([]byte{Version}, body...), nil
}

func encodeBody[T checked](m T, limit int) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	body, err := wire.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(body) > limit {
		return nil, fmt.Errorf("%w: %T of %d bytes, at most %d", ErrTooLarge, m, len(body), limit)
	}
	return body, nil
}

// parse is the inverse of encode.
func parse[T checked](data []byte, limit int) (T, error) {
	var zero T
	if len(data) > limit {
		return zero, fmt.Errorf("%w: %T of %d bytes, at most %d", ErrTooLarge, zero, len(data), limit)
	}
	if len(data) == 0 {
		return zero, fmt.Errorf("%w: %T: empty", ErrMalformed, zero)
	}
	if data[0] != Version {
		return zero, fmt.Errorf("%w: %T of version %d", ErrVersion, zero, data[0])
	}
	return parseBody[T](data[1:], limit)
}

func parseBody[T checked](body []byte, limit int) (T, error) {
	var zero T
	if err := scan(body); err != nil {
		return zero, fmt.Errorf("%T: %w", zero, err)
	}
	m, err := wire.Decode[T](body, limit)
	if err != nil {
		return zero, fmt.Errorf("%w: %T: %w", ErrMalformed, zero, err)
	}
	if err := m.check(); err != nil {
		return zero, fmt.Errorf("%T: %w", zero, err)
	}
	return m, nil
}

// scan walks the heads of one CBOR item without allocating and refuses more than
// [MaxItems] items or [MaxNesting] levels. Whether the item is well formed
// otherwise is the decoder's business; scan only has to be safe on any bytes and
// never count fewer items than the decoder would make room for.
func scan(data []byte) error {
	var open [MaxNesting]uint64 // items still to come on each level
	depth, items := 0, uint64(0)
	for {
		major, arg, rest, err := head(data)
		if err != nil {
			return err
		}
		data = rest
		items++
		var children uint64
		switch major {
		case 2, 3:
			if arg > uint64(len(data)) {
				return fmt.Errorf("%w: string of %d bytes in %d", ErrMalformed, arg, len(data))
			}
			data = data[arg:]
		case 4, 5:
			if arg > MaxItems {
				return fmt.Errorf("%w: %d items, at most %d", ErrTooLarge, arg, MaxItems)
			}
			children = arg * uint64(major-3)
		case 6:
			return fmt.Errorf("%w: tag", ErrMalformed)
		}
		if items+children > MaxItems {
			return fmt.Errorf("%w: more than %d items", ErrTooLarge, MaxItems)
		}
		if children > 0 {
			if depth == MaxNesting {
				return fmt.Errorf("%w: deeper than %d", ErrMalformed, MaxNesting)
			}
			open[depth] = children
			depth++
			continue
		}
		for depth > 0 {
			open[depth-1]--
			if open[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			return nil // what follows is for wire to refuse
		}
	}
}

// head reads the head of one CBOR item: major type and argument (RFC 8949 §3).
func head(data []byte) (major byte, arg uint64, rest []byte, err error) {
	if len(data) == 0 {
		return 0, 0, nil, fmt.Errorf("%w: cut short", ErrMalformed)
	}
	major, info := data[0]>>5, data[0]&0x1f
	rest = data[1:]
	if info < 24 {
		return major, uint64(info), rest, nil
	}
	if info > 27 {
		return 0, 0, nil, fmt.Errorf("%w: indefinite length", ErrMalformed)
	}
	n := 1 << (info - 24)
	if len(rest) < n {
		return 0, 0, nil, fmt.Errorf("%w: cut short", ErrMalformed)
	}
	var buf [8]byte
	copy(buf[8-n:], rest[:n])
	return major, binary.BigEndian.Uint64(buf[:]), rest[n:], nil
}

// bad reports a message that breaks a rule of its own.
func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// checkSet requires at most limit IDs, sorted bytewise without duplicates.
func checkSet(what string, ids []block.ID, limit int) error {
	if len(ids) > limit {
		return bad("%d %s, at most %d", len(ids), what, limit)
	}
	for i := 1; i < len(ids); i++ {
		if bytes.Compare(ids[i-1][:], ids[i][:]) >= 0 {
			return bad("%s not sorted", what)
		}
	}
	return nil
}

// checkBlobs requires at most limit byte strings of 1 to size bytes each, and at
// most total bytes in all. It returns how many bytes they are.
func checkBlobs(what string, blobs [][]byte, limit, size, total int) (int, error) {
	if len(blobs) > limit {
		return 0, bad("%d %s, at most %d", len(blobs), what, limit)
	}
	sum := 0
	for _, b := range blobs {
		if len(b) == 0 || len(b) > size {
			return 0, bad("%s of %d bytes, at most %d", what, len(b), size)
		}
		sum += len(b)
	}
	if sum > total {
		return 0, bad("%d bytes of %s, at most %d", sum, what, total)
	}
	return sum, nil
}
