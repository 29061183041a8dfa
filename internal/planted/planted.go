// Package planted holds bugs that are put into Toft on purpose, to find out whether
// the tests would notice. A test suite that has never caught anything may not be
// able to.
//
// A bug is one condition where a mistake would be easy to make:
//
//	if planted.Bug("ledger-show-before-sync") || stored {
//		show(commits)
//	}
//
// In an ordinary build [Bug] is the constant false, and the compiler removes it with
// all that hangs on it. With the build tag toftbug the environment chooses one bug
// for the whole run:
//
//	TOFT_BUG=ledger-show-before-sync go test -tags toftbug ./internal/ledger
//
// The files of testdata list every bug with the tests that must fail because of it,
// one file for each part of the house. A test here holds the list against the source, so that no bug is planted without
// somebody who catches it; with -bugs it goes through the list, proves each caught,
// and prints the rate:
//
//	go test -run TestPlantedBugs -timeout 60m -v ./internal/planted -bugs
//
// The package knows no room. What a bug breaks is written where it is planted.
package planted
