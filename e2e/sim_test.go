package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/coordinator"
	"minikv/coordinator/consensus"
	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
	"minikv/volume"
	"minikv/volume/store"
)

// sim is a cluster in this process: coordinators with Raft in memory, volumes and gateways, each on a disk of its own in memory.
// Messages between them come late, or never, or their answers do; a node that crashes comes back on what its disk kept.
// It runs in a bubble of testing/synctest, where time passes only while everyone waits.
type sim struct {
	t  *testing.T
	wg sync.WaitGroup // closing what has crashed

	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	cut    map[linkOf]bool
	loss   int            // percent of messages that are lost
	life   map[string]int // odd: the node is down; a crash makes another life
	coords map[string]*simCoord
	vols   map[uint32]*simVol
}

type linkOf struct{ from, to string }

const (
	simNodes   = 3
	simLate    = 3 * time.Millisecond   // the latest that a message comes
	simTimeout = 300 * time.Millisecond // who waits for a lost one gives up
	simQuiet   = time.Minute            // after which no question is on its way any more
	simShards  = 8
	simBlob    = 64 << 10
)

var errLost = errs.E("sim", errs.Unavailable, "the message was lost")

// coordinators are named c1 to c3, volumes v1 to v3, gateways g1 to g3.
func simName(letter string, i int) string { return fmt.Sprint(letter, i+1) }

// openSim starts a cluster and waits until it serves.
func openSim(t *testing.T, seed uint64) *sim {
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 3)), cut: map[linkOf]bool{}, life: map[string]int{},
		coords: map[string]*simCoord{}, vols: map[uint32]*simVol{},
	}
	for i := range simNodes {
		v := &simVol{s: s, name: simName("v", i), number: uint32(i + 1), fs: vfs.NewMem()}
		s.vols[v.number] = v
		v.open()
	}
	var voters []consensus.Member
	for i := range simNodes {
		c := &simCoord{s: s, name: simName("c", i), fs: vfs.NewMem()}
		s.coords[c.name] = c
		c.open()
		voters = append(voters, consensus.Member{ID: c.now().ID(), Address: c.name, Voter: true})
	}
	if err := s.coords["c1"].now().Form(voters); err != nil {
		t.Fatal(err)
	}
	return s
}

// close ends everything; the bubble waits for it.
func (s *sim) close() {
	for _, v := range s.vols {
		v.crash()
	}
	for _, c := range s.coords {
		c.crash()
	}
	s.wg.Wait()
	waitFor(context.Background(), simQuiet)
}

// random is below n.
func (s *sim) random(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

// passes says whether a message arrives at a running node, and in which life of it.
func (s *sim) passes(from, to string) (life int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	life = s.life[to]
	return life, life%2 == 0 && s.life[from]%2 == 0 && !s.cut[linkOf{from, to}] && s.rng.IntN(100) >= s.loss
}

// call has a node do something for another one. sent says that it may have been done. Its answer counts only if it is alive
// still: what a crash took back was never said.
func (s *sim) call(ctx context.Context, from, to string, do func() error) (sent bool, err error) {
	s.late(ctx)
	life, ok := s.passes(from, to)
	if !ok {
		return false, s.lost(ctx)
	}
	err = do()
	s.late(ctx)
	if _, ok := s.passes(to, from); !ok || s.lifeOf(to) != life {
		return true, s.lost(ctx)
	}
	return true, err
}

func (s *sim) lifeOf(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life[name]
}

func (s *sim) late(ctx context.Context) { waitFor(ctx, time.Duration(s.random(int(simLate)))) }

func (s *sim) lost(ctx context.Context) error {
	waitFor(ctx, simTimeout)
	return errLost
}

// die ends a node's life before its disk is looked at: what it does afterwards no one hears. false: it is down.
func (s *sim) die(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life[name]%2 == 1 {
		return false
	}
	s.life[name]++
	return true
}

func (s *sim) revive(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life[name]++
}

func (s *sim) survival() vfs.Survival {
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := vfs.Survivals
	r := rules[s.rng.IntN(len(rules))]
	r.Seed = s.rng.Uint64()
	return r
}

// simCoord is a coordinator.
type simCoord struct {
	s    *sim
	name string

	mu    sync.Mutex // guards what follows
	fs    *vfs.Mem
	coord *coordinator.Coordinator // nil: down
	trans *simTransport
}

func (c *simCoord) now() *coordinator.Coordinator {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.coord
}

func (c *simCoord) open() {
	s := c.s
	life := s.lifeOf(c.name)
	cfg := coordinator.Config{
		FS: c.fs, Dir: "/coordinator", Log: zap.NewNop(),
		Fatal: func(err error) {
			if s.lifeOf(c.name) == life {
				s.t.Errorf("%s: %v", c.name, err)
			}
		},
		Pool:         coordinator.Pool{Shards: simShards, Replication: simNodes, BlobSize: simBlob},
		BallastBytes: -1, Space: func() (uint64, uint64, error) { return 1 << 40, 1 << 40, nil },
		KV: kv.Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10}, QueueDelay: time.Second, EpochInterval: 10 * time.Second,
		DownAfter: 1000 * time.Hour, OutAfter: 2000 * time.Hour, Blobs: simBlobs{s, c.name},
	}
	for _, v := range s.vols {
		cfg.Volumes = append(cfg.Volumes, &metapb.VolumeRow{Number: v.number, Id: []byte(v.name), Node: v.name})
	}
	cfg.Raft.SegmentBytes, cfg.Raft.SnapshotEveryBytes = 64<<10, 96<<10
	cfg.Raft.Transport, cfg.Raft.Confirmer = c.transport, simConfirmer{s, c.name}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	coord, err := coordinator.Open(ctx, cfg)
	if err != nil {
		s.t.Errorf("open %s: %v", c.name, err)
		return
	}
	c.mu.Lock()
	c.coord = coord
	c.mu.Unlock()
}

