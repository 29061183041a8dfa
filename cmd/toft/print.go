package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/toftdb/toft/node/api"
)

// printer writes results to stdout and keeps the first failure, so that a full disk
// behind a redirection is not taken for success.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) raw(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

// line writes one line of text.
func (p *printer) line(s string) { p.raw(clean(s) + "\n") }

// clean makes text harmless to a terminal: control characters (which move the
// cursor, change the title, paste), direction overrides (which make a name read as
// another) and broken UTF-8 become escapes. In JSON text they can stand only inside
// strings, where the escape means the same, so cleaned JSON is still that JSON.
func clean(s string) string {
	if strings.IndexFunc(s, harmful) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if harmful(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r) // a byte that is no UTF-8 is U+FFFD here
	}
	return b.String()
}

// harmful reports whether a terminal would do something else than show r. Line ends
// and tabs are ours: names and ids have none, JSON escapes them.
func harmful(r rune) bool {
	return r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// cell is clean for one field of a table.
func cell(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(clean(s))
}

// printJSON writes one noun as a line of JSON.
func printJSON[T any](a *app, v T) error {
	text, err := api.Marshal(v)
	if err != nil {
		return err
	}
	a.out.line(string(text))
	return a.out.err
}

// printDoc writes a document: a line with --json or in a list, indented for people.
func (a *app) printDoc(d api.Doc, indent bool) error {
	text, err := d.MarshalJSON()
	if err != nil {
		return err
	}
	v := jsontext.Value(text)
	if indent && !a.asJSON {
		if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
			return err
		}
	}
	a.out.line(string(v))
	return a.out.err
}

// show writes one noun: as JSON, or what people makes of it.
func show[T any](a *app, v T, people func(T)) error {
	if a.asJSON {
		return printJSON(a, v)
	}
	people(v)
	return a.out.err
}

// pairs writes a name and a value a line; empty values are left out.
func (a *app) pairs(kv ...string) {
	rows := make([][]string, 0, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			rows = append(rows, []string{kv[i] + ":", kv[i+1]})
		}
	}
	a.table(nil, rows)
}

// table writes rows in columns.
func (a *app) table(head []string, rows [][]string) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	if head != nil && len(rows) > 0 {
		rows = append([][]string{head}, rows...)
	}
	for _, r := range rows {
		cells := make([]string, len(r))
		for i, c := range r {
			cells[i] = cell(c)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	_ = tw.Flush() // it writes to memory
	for line := range strings.Lines(b.String()) {
		a.out.raw(strings.TrimRight(line, " \n") + "\n")
	}
}

// list writes a sequence: a JSON array, or a table for people.
func list[T any](a *app, seq func(func(T, error) bool), head []string, row func(T) []string) error {
	all := []T{}
	for v, err := range seq {
		if err != nil {
			return err
		}
		all = append(all, v)
	}
	if a.asJSON {
		return printJSON(a, all)
	}
	rows := make([][]string, len(all))
	for i, v := range all {
		rows[i] = row(v)
	}
	a.table(head, rows)
	return a.out.err
}

// when writes a time for people, in the local zone; an unknown one is empty.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// short is the front of an id, enough to find it by.
func short(id string) string {
	const enough = 14
	if len(id) <= enough {
		return id
	}
	return id[:enough]
}
