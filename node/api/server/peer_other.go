//go:build !linux

package server

import "net"

// allowed cannot ask who is at the other end here: the modes of the socket and of
// its directory keep others out.
func allowed(net.Conn) bool { return true }