// crash leaves what the disk kept.
func (c *simCoord) crash() {
	if !c.s.die(c.name) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, fs := c.coord, c.fs
	c.fs, c.coord = fs.CrashClone(c.s.survival()), nil
	if old != nil {
		c.s.wg.Go(func() { _ = old.Close() })
	}
}

func (c *simCoord) restart() {
	c.s.revive(c.name)
	c.open()
}

// transport joins the coordinator to the others.
func (c *simCoord) transport(raft.ServerID) (raft.Transport, error) {
	_, mem := raft.NewInmemTransportWithTimeout(raft.ServerAddress(c.name), simTimeout)
	tr := &simTransport{mem, c.s, c.name}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, o := range c.s.coords {
		if other := o.trans; other != nil && o != c {
			mem.Connect(other.LocalAddr(), other.InmemTransport)
			other.Connect(mem.LocalAddr(), mem)
		}
	}
	c.trans = tr
	return tr, nil
}

// simTransport is Raft's in memory, with messages that may be lost.
type simTransport struct {
	*raft.InmemTransport
	s    *sim
	from string
}

var _ raft.WithPreVote = (*simTransport)(nil)

func (t *simTransport) call(to raft.ServerAddress, do func() error) error {
	_, err := t.s.call(context.Background(), t.from, string(to), do)
	return err
}

func (t *simTransport) SetHeartbeatHandler(func(raft.RPC)) {}

func (t *simTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t *simTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	return t.call(to, func() error { return t.InmemTransport.AppendEntries(id, to, a, r) })
}

func (t *simTransport) RequestVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
	return t.call(to, func() error { return t.InmemTransport.RequestVote(id, to, a, r) })
}

func (t *simTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	return t.call(to, func() error { return t.InmemTransport.RequestPreVote(id, to, a, r) })
}

func (t *simTransport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, a *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.call(to, func() error { return t.InmemTransport.InstallSnapshot(id, to, a, r, data) })
}

func (t *simTransport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, a *raft.TimeoutNowRequest, r *raft.TimeoutNowResponse) error {
	return t.call(to, func() error { return t.InmemTransport.TimeoutNow(id, to, a, r) })
}

// simConfirmer asks another coordinator for its term.
type simConfirmer struct {
	s    *sim
	from string
}

func (x simConfirmer) Confirm(ctx context.Context, to raft.Server, term uint64) error {
	_, err := x.s.call(ctx, x.from, string(to.Address), func() error {
		c := x.s.coords[string(to.Address)].now()
		if c == nil {
			return errLost
		}
		return c.Confirm(string(to.ID), term)
	})
	return err
}

// simVol is a volume.
type simVol struct {
	s      *sim
	name   string
	number uint32

	mu  sync.Mutex // guards what follows
	fs  *vfs.Mem
	vol *volume.Server // nil: down
}

func (v *simVol) now() *volume.Server {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.vol
}

func (v *simVol) open() {
	vol, err := volume.Open("/volume", volume.Config{CollectEvery: 500 * time.Millisecond, Store: store.Options{
		FS: v.fs, Reserve: -1, Ballast: -1, SmallSegment: 256 << 10, LargeSegment: 512 << 10, FirstSegment: 128 << 10,
		LargeBlob: 32 << 10, GroupBytes: 64 << 10, BlobMax: simBlob,
	}})
	if err == nil {
		err = vol.Shards(simShards)
	}
	if err != nil {
		v.s.t.Errorf("open %s: %v", v.name, err)
		return
	}
	v.mu.Lock()
	v.vol = vol
	v.mu.Unlock()
	vol.Start(simRuns{&simMeta{s: v.s, from: v.name}})
}

func (v *simVol) crash() {
	if !v.s.die(v.name) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	old, fs := v.vol, v.fs
	v.fs, v.vol = fs.CrashClone(v.s.survival()), nil
	if old != nil {
		v.s.wg.Go(func() { _ = old.Close() })
	}
}

func (v *simVol) restart() {
	v.s.revive(v.name)
	v.open()
}

// ask calls the volume from another node.
func (v *simVol) ask(ctx context.Context, from string, do func(*volume.Server) error) error {
	_, err := v.s.call(ctx, from, v.name, func() error {
		vol := v.now()
		if vol == nil {
			return errLost
		}
		return do(vol)
	})
	return err
}
