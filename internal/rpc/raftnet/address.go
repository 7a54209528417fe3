package raftnet

import (
	"net"
	"strings"

	"github.com/hashicorp/raft"

	"minikv/internal/errs"
)

// An address in Raft's configuration names both ports of a coordinator, so that whoever knows the members can also call them:
//
//	host:port of its RPC,host:port of its Raft

// JoinAddresses makes such an address.
func JoinAddresses(rpcAddr, raftAddr string) string { return rpcAddr + "," + raftAddr }

// SplitAddress takes it apart; errs.Invalid.
func SplitAddress(addr string) (rpcAddr, raftAddr string, err error) {
	rpcAddr, raftAddr, ok := strings.Cut(addr, ",")
	if !ok || rpcAddr == "" || raftAddr == "" {
		return "", "", errs.E("raftnet.SplitAddress", errs.Invalid, "%q does not name an RPC and a Raft address", addr)
	}
	return rpcAddr, raftAddr, nil
}

// RPCAddress is Confirmer.Address for such addresses.
func RPCAddress(s raft.Server) (string, error) {
	rpcAddr, _, err := SplitAddress(string(s.Address))
	return rpcAddr, err
}

// Opener makes the transport over l once the coordinator's incarnation is known. cfg.Advertise is an address of both ports;
// Incarnation and Resolve are set here.
func Opener(l net.Listener, cfg Config) func(raft.ServerID) (raft.Transport, error) {
	cfg.Resolve = func(addr string) string {
		if _, raftAddr, err := SplitAddress(addr); err == nil {
			return raftAddr
		}
		return addr
	}
	return func(id raft.ServerID) (raft.Transport, error) {
		cfg.Incarnation = id
		return New(l, cfg)
	}
}
