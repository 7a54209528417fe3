package consensus

import (
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/internal/errs"
)

// NewEmbeddedTransport is the transport of a single voter: no network.
func NewEmbeddedTransport(addr raft.ServerAddress) raft.Transport {
	_, t := raft.NewInmemTransport(addr)
	return t
}

const (
	networkPool    = 3
	networkTimeout = 10 * time.Second
)

// NewNetworkTransport carries Raft over stream, whose connections are authenticated. Heartbeats go through Raft's main loop.
func NewNetworkTransport(stream raft.StreamLayer, log *zap.Logger) raft.Transport {
	return &networkTransport{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: networkPool, Timeout: networkTimeout, Logger: newRaftLogger(log, false), MsgpackUseNewTimeFormat: true,
	})}
}

// networkTransport overrides one method, and embeds the pointer so that pre-vote and Close survive: the heartbeat fast path
// runs beside Raft's main loop and races with a change of term there.
type networkTransport struct{ *raft.NetworkTransport }

// SetHeartbeatHandler ignores the fast path.
func (*networkTransport) SetHeartbeatHandler(func(raft.RPC)) {}

var (
	_ raft.WithPreVote = (*networkTransport)(nil)
	_ raft.WithClose   = (*networkTransport)(nil)
)

// assertWrapped checks at every start what a wrapper may silently lose: pre-vote, and consecutive indexes.
func assertWrapped(t raft.Transport, l raft.LogStore) error {
	const op = "consensus.assertWrapped"
	if _, ok := t.(raft.WithPreVote); !ok {
		return errs.E(op, errs.Other, "the transport %T has no pre-vote", t)
	}
	if m, ok := l.(raft.MonotonicLogStore); !ok || !m.IsMonotonic() {
		return errs.E(op, errs.Other, "the log store %T is not monotonic", l)
	}
	return nil
}
