package raftnet

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"minikv/internal/certs"
)

// TestACrowdKeepsNoCoordinatorOut: however many connect and say nothing, a coordinator gets in (N1).
func TestACrowdKeepsNoCoordinatorOut(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *certs.CA) {
		a := newTransport(t, security(t, ca, "c1", coordinators, secret), "incarnation-a")
		b := newTransport(t, security(t, ca, "c2", coordinators, secret), "incarnation-b")
		answer(t, b)
		for range 2 * handshakesMax {
			conn, err := net.Dial("tcp", string(b.LocalAddr()))
			require.NoError(t, err)
			defer conn.Close()
		}
		var resp raft.AppendEntriesResponse
		require.NoError(t, a.AppendEntries("incarnation-b", b.LocalAddr(), &raft.AppendEntriesRequest{Term: 1}, &resp))
		require.True(t, resp.Success)
	})
}

// stuck is a snapshot that stops in the middle until the test ends.
type stuck struct {
	io.Reader
	end chan struct{}
}

func (s stuck) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err == io.EOF {
		<-s.end
	}
	return n, err
}

// TestALeaderThatFreezesInASnapshot does not hold the follower, whose main loop reads it: else it could not vote for another one (N5). What
// comes after a pause is not read.
func TestALeaderThatFreezesInASnapshot(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *certs.CA) {
		a := newTransport(t, security(t, ca, "c1", coordinators, secret), "incarnation-a")
		b := newTransport(t, security(t, ca, "c2", coordinators, secret), "incarnation-b")
		b.layer.patience = 100 * time.Millisecond
		end, sent := make(chan struct{}), make(chan error, 1)
		go func() {
			half := stuck{bytes.NewReader(make([]byte, 600<<10)), end}
			sent <- a.InstallSnapshot("incarnation-b", b.LocalAddr(), &raft.InstallSnapshotRequest{Size: 1 << 20}, &raft.InstallSnapshotResponse{}, half)
		}()
		r := <-b.Consumer()
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, r.Reader)
			_, _ = io.Copy(io.Discard, r.Reader) // as Raft does
			r.Respond(&raft.InstallSnapshotResponse{}, err)
			done <- err
		}()
		select {
		case err := <-done:
			require.Error(t, err)
		case <-time.After(time.Minute):
			t.Error("the follower waits for the leader")
		}
		close(end)
		require.Error(t, <-sent)
	})
}

// TestAPauseBetweenCallsIsNone: connections of the pool stay, however long nothing is said on them.
func TestAPauseBetweenCallsIsNone(t *testing.T) {
	a := newTransport(t, security(t, nil, "c1", coordinators, secret), "incarnation-a")
	b := newTransport(t, security(t, nil, "c2", coordinators, secret), "incarnation-b")
	b.layer.patience = time.Millisecond
	answer(t, b)
	for range 3 {
		var resp raft.AppendEntriesResponse
		require.NoError(t, a.AppendEntries("incarnation-b", b.LocalAddr(), &raft.AppendEntriesRequest{Term: 1}, &resp))
		<-time.After(20 * time.Millisecond)
	}
}
