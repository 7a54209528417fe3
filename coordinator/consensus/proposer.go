package consensus

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"minikv/coordinator/meta"
	"minikv/internal/errs"
	"minikv/proto/metapb"
)

// Bounds of a group: what one entry may hold. A single command may be larger, up to commandBytesMax: 1,000 keys of 1,024 bytes.
const (
	groupCommandsMax = 512
	groupBytesMax    = 256 << 10
	commandBytesMax  = 2 << 20
	groupsInFlight   = 2
	proposalsMax     = 4096 // waiting to be grouped
	enqueueMax       = 5 * time.Second
)

// proposal is a command on its way. Its encoding is made by the caller, in parallel; the leader only appends its stamp: in
// protobuf a field that comes again replaces the earlier one.
type proposal struct {
	raw   []byte
	level uint32
	state atomic.Int32
	done  chan outcome // 1: never blocks
}

type outcome struct {
	result *metapb.Result
	err    error
}

const (
	proposalQueued    = 0
	proposalTaken     = 1
	proposalWithdrawn = 2
)

// proposer groups commands into entries: while groupsInFlight are on their way, the next group gathers. There is no timer. A
// coordinator that is alone has one entry on its way: nothing is gained by storing one while the other is applied, as both keep
// the same cores busy, and groups of twice the size cost less (PUT 1 KiB, 16 clients, 2 cores: 2.7 K/s with two, 3.3 K/s with one).
type proposer struct {
	apply    func(entry []byte) applyFuture
	isLeader func() bool
	now      func() time.Time
	alone    func() bool // no one else has to store an entry; nil: never

	queue  chan *proposal
	slots  chan struct{}
	stop   chan struct{} // closed: take nothing more
	killed chan struct{} // closed: wait for nothing more
	loop   sync.WaitGroup
	once   sync.Once
	kill   sync.Once

	lastMS int64 // only the loop

	// For Status: commands, and the entries that they went in; commands whose entries have ended, and those of them of which nobody knows
	// whether they will take effect.
	proposed, entries, ended, unknown atomic.Uint64
}

// applyFuture is the part of raft.ApplyFuture that is used.
type applyFuture interface {
	Error() error
	Response() any
}

func newProposer(apply func([]byte) applyFuture, isLeader func() bool, now func() time.Time, alone func() bool) *proposer {
	p := &proposer{
		apply: apply, isLeader: isLeader, now: now, alone: alone,
		queue: make(chan *proposal, proposalsMax), slots: make(chan struct{}, groupsInFlight),
		stop: make(chan struct{}), killed: make(chan struct{}),
	}
	p.loop.Go(p.run)
	return p
}

// propose gives the result that the command has once it is applied. errs.NotLeader, errs.NotProposed: it surely never will be.
// errs.LimitExceeded: it is too large, and was not proposed. errs.IndeterminateResult: it may be applied, now or later.
func (p *proposer) propose(ctx context.Context, c *metapb.Command) (*metapb.Result, error) {
	const op = "consensus.Propose"
	if !p.isLeader() {
		return nil, errs.E(op, errs.NotLeader, "this coordinator does not lead")
	}
	raw, err := encodeCommand(c)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	q := &proposal{raw: raw, level: max(c.GetLevel(), meta.LevelOf(c)), done: make(chan outcome, 1)}
	select {
	case <-p.stop:
		return nil, errs.E(op, errs.NotProposed, "shutting down")
	default:
	}
	select {
	case p.queue <- q:
	case <-ctx.Done():
		return nil, errs.WrapKind(op, errs.NotProposed, ctx.Err())
	case <-p.stop:
		return nil, errs.E(op, errs.NotProposed, "shutting down")
	}
	return p.wait(ctx, q)
}

func (p *proposer) wait(ctx context.Context, q *proposal) (*metapb.Result, error) {
	const op = "consensus.Propose"
	select {
	case o := <-q.done:
		return o.result, o.err
	case <-ctx.Done():
		if q.state.CompareAndSwap(proposalQueued, proposalWithdrawn) {
			return nil, errs.WrapKind(op, errs.NotProposed, ctx.Err())
		}
		return nil, errs.WrapKind(op, errs.IndeterminateResult, ctx.Err())
	case <-p.killed:
		if q.state.CompareAndSwap(proposalQueued, proposalWithdrawn) {
			return nil, errs.E(op, errs.NotProposed, "shutting down")
		}
		select {
		case o := <-q.done:
			return o.result, o.err
		default:
			return nil, errs.E(op, errs.IndeterminateResult, "shutting down")
		}
	}
}

// Numbers of the fields of Command and Entry that are written by hand.
const (
	fieldCommandLevel  = 1
	fieldCommandTime   = 5
	fieldCommandSeed   = 6
	fieldEntryLevel    = 1
	fieldEntryCommands = 2
	stampBytesMax      = 16
	seedBytes          = 16
)

// encodeCommand encodes c, leaving room for the stamp, with level and seed where c has none.
func encodeCommand(c *metapb.Command) ([]byte, error) {
	const op = "consensus.encodeCommand"
	if err := checkCommand(c); err != nil {
		return nil, err
	}
	size := proto.Size(c)
	if size > commandBytesMax {
		return nil, errs.E(op, errs.LimitExceeded, "a command of %d bytes is above the limit of %d", size, commandBytesMax)
	}
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(make([]byte, 0, size+2*stampBytesMax+seedBytes), c)
	if err != nil {
		return nil, errs.WrapKind(op, errs.Invalid, err)
	}
	if c.GetLevel() == 0 {
		b = protowire.AppendTag(b, fieldCommandLevel, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(meta.LevelOf(c)))
	}
	if len(c.GetSeed()) == 0 {
		b = protowire.AppendTag(b, fieldCommandSeed, protowire.BytesType)
		b = appendSeed(protowire.AppendVarint(b, seedBytes))
	}
	return b, nil
}

