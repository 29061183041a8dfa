package main

import (
	"slices"
	"strings"
)

// nearest returns the word that was most likely meant, the first of those that are
// equally near. What begins with what was typed is one mistake away: it stopped early.
func nearest(typed string, words []string) string {
	typed = strings.ToLower(typed)
	far := func(word string) int {
		if strings.HasPrefix(word, typed) {
			return min(1, len(word)-len(typed))
		}
		return mistakes(typed, word)
	}
	return slices.MinFunc(words, func(a, b string) int { return far(a) - far(b) })
}

// mistakes counts the letters that were left out, put in, mistyped, or swapped with
// their neighbour.
func mistakes(a, b string) int {
	above, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		above, last, row = last, row, above
		row[0] = i + 1
		for j := range len(b) {
			same := 1
			if a[i] == b[j] {
				same = 0
			}
			row[j+1] = min(last[j]+same, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], above[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
