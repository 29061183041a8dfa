package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// Listen opens the unix socket at path for this user alone. A socket file that is
// there already is taken over: the caller holds the lock of the store, so whoever
// made the file is gone. Closing the listener removes the file.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	// Until this call the directory alone (0700) keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close() // the first error says more
		return nil, fmt.Errorf("socket: %w", err)
	}
	return &ownListener{Listener: ln, allowed: allowed}, nil
}

// ownListener hands on the connections that processes of this user make.
type ownListener struct {
	net.Listener
	allowed func(net.Conn) bool
}

// Accept waits for the next connection that may come in; others are closed without
// a word, and without a log line that they could repeat.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.allowed(c) {
			return c, nil
		}
		_ = c.Close()
	}
}
