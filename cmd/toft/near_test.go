package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheNearestWord(t *testing.T) {
	for typed, want := range map[string]string{
		"gte": "get", "gc": "gc", "gcc": "gc", "ptu": "put", "GTE": "get", "co": "connect", "dbb": "db", "geet": "get",
	} {
		require.Equal(t, want, nearest(typed, []string{"connect", "conflicts", "db", "gc", "get", "put"}), typed)
	}
	for _, x := range []struct {
		a, b string
		n    int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"get", "get", 0}, {"gte", "get", 1}, {"gte", "gc", 2},
		{"kitten", "sitting", 3}, {"ca", "abc", 3}, {"satuts", "status", 2}, {"abcd", "badc", 2},
	} {
		require.Equal(t, x.n, mistakes(x.a, x.b), "%s %s", x.a, x.b)
		require.Equal(t, x.n, mistakes(x.b, x.a), "%s %s", x.b, x.a)
	}
}
