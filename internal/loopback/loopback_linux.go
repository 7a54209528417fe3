package loopback

import (
	"net"

	"golang.org/x/sys/unix"
)

// unpace gives c another congestion control if its own paces. Source: tcp(7), TCP_CONGESTION.
func unpace(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // fails only on a closed connection, whose speed does not matter
		if name, err := congestion(int(fd)); err == nil && paces(name) {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, unpaced)
		}
	})
}

func congestion(fd int) (string, error) {
	return unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
}
