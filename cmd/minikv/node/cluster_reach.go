package node

import (
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"minikv/internal/errs"
)

// resolveMax bounds the question whether a name is this machine's.
const resolveMax = 2 * time.Second

// checkReachable refuses an address of this node on loopback when all the others are elsewhere: they are told it and would call themselves.
// Gateways are called by nobody.
func (c *cluster) checkReachable(host string) error {
	if !c.callable() || !c.unreachable(host) {
		return nil
	}
	others := slices.Clone(c.cfg.Join)
	for _, p := range c.cfg.Cluster {
		if p.Name != c.cfg.Node {
			others = append(others, p.Address)
		}
	}
	for _, addr := range others {
		if h, _, err := net.SplitHostPort(addr); err != nil || onLoopback(c.ctx, h) {
			return nil
		}
	}
	if len(others) == 0 {
		return nil
	}
	if _, founds := c.cfg.Founding(); founds {
		return errs.E("cluster", errs.Invalid, "it lists this node, %s, at %s, which other machines can't reach, and others at %s; allowed: an address of "+
			"this machine that they reach", c.cfg.Node, c.rpcAddr, strings.Join(others, ", "))
	}
	return errs.E("rpc", errs.Invalid, "this node, %s, would tell %s as its address, which %s can't reach; allowed: --rpc HOST:5001 with an address of "+
		"this machine that they reach, or --rpc-advertise", c.cfg.Node, c.rpcAddr, strings.Join(others, ", "))
}

// unreachable says that other machines can't call this one at host: it is loopback, or a name that only here means loopback, on which RPC
// listens.
func (c *cluster) unreachable(host string) bool {
	if host == "localhost" || net.ParseIP(host) != nil {
		return onLoopback(c.ctx, host)
	}
	at, ok := c.rpcL.Addr().(*net.TCPAddr)
	return c.cfg.RPCAdvertise == "" && ok && at.IP.IsLoopback()
}

// onLoopback says that a host, a name or an address, is this machine's loopback. Names that do not resolve are not.
func onLoopback(ctx context.Context, host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	if host == "localhost" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, resolveMax)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	return err == nil && len(ips) > 0 && !slices.ContainsFunc(ips, func(ip net.IP) bool { return !ip.IsLoopback() })
}
