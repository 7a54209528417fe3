// Package loopback tunes TCP connections whose two ends are on one machine.
//
// Congestion control that paces (BBR, the default of many machines) sends no faster than the bandwidth it believes the path to have, by
// timers, so that no queue on the way overflows. Within a machine there is no such queue: only the timers are left, and the estimate,
// which follows how fast the answers before were taken. One GET of 1 MiB takes a quarter longer by that. So a connection within the machine that
// paces can be given Reno, which does not and is part of every kernel. Among many busy connections pacing costs less CPU than doing without:
// it is for the caller to say which ones are few. Connections to elsewhere, and other kinds of congestion control, stay as the system made them.
package loopback

import (
	"net"
	"strings"
)

// unpaced is the congestion control for connections within the machine in place of one that paces. Linux lets every process choose it.
const unpaced = "reno"

// paces says whether a congestion control holds packets back by timers. Source: Linux, net/ipv4/tcp_bbr.c.
func paces(name string) bool { return strings.HasPrefix(name, "bbr") }

// Within says that both ends of c are on this machine: addresses of loopback, or the same one.
func Within(c net.Conn) bool {
	a, ok := c.LocalAddr().(*net.TCPAddr)
	b, ok2 := c.RemoteAddr().(*net.TCPAddr)
	return ok && ok2 && (a.IP.IsLoopback() && b.IP.IsLoopback() || a.IP.Equal(b.IP))
}

// Tune stops pacing on a *net.TCPConn within the machine. What the system refuses stays as it is: it is about speed only.
func Tune(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok && Within(c) {
		unpace(tcp)
	}
}
