// Package e2e holds the tests of whole nodes: stories in one process over real
// libp2p hosts and real disks, the same nodes on a simulated network, and real
// processes that are killed in the middle of their work.
//
// There is no code here, only tests; what they need of a node they take through
// the doors a user has.
package e2e
