package loopback

import (
	"net"
	"testing"
)

type ends struct {
	net.Conn
	local, remote net.Addr
}

func (e ends) LocalAddr() net.Addr  { return e.local }
func (e ends) RemoteAddr() net.Addr { return e.remote }

func TestWithin(t *testing.T) {
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 9000} }
	for _, c := range []struct {
		local, remote net.Addr
		want          bool
	}{
		{at("127.0.0.1"), at("127.0.0.1"), true},
		{at("127.0.0.1"), at("127.0.0.2"), true},
		{at("::1"), at("::1"), true},
		{at("::ffff:127.0.0.1"), at("127.0.0.1"), true},
		{at("192.0.2.7"), at("192.0.2.7"), true},
		{at("2001:db8::7"), at("2001:db8::7"), true},
		{at("192.0.2.7"), at("192.0.2.8"), false},
		{at("127.0.0.1"), at("192.0.2.8"), false},
		{at("2001:db8::7"), at("2001:db8::8"), false},
		{&net.UnixAddr{Name: "a"}, &net.UnixAddr{Name: "b"}, false},
		{nil, nil, false},
	} {
		if got := Within(ends{local: c.local, remote: c.remote}); got != c.want {
			t.Errorf("%v to %v: %v", c.local, c.remote, got)
		}
	}
}
