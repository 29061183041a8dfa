//go:build !race

package e2e_test

import "time"

// The simulated clusters and the party by default.
const (
	clusterNodes = 20
	clusterTime  = 3 * time.Minute
	partySize    = 12
	clusterHours = 5
	hour         = time.Hour
)
