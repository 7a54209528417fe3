package volume

import (
	"context"
	"sync"
	"sync/atomic"

	"minikv/internal/errs"
	"minikv/internal/object"
)

// fences keeps, for each shard, the highest epoch that this volume has heard of, and which prepares run. It is memory only: a volume
// that starts again takes older prepares until it hears anew. No promise rests on it (a decision checks the epoch of the shard's row);
// it keeps a move's list of what is to be copied from growing behind the mover's back.
type fences struct {
	of atomic.Pointer[[]*fence] // by shard; nil: the number of shards is not known yet
	mu sync.Mutex               // for setting of
}

type fence struct {
	mu      sync.Mutex
	epoch   uint64
	running map[uint64]int // prepares by their epoch
	ended   chan struct{}  // closed when one of them ends, if someone waits
}

// size is told how many shards there are; it never changes.
func (f *fences) size(shards uint32) ([]*fence, error) {
	if shards == 0 || shards > object.ShardsMax {
		return nil, errs.E("volume.Fence", errs.Invalid, "%d shards", shards)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if all := f.of.Load(); all != nil {
		if len(*all) != int(shards) {
			return nil, errs.E("volume.Fence", errs.Conflict, "%d shards; there were %d", shards, len(*all))
		}
		return *all, nil
	}
	all := make([]*fence, shards)
	for i := range all {
		all[i] = &fence{running: map[uint64]int{}}
	}
	f.of.Store(&all)
	return all, nil
}

// begin lets a prepare run unless it is of an older epoch than the shard's; call the result when it has ended.
func (f *fences) begin(id object.BlobID, epoch uint64) (end func(), err error) {
	all := f.of.Load()
	if all == nil {
		return func() {}, nil
	}
	shard := id.Shard(uint32(len(*all)))
	x := (*all)[shard]
	x.mu.Lock()
	defer x.mu.Unlock()
	if epoch < x.epoch {
		return nil, errs.E("volume.Prepare", errs.StaleShardEpoch, "shard %d is at epoch %d, not %d", shard, x.epoch, epoch)
	}
	x.epoch = epoch
	x.running[epoch]++
	return func() { x.done(epoch) }, nil
}

func (x *fence) done(epoch uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.running[epoch]--; x.running[epoch] == 0 {
		delete(x.running, epoch)
	}
	if x.ended != nil {
		close(x.ended)
		x.ended = nil
	}
}

// raise refuses older prepares from now on and waits until those that run have ended.
func (x *fence) raise(ctx context.Context, epoch uint64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if epoch < x.epoch {
		return errs.E("volume.Fence", errs.StaleShardEpoch, "the shard is at epoch %d, not %d", x.epoch, epoch)
	}
	x.epoch = epoch
	for x.olderRun(epoch) {
		if x.ended == nil {
			x.ended = make(chan struct{})
		}
		ended := x.ended
		x.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		x.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (x *fence) olderRun(epoch uint64) bool {
	for e := range x.running {
		if e < epoch {
			return true
		}
	}
	return false
}

// still does something while no prepare begins, unless the shard is at a later epoch or prepares of it run.
func (x *fence) still(epoch uint64, do func() error) (done bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.epoch > epoch || len(x.running) > 0 {
		return false, nil
	}
	return true, do()
}

// Fence makes the volume refuse prepares of a shard that are of an older epoch than this, and returns when those that ran have ended.
// errs.StaleShardEpoch: it has heard of a later one.
func (s *Server) Fence(ctx context.Context, shard, shards uint32, epoch uint64) error {
	const op = "volume.Fence"
	all, err := s.fences.size(shards)
	if err != nil {
		return err
	}
	if int(shard) >= len(all) {
		return errs.E(op, errs.Invalid, "shard %d of %d", shard, shards)
	}
	return errs.Wrap(op, all[shard].raise(ctx, epoch))
}

// Prepare is that of the store, unless the blob's shard has moved on (Fence): errs.StaleShardEpoch.
func (s *Server) Prepare(ctx context.Context, id object.BlobID, ep object.Epochs, data [][]byte) (durable bool, err error) {
	end, err := s.fences.begin(id, ep.Shard)
	if err != nil {
		return false, err
	}
	defer end()
	return s.Store.Prepare(ctx, id, ep, data)
}
