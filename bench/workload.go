package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// document is one document of the workload: the same for every system.
type document struct {
	key  string
	json []byte // 256 bytes
}

// docSize is what every document takes as JSON.
const docSize = 256

// body is the document in the order of its fields; text fills it up to docSize.
type body struct {
	ID     string   `json:"id"`
	Type   string   `json:"type"`
	Author string   `json:"author"` // one of 10
	Rev    int      `json:"rev"`
	TS     int64    `json:"ts"`
	Done   bool     `json:"done"`
	Prio   int      `json:"prio"` // one of 5
	Tags   []string `json:"tags"` // 2
	Body   string   `json:"body"` // random letters
}

func key(i int) string { return fmt.Sprintf("doc-%08d", i) }

// documentAt returns document i at revision rev: the same bytes in every run.
func documentAt(i, rev int) document {
	r := rand.New(rand.NewPCG(uint64(i), uint64(rev)))
	b := body{
		ID: key(i), Type: "task", Author: fmt.Sprintf("author-%d", r.IntN(10)), Rev: rev % 10,
		TS: 1_700_000_000_000 + int64(i), Done: r.IntN(2) == 0, Prio: r.IntN(5),
		Tags: []string{fmt.Sprintf("tag-%02d", r.IntN(50)), fmt.Sprintf("tag-%02d", r.IntN(50))},
	}
	empty := must(json.Marshal(b))
	letters := make([]byte, docSize-len(empty))
	for n := range letters {
		letters[n] = 'a' + byte(r.IntN(26))
	}
	b.Body = string(letters)
	return document{key: b.ID, json: must(json.Marshal(b))}
}

// documents returns the n documents from first on.
func documents(first, n int) []document {
	out := make([]document, n)
	for i := range out {
		out[i] = documentAt(first+i, 0)
	}
	return out
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of values made here
	}
	return v
}
