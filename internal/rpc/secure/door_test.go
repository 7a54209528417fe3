package secure

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"minikv/internal/errs"
)

// knocks is a connection and whether its far end was closed.
func knocks(t *testing.T) (near net.Conn, closed func() bool) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, func() bool {
		_ = far.SetReadDeadline(time.Now())
		_, err := far.Read(make([]byte, 1))
		return err == io.EOF
	}
}

// TestADoorIsBounded (S5): in number, where the first to come is the first to go, and in time.
func TestADoorIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDoor(3, time.Second)
		waiting := func() int { d.mu.Lock(); defer d.mu.Unlock(); return d.guests.Len() }
		var guests []*Guest
		var closed []func() bool
		come := func() {
			conn, is := knocks(t)
			g, err := d.Enter(conn)
			require.NoError(t, err)
			guests, closed = append(guests, g), append(closed, is)
		}
		for range 3 {
			come()
		}
		guests[0].Leave()
		guests[0].Leave()
		come() // there was room
		come() // instead of the second
		is := func() (out []bool) {
			for _, c := range closed {
				out = append(out, c())
			}
			return out
		}
		require.Equal(t, []bool{false, true, false, false, false}, is())
		guests[1].Leave()
		require.Equal(t, 3, waiting())

		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []bool{false, true, true, true, true}, is())
		require.Zero(t, waiting())

		come()
		d.Close()
		d.Close()
		require.True(t, closed[5]())
		conn, gone := knocks(t)
		_, err := d.Enter(conn)
		require.True(t, errs.Is(err, errs.Unavailable), "%v", err)
		require.True(t, gone())
	})
}
