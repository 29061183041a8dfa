//go:build !toftbug

package planted

// Bug reports whether the named bug is to be there. In this build none is.
func Bug(string) bool { return false }
