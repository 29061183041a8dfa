//go:build race

package ledger

// longHistory is how many commits the test of a long history makes: the race
// detector makes each ten times as slow, and what it looks for shows in a few.
const longHistory = 1_500

// floodOf and lineOf are how many links the tests of old heads make.
const floodOf, lineOf = 600, 150
