//go:build race

package e2e_test

import "time"

// The simulated clusters and the party by default: small where the race detector makes
// a minute of theirs cost minutes of ours.
const (
	clusterNodes = 5
	clusterTime  = time.Minute
	partySize    = 6
	clusterHours = 1
	hour         = 5 * time.Minute
)
