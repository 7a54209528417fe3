package consensus

import (
	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// NewEmbeddedTransport is the transport of a single voter: no network.
func NewEmbeddedTransport(addr raft.ServerAddress) raft.Transport {
	_, t := raft.NewInmemTransport(addr)
	return t
}

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
