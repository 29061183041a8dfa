package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/toftdb/toft/node/api"
)

// maxInput bounds what is read from a file or stdin as one document or code.
const maxInput = 2 << 20

// isBody reports whether an argument is a document rather than an id.
func isBody(arg string) bool {
	return arg == "-" || strings.HasPrefix(arg, "{") || strings.HasPrefix(arg, "@")
}

// body reads a document from an argument: {…}, @FILE, or - for stdin.
func (a *app) body(arg string) (api.Doc, error) {
	text := []byte(arg)
	var err error
	switch {
	case arg == "-":
		text, err = readAll(a.stdin, "stdin")
	case strings.HasPrefix(arg, "@"):
		text, err = readFile(arg[1:])
	}
	if err != nil {
		return nil, err
	}
	d, err := api.ParseDoc(text)
	if err != nil {
		e := api.ErrorOf(err)
		return nil, e.With("the document is not JSON that can be stored: "+e.Detail, `as in '{"title":"milk","n":1}'; nothing was written`)
	}
	return d, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, api.ErrUsage.Wrap(err, "@FILE reads a document from a file")
	}
	defer f.Close()
	return readAll(f, name)
}

func readAll(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, api.ErrUsage.Wrap(fmt.Errorf("read %s: %w", name, err), "")
	}
	if len(text) > maxInput {
		return nil, api.ErrTooLarge.With(fmt.Sprintf("%s is larger than %d bytes", name, maxInput), "")
	}
	return text, nil
}

// parseSpan reads a duration as in 90s, 30m, 12h, 7d or 2w.
func parseSpan(s string) (time.Duration, error) {
	for unit, d := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			v, err := strconv.ParseFloat(n, 64)
			if err == nil && v > 0 && v < 36_500 {
				return time.Duration(v * float64(d)), nil
			}
			return 0, api.ErrUsage.With(fmt.Sprintf("%q is no duration", s), "as in 30m, 12h, 7d")
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, api.ErrUsage.With(fmt.Sprintf("%q is no duration", s), "as in 30m, 12h, 7d")
	}
	return d, nil
}

// expiry reads --expires: a duration from now, or never (the zero time).
func (a *app) expiry(s string) (time.Time, error) {
	if s == "never" {
		return time.Time{}, nil
	}
	d, err := parseSpan(s)
	if err != nil {
		return time.Time{}, err
	}
	return a.now().Add(d), nil
}

// parseRange reads A..B; either end may be missing.
func parseRange(s string) (from, to string, err error) {
	if s == "" {
		return "", "", nil
	}
	from, to, ok := strings.Cut(s, "..")
	if !ok {
		return "", "", api.ErrUsage.With(fmt.Sprintf("--range %q has no ..", s), "as in --range a..m, both ends included")
	}
	return from, to, nil
}

// parseLimit takes --limit as it was given; 0 asks for nothing and is refused.
func parseLimit(given bool, n int) (int, error) {
	if given && n <= 0 {
		return 0, api.ErrUsage.With(fmt.Sprintf("--limit %d asks for nothing", n), "a limit is 1 or more")
	}
	return n, nil
}

// opt returns args[i], "" where there is none.
func opt(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}
