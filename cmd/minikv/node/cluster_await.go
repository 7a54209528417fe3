package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/proto/coordpb"
)

// Times of looking what a node that has no cluster yet waits for.
const (
	lacksFirst = 500 * time.Millisecond
	lacksEvery = 2 * time.Second
	lacksQuiet = 3 * time.Second // others may still be starting
)

// awaited is what a node that has no cluster yet waits for.
type awaited struct {
	mu    sync.Mutex
	lacks []string
}

func (a *awaited) set(lacks []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lacks = lacks
}

func (a *awaited) get() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.lacks)
}

// waiting is what keeps this node from serving; empty: nothing that it knows of.
func (c *cluster) waiting() []string { return c.awaited.get() }

// watchLacks looks what the node waits for, and logs it when it changes and each minute, until there is a cluster.
func (c *cluster) watchLacks(ctx context.Context) {
	var told troubles
	defer c.awaited.set(nil)
	began := time.Now()
	for c.pause(ctx, lacksFirst) {
		lacks := c.lacks(ctx)
		if ctx.Err() != nil || c.ctx.Err() != nil {
			return
		}
		c.awaited.set(lacks)
		if time.Since(began) >= lacksQuiet {
			told.see("cluster", strings.Join(lacks, "; "), time.Now(), func(string) {
				c.log.Warn("waiting for the cluster", zap.Strings("because", lacks))
			}, func() {})
		}
		if !c.pause(ctx, lacksEvery-lacksFirst) {
			return
		}
	}
}

// asked is what a coordinator of the configuration answers.
type asked struct {
	peer  config.Peer // Name is empty in join
	reply *coordpb.StatusReply
	err   error
}

// lacks asks all coordinators of the configuration and says what is missing for there to be a cluster.
func (c *cluster) lacks(ctx context.Context) []string {
	peers := slices.Clone(c.cfg.Cluster)
	for _, addr := range c.cfg.Join {
		peers = append(peers, config.Peer{Address: addr})
	}
	all := make([]asked, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			all[i].peer = p
			if p.Name == c.cfg.Node && c.coord != nil {
				all[i].reply = c.coordinatorReply()
				return
			}
			all[i].reply, all[i].err = c.askPeer(p.Address, p.Name)
		})
	}
	wg.Wait()
	return lacksOf(all)
}

// lacksOf says what the answers mean: who does not answer and why, who is not empty although nobody leads, and what the leader waits for.
func lacksOf(all []asked) (lacks []string) {
	formed := 0
	var leader *coordpb.StatusReply
	for _, a := range all {
		if a.err != nil {
			lacks = append(lacks, fmt.Sprintf("%s does not answer as it should: %s", nameOf(a.peer), causeText(a.err)))
			continue
		}
		if a.reply.Formed {
			formed++
		}
		if a.reply.State == "Leader" && (leader == nil || a.reply.Term > leader.Term) {
			leader = a.reply
		}
	}
	if leader != nil {
		if leader.Waiting != "" {
			lacks = append(lacks, fmt.Sprintf("the leader %s: %s", leader.Node, leader.Waiting))
		}
		return lacks
	}
	for _, a := range all {
		switch {
		case a.err != nil || !a.reply.Formed:
		case a.reply.Cluster != "":
			lacks = append(lacks, fmt.Sprintf("%s is not empty: it belongs to the cluster %s, of which no coordinator leads", nameOf(a.peer), a.reply.Cluster))
		case formed < len(all):
			lacks = append(lacks, fmt.Sprintf("%s is not empty: it belongs to a group of coordinators of which none leads", nameOf(a.peer)))
		}
	}
	if formed == len(all) && len(lacks) == 0 && len(all) > 0 {
		lacks = append(lacks, "no coordinator leads yet")
	}
	return lacks
}

func nameOf(p config.Peer) string {
	if p.Name == "" {
		return p.Address
	}
	return p.Name + " at " + p.Address
}

// causeText says for people why a coordinator could not be asked.
func causeText(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused, nobody listens there"
	case errors.As(err, &dns):
		return "the name " + dns.Name + " does not resolve"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to that address"
	case errs.Is(err, errs.Timeout), errs.Is(err, errs.Unavailable):
		return "no answer in time"
	}
	return errs.Message(err)
}
