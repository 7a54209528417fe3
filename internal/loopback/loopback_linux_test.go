package loopback

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// control is what a connection's congestion control is called.
func control(t *testing.T, c net.Conn) (name string) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { name, err = congestion(int(fd)) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return name
}

// chosen gives a connection a congestion control; where the system does not have it, the test is skipped.
func chosen(t *testing.T, c net.Conn, name string) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) }); cerr != nil {
		t.Fatal(cerr)
	}
	if err != nil {
		t.Skipf("congestion control %s: %v", name, err)
	}
}

// pair is a connection over loopback.
func pair(t *testing.T) (dialed, accepted net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	dialed, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialed.Close() })
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	return dialed, accepted
}

func TestTunePutsRenoInPlaceOfBBR(t *testing.T) {
	_, c := pair(t)
	chosen(t, c, "bbr")
	if Tune(c); control(t, c) != unpaced {
		t.Fatalf("congestion control is %s", control(t, c))
	}
}

func TestTuneLeavesOthersAlone(t *testing.T) {
	_, c := pair(t)
	chosen(t, c, "cubic")
	if Tune(c); control(t, c) != "cubic" {
		t.Fatalf("congestion control is %s", control(t, c))
	}
}
