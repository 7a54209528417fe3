package raftnet

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"minikv/internal/certs"
)

// TestVotesOfARestartedCoordinator: whoever asks it for the first time since has as many broken connections as its pool holds, and hears
// its answer all the same, both times.
func TestVotesOfARestartedCoordinator(t *testing.T) {
	bothWays(t, func(t *testing.T, ca *certs.CA) {
		a := newTransport(t, security(t, ca, "c1", coordinators, secret), "a")
		sec := security(t, ca, "c2", coordinators, secret)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addr := raft.ServerAddress(l.Addr().String())
		start := func() *Transport {
			b, err := New(l, Config{Security: sec, Incarnation: "b", Timeout: time.Minute})
			require.NoError(t, err)
			return b
		}
		b := start()
		for range 2 {
			fillPool(t, a, b, addr)
			require.NoError(t, b.Close())
			l, err = net.Listen("tcp", string(addr))
			require.NoError(t, err)
			b = start()
			stop := vote(b)
			require.NoError(t, a.RequestPreVote("b", addr, &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}))
			stop()
			fillPool(t, a, b, addr)
			require.NoError(t, b.Close())
			l, err = net.Listen("tcp", string(addr))
			require.NoError(t, err)
			b = start()
			stop = vote(b)
			require.NoError(t, a.RequestVote("b", addr, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}))
			stop()
		}
		require.NoError(t, b.Close())
		require.Error(t, a.RequestVote("b", addr, &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}), "it is gone")
	})
}

// fillPool has as many requests on their way at once as the pool keeps connections.
func fillPool(t *testing.T, from, to *Transport, addr raft.ServerAddress) {
	t.Helper()
	var asking sync.WaitGroup
	for range poolMax {
		asking.Go(func() {
			var r raft.AppendEntriesResponse
			if err := from.AppendEntries("b", addr, &raft.AppendEntriesRequest{}, &r); err != nil {
				t.Error(err)
			}
		})
	}
	var all []raft.RPC
	for range poolMax {
		select {
		case r := <-to.Consumer():
			all = append(all, r)
		case <-time.After(time.Minute):
			t.Fatal("a request did not come")
		}
	}
	for _, r := range all {
		r.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	}
	asking.Wait()
}

// vote plays Raft's main loop in an election.
func vote(tr *Transport) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case r := <-tr.Consumer():
				switch r.Command.(type) {
				case *raft.RequestVoteRequest:
					r.Respond(&raft.RequestVoteResponse{Granted: true}, nil)
				case *raft.RequestPreVoteRequest:
					r.Respond(&raft.RequestPreVoteResponse{Granted: true}, nil)
				}
			case <-end:
				return
			}
		}
	})
	return func() { close(end); wg.Wait() }
}