// checkCommand keeps out what would stop every replica.
func checkCommand(c *metapb.Command) error {
	if c.GetLevel() != 0 {
		return meta.CheckCommand(c)
	}
	return meta.CheckFields(c)
}

// appendSeed draws from the runtime's ChaCha8: seeds make ids that need to be unique, not secret.
func appendSeed(b []byte) []byte {
	for range seedBytes / 8 {
		b = binary.LittleEndian.AppendUint64(b, rand.Uint64())
	}
	return b
}

// run gathers groups until stop.
func (p *proposer) run() {
	var carried *proposal
	for {
		first := carried
		carried = nil
		if first == nil {
			select {
			case first = <-p.queue:
			case <-p.stop:
				p.refuseQueued()
				return
			}
		}
		slots := 1
		if p.alone != nil && p.alone() {
			slots = groupsInFlight
		}
		if !p.acquire(slots) {
			p.refuse(first)
			p.refuseQueued()
			return
		}
		var group []*proposal
		group, carried = p.gather(first)
		if len(group) == 0 {
			p.release(slots)
			continue
		}
		p.send(group, slots)
	}
}

// acquire takes n slots; only the loop does, until close. false: stop.
func (p *proposer) acquire(n int) bool {
	for i := range n {
		select {
		case p.slots <- struct{}{}:
		case <-p.stop:
			p.release(i)
			return false
		}
	}
	return true
}

func (p *proposer) release(n int) {
	for range n {
		<-p.slots
	}
}

// gather takes what is waiting, as far as it fits; the first that does not is carried over.
func (p *proposer) gather(first *proposal) (group []*proposal, carried *proposal) {
	bytes := 0
	for q := first; ; {
		if len(group) > 0 && bytes+len(q.raw) > groupBytesMax {
			return group, q
		}
		if q.state.CompareAndSwap(proposalQueued, proposalTaken) {
			group = append(group, q)
			bytes += len(q.raw)
		}
		if len(group) == groupCommandsMax {
			return group, nil
		}
		select {
		case q = <-p.queue:
		default:
			return group, nil
		}
	}
}

// send proposes a group; a goroutine waits for its entry and hands out the results.
func (p *proposer) send(group []*proposal, slots int) {
	p.proposed.Add(uint64(len(group)))
	p.entries.Add(1)
	f := p.apply(p.encodeEntry(group))
	go func() {
		defer p.release(slots)
		results, err := entryOutcome(f, len(group))
		if errs.Is(err, errs.IndeterminateResult) {
			p.unknown.Add(uint64(len(group)))
		}
		p.ended.Add(uint64(len(group)))
		for i, q := range group {
			if err != nil {
				q.done <- outcome{err: err}
				continue
			}
			q.done <- outcome{result: results[i]}
		}
	}()
}

// inFlight are the commands in entries that are not decided yet.
func (p *proposer) inFlight() uint64 {
	ended := p.ended.Load() // first: it never overtakes what was proposed
	return p.proposed.Load() - ended
}

// encodeEntry frames the commands, under the highest level of theirs, and stamps them with the leader's time, which never runs backwards.
func (p *proposer) encodeEntry(group []*proposal) []byte {
	p.lastMS = max(p.lastMS, p.now().UnixMilli())
	size, level := stampBytesMax, uint32(1)
	for _, q := range group {
		size += len(q.raw) + 2*stampBytesMax
		level = max(level, q.level)
	}
	b := make([]byte, 0, size)
	b = protowire.AppendTag(b, fieldEntryLevel, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(level))
	for _, q := range group {
		raw := protowire.AppendTag(q.raw, fieldCommandTime, protowire.VarintType)
		raw = protowire.AppendVarint(raw, uint64(p.lastMS))
		b = protowire.AppendTag(b, fieldEntryCommands, protowire.BytesType)
		b = protowire.AppendBytes(b, raw)
		q.raw = nil
	}
	return b
}

func entryOutcome(f applyFuture, n int) ([]*metapb.Result, error) {
	const op = "consensus.Propose"
	if err := f.Error(); err != nil {
		return nil, errs.WrapKind(op, proposalKind(err), err)
	}
	r, ok := f.Response().(entryResult)
	if !ok {
		return nil, errs.E(op, errs.IndeterminateResult, "the entry has no result")
	}
	if r.err != nil {
		return nil, errs.WrapKind(op, errs.IndeterminateResult, r.err)
	}
	if len(r.results) != n {
		return nil, errs.E(op, errs.IndeterminateResult, "%d commands have %d results", n, len(r.results))
	}
	return r.results, nil
}

// proposalKind classifies Raft's errors (C5).
func proposalKind(err error) errs.Kind {
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return errs.NotLeader
	case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return errs.NotProposed
	}
	return errs.IndeterminateResult
}

func (p *proposer) refuse(q *proposal) {
	if q.state.CompareAndSwap(proposalQueued, proposalTaken) {
		q.done <- outcome{err: errs.E("consensus.Propose", errs.NotProposed, "shutting down")}
	}
}

func (p *proposer) refuseQueued() {
	for {
		select {
		case q := <-p.queue:
			p.refuse(q)
		default:
			return
		}
	}
}

// close takes nothing more and waits up to grace for what is on its way.
func (p *proposer) close(grace time.Duration) {
	p.once.Do(func() { close(p.stop) })
	p.loop.Wait()
	t := time.NewTimer(grace)
	defer t.Stop()
	for range groupsInFlight {
		select {
		case p.slots <- struct{}{}:
		case <-t.C:
			p.kill.Do(func() { close(p.killed) })
			return
		}
	}
	p.kill.Do(func() { close(p.killed) })
}
