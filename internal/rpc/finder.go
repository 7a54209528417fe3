package rpc

import (
	"context"
	"slices"
	"sync"
	"time"

	"minikv/internal/errs"
	"minikv/proto/coordpb"
)

// findTimes are those of looking for the leader.
type findTimes struct {
	max   time.Duration // of one round of questions
	grace time.Duration // for the others, once one says that it leads: an old leader may not know yet
	late  time.Duration // for the others, once one has answered at all: a frozen one must not delay the rest
	aside time.Duration // a leader that takes longer to answer may have been replaced: the others are asked meanwhile,
	again time.Duration // and again after so long
}

var findUsually = findTimes{
	max: time.Second, grace: 20 * time.Millisecond, late: 250 * time.Millisecond,
	aside: 500 * time.Millisecond, again: 200 * time.Millisecond,
}

// findAddrsMax bounds the coordinators that are asked at once.
const findAddrsMax = 32

// finder knows which coordinator leads, as far as anyone here has heard. All who wait for an answer share one round of questions.
type finder struct {
	ask   func(ctx context.Context, addr string) (*coordpb.StatusReply, error)
	times findTimes

	mu      sync.Mutex // guards what follows
	seeds   []string   // as configured; always asked
	addrs   []string   // seeds and whom they named
	current string     // who leads; empty: unknown
	round   *findRound
}

type findRound struct {
	done   chan struct{}
	leader string            // once done
	ready  map[string]uint64 // terms of those who said themselves that they lead
	err    error
}

func (f *finder) set(addrs []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seeds, f.addrs = slices.Clone(addrs), slices.Clone(addrs)
	if !slices.Contains(f.addrs, f.current) {
		f.current = ""
	}
}

func (f *finder) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.addrs)
}

// attempts is how often one call turns to a leader: each coordinator once, and once more for one that has just begun to lead.
func (f *finder) attempts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.addrs) + 1
}

// leader is the address to ask. errs.NotLeader: there is none; errs.Unavailable: no one answers.
func (f *finder) leader(ctx context.Context) (string, error) {
	f.mu.Lock()
	if f.current != "" {
		defer f.mu.Unlock()
		return f.current, nil
	}
	if len(f.addrs) == 1 { // it says itself whether it leads
		defer f.mu.Unlock()
		return f.addrs[0], nil
	}
	r := f.running()
	f.mu.Unlock()
	return r.wait(ctx)
}

// running is the round of questions that is on its way, or a new one. The caller holds mu.
func (f *finder) running() *findRound {
	if f.round == nil {
		f.round = &findRound{done: make(chan struct{})}
		go f.look(f.round, slices.Clone(f.addrs))
	}
	return f.round
}

func (r *findRound) wait(ctx context.Context) (string, error) {
	select {
	case <-r.done:
		return r.leader, r.err
	case <-ctx.Done():
		return "", errs.Wrap("rpc.leader", ctx.Err())
	}
}

// attempt bounds a call to the coordinator at addr. Should it not answer soon, the others are asked whether one of them leads; if
// one does, the attempt ends. Cancel it when the call has ended.
func (f *finder) attempt(ctx context.Context, addr string, most time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, most)
	aside := time.AfterFunc(f.times.aside, func() {
		if f.replaced(ctx, addr) {
			cancel()
		}
	})
	return ctx, func() { aside.Stop(); cancel() }
}

