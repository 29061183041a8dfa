//go:build !race

package ledger

const longHistory = 10_000

const floodOf, lineOf = 5_000, 1_000
