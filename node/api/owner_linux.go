package api

import (
	"net"
	"os"
	"syscall"
)

// owned reports whether the daemon at the other end runs as this user, or as root, who
// could read our memory anyway. In a directory that somebody else can write to, the
// socket may be his, and passphrases and codes go through it.
func owned(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	var cred *syscall.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || cerr != nil {
		return false
	}
	return mayServe(int(cred.Uid), os.Getuid())
}

// mayServe: root may ask anybody's daemon, for nobody's answer surprises it.
func mayServe(uid, ours int) bool { return uid == ours || uid == 0 || ours == 0 }