// replaced asks until another coordinator than addr leads, or ctx ends.
func (f *finder) replaced(ctx context.Context, addr string) bool {
	t := time.NewTicker(f.times.again)
	defer t.Stop()
	for {
		f.mu.Lock()
		if len(f.addrs) == 1 {
			f.mu.Unlock()
			return false
		}
		r := f.running()
		f.mu.Unlock()
		if leader, err := r.wait(ctx); err == nil && r.deposed(addr) {
			f.move(addr, leader)
			return true
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
}

// deposed says that another one leads, by its own word, and that addr did not say so of a term as high: a leader may be slow, and it
// may have several addresses.
func (r *findRound) deposed(addr string) bool {
	theirs, sure := r.ready[r.leader]
	own, leads := r.ready[addr]
	return sure && r.leader != addr && (!leads || own < theirs)
}

// move says that another coordinator says that it leads, in the place of one that does not answer.
func (f *finder) move(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == from || f.current == "" {
		f.current = to
	}
}

// suspect says that addr did not answer as a leader should.
func (f *finder) suspect(addr string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == addr {
		f.current = ""
	}
}

// hint says that addr does not lead and whom it takes for the leader, one that we may not have heard of. Whoever is asked next
// proves that it is a coordinator.
func (f *finder) hint(addr, leader string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == addr || f.current == "" {
		f.current = ""
		if leader != addr && leader != "" {
			f.current = leader
		}
	}
}

type foundStatus struct {
	addr string
	s    *coordpb.StatusReply
	err  error
}

// look asks all coordinators at once. Of several that say they lead, the one of the highest term is right.
func (f *finder) look(r *findRound, addrs []string) {
	ctx, cancel := context.WithTimeout(context.Background(), f.times.max)
	answers := make(chan foundStatus, len(addrs))
	var wg sync.WaitGroup
	for _, a := range addrs {
		wg.Go(func() {
			s, err := f.ask(ctx, a)
			answers <- foundStatus{a, s, err}
		})
	}
	var members []string
	r.ready = map[string]uint64{}
	r.leader, members, r.err = f.times.pick(answers, addrs, r.ready)
	cancel()
	f.mu.Lock()
	f.round = nil
	f.learn(members)
	if r.err == nil && f.current == "" && slices.Contains(f.addrs, r.leader) {
		f.current = r.leader
	}
	f.mu.Unlock()
	close(r.done)
	wg.Wait()
}

// learn adds the members that the leader names; seeds stay, they may be reachable when those are not.
func (f *finder) learn(members []string) {
	if len(members) == 0 {
		return
	}
	f.addrs = slices.Clone(f.seeds)
	for _, m := range members {
		if m != "" && !slices.Contains(f.addrs, m) && len(f.addrs) < findAddrsMax {
			f.addrs = append(f.addrs, m)
		}
	}
}

// pick gives the leader's address and those of the members that it names. When none of those that were asked leads, the one that
// knows best says who does: we may have been told of followers only. The terms of those who lead go into ready.
func (t findTimes) pick(answers <-chan foundStatus, asked []string, ready map[string]uint64) (leader string, members []string, err error) {
	const op = "rpc.leader"
	var best, follower foundStatus
	var cause error
	var late <-chan time.Time
	heard := false
wait:
	for range asked {
		select {
		case a := <-answers:
			if a.err != nil {
				cause = a.err
				continue
			}
			if a.s.Ready {
				ready[a.addr] = a.s.Term
			}
			if a.s.Ready && (best.s == nil || a.s.Term > best.s.Term) {
				if best.s == nil {
					late = time.After(t.grace)
				}
				best = a
			}
			if !a.s.Ready && (follower.s == nil || a.s.Term > follower.s.Term) {
				follower = a
			}
			if !heard && late == nil {
				late = time.After(t.late)
			}
			heard = true
		case <-late:
			break wait
		}
	}
	switch {
	case best.s != nil:
		return best.addr, addressesOf(best.s), nil
	case heard:
		members = addressesOf(follower.s)
		if l := follower.s.LeaderAddress; l != "" && !slices.Contains(asked, l) {
			return l, members, nil
		}
		return "", members, errs.E(op, errs.NotLeader, "no coordinator leads")
	}
	return "", nil, errs.WrapKind(op, errs.Unavailable, cause)
}

// addressesOf are those of the members that a coordinator names; one that is not formed names only itself.
func addressesOf(s *coordpb.StatusReply) (members []string) {
	if len(s.Servers) < 2 {
		return nil
	}
	for _, m := range s.Servers {
		members = append(members, m.Address)
	}
	return members
}
