//go:build race

package e2e_test

import "time"

// The simulated cluster and party by default: small where the race detector makes a minute of
// theirs cost minutes of ours.
const (
	clusterNodes = 5
	clusterTime  = time.Minute
	partySize    = 6
)
