//go:build !linux

package api

import "net"

// owned cannot ask who is at the other end here: the modes of the socket and of its
// directory keep others out.
func owned(net.Conn) bool { return true }
