//go:build toftbug

package planted

import "os"

// chosen is the one bug of this run.
var chosen = os.Getenv("TOFT_BUG")

// Bug reports whether the named bug is to be there: the one that the environment
// variable TOFT_BUG names.
func Bug(name string) bool { return name == chosen }
