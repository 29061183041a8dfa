//go:build !race

package ledger

const longHistory = 10_000
