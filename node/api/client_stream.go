package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
)

var errLineTooLong = fmt.Errorf("a line of the answer is longer than %d bytes", maxLine)

// readLines yields the nouns of a long list, and the problem that stands in its
// trailer if there was one.
func readLines[T any](ctx context.Context, c *Client, method, path string, body []byte) iter.Seq2[T, error] {
	return stream[T](ctx, c, method, path, body, func(res *http.Response, yield func(T, error) bool) error {
		r := bufio.NewReader(res.Body)
		for {
			line, err := readLine(r)
			if errors.Is(err, io.EOF) {
				if text := res.Trailer.Get("Toft-Problem"); text != "" {
					return parseProblem([]byte(text), "a trailer that makes no sense")
				}
				return nil
			}
			if err != nil {
				return c.broken(ctx, err)
			}
			v, err := Unmarshal[T](line)
			if err != nil {
				return err
			}
			if !yield(v, nil) {
				return nil
			}
		}
	})
}

// readFeed yields the events of a live feed. A feed has no end of its own.
func readFeed[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return stream[T](ctx, c, http.MethodGet, path, nil, func(res *http.Response, yield func(T, error) bool) error {
		r := bufio.NewReader(res.Body)
		for {
			name, data, err := readEvent(r)
			if errors.Is(err, io.EOF) {
				return c.broken(ctx, io.ErrUnexpectedEOF)
			}
			if err != nil {
				return c.broken(ctx, err)
			}
			if name == "error" {
				return parseProblem(data, "an error event that makes no sense")
			}
			v, err := Unmarshal[T](data)
			if err != nil {
				return err
			}
			if !yield(v, nil) {
				return nil
			}
		}
	})
}

// stream opens an answer for a sequence, yields the error of read, if any, as the
// last thing, and closes the answer however the loop ends.
func stream[T any](ctx context.Context, c *Client, method, path string, body []byte, read func(*http.Response, func(T, error) bool) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the request where the loop ended early
		res, err := c.send(ctx, method, path, nil, body)
		if err == nil {
			defer res.Body.Close()
			err = read(res, yield)
		}
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// readLine returns the next line without its end, and io.EOF only at the end of an
// answer that ends with a whole line.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case len(line) > maxLine:
			return nil, errLineTooLong
		case errors.Is(err, io.EOF) && len(line) > 0:
			return nil, io.ErrUnexpectedEOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// readEvent returns the next event's name and data; comments and other fields are
// skipped.
func readEvent(r *bufio.Reader) (name string, data []byte, err error) {
	for {
		line, err := readLine(r)
		if err != nil {
			return "", nil, err
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && data != nil:
			return name, data, nil
		case len(line) == 0:
			name = ""
		case string(field) == "event":
			name = string(value)
		case string(field) == "data":
			if data != nil {
				data = append(data, '\n')
			}
			if data = append(data, value...); len(data) > maxLine {
				return "", nil, errLineTooLong
			}
		}
	}
}
