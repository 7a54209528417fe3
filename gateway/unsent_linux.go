package gateway

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// queued is the length of a connection's send queue, what is not acknowledged included. Source: tcp(7), SIOCOUTQ.
func queued(c net.Conn) (n int64) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection, whose queue does not matter
		if got, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = int64(got)
		}
	})
	return n
}
