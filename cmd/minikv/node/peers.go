package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"minikv/internal/errs"
	"minikv/proto/coordpb"
)

// Times of looking after the coordinators that the configuration names.
const (
	peersFirst  = 3 * time.Second // they may still be starting
	peersEvery  = 5 * time.Second
	peersRepeat = time.Minute // what was said of one is said again
)

// peerTrouble is what is known to be wrong with a coordinator of the configuration.
type peerTrouble struct {
	cause string
	since time.Time
	told  time.Time
}

// watchPeers says which of the coordinators in cluster and join can't be asked, and why: a name that does not resolve, nobody there,
// another secret, another node. Once, again each minute while it lasts, and when it is over.
func (c *cluster) watchPeers() {
	troubles := map[string]*peerTrouble{}
	names := map[string]string{}
	for _, p := range c.cfg.Cluster {
		names[p.Address] = p.Name
	}
	if !c.pause(c.ctx, peersFirst) {
		return
	}
	for {
		for _, addr := range c.cfg.Coordinators() {
			if addr == c.rpcAddr || names[addr] == c.cfg.Node {
				continue
			}
			troubles[addr] = c.tellPeer(addr, names[addr], troubles[addr], c.checkPeer(addr, names[addr]))
		}
		if !c.pause(c.ctx, peersEvery) {
			return
		}
	}
}

func (c *cluster) checkPeer(addr, name string) error {
	_, err := c.askPeer(addr, name)
	return err
}

// askPeer asks a coordinator how it is; it must be the node of that name, if there is one.
func (c *cluster) askPeer(addr, name string) (*coordpb.StatusReply, error) {
	ctx, cancel := context.WithTimeout(c.ctx, statusMax)
	defer cancel()
	s, err := c.remote.StatusOf(ctx, addr)
	switch {
	case err == nil && name != "" && s.Node != name:
		return nil, errs.E("cluster", errs.Conflict, "the node there is %s, not %s", s.Node, name)
	case errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Timeout):
		// The connection is shared and may be waiting after failures; whether the name exists and someone listens says more.
		conn, derr := (&net.Dialer{Timeout: statusMax}).DialContext(c.ctx, "tcp", addr)
		if derr != nil {
			return nil, errs.WrapKind("cluster", errs.Unavailable, derr)
		}
		_ = conn.Close() // nothing was said
	}
	return s, err
}

func (c *cluster) tellPeer(addr, name string, was *peerTrouble, err error) *peerTrouble {
	if c.ctx.Err() != nil {
		return was
	}
	now := time.Now()
	log := c.log.With(zap.String("address", addr))
	if name != "" {
		log = log.With(zap.String("node", name))
	}
	switch {
	case err == nil && was == nil:
		return nil
	case err == nil:
		log.Info("a coordinator answers now", zap.Duration("after", now.Sub(was.since).Round(time.Second)))
		return nil
	case was == nil:
		was = &peerTrouble{since: now}
	case now.Sub(was.told) < peersRepeat && was.cause == fmt.Sprint(errs.KindOf(err)):
		return was
	}
	was.told, was.cause = now, fmt.Sprint(errs.KindOf(err))
	log.Warn("a coordinator of --cluster or --join can't be asked", zap.Error(err))
	return was
}
