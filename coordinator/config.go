package coordinator

import (
	"context"
	"time"

	"go.uber.org/zap"

	"minikv/coordinator/consensus"
	"minikv/coordinator/kv"
	"minikv/coordinator/rebalance"
	"minikv/coordinator/repair"
	"minikv/coordinator/txn"
	"minikv/internal/errs"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// Defaults.
const (
	shardsDefault        = 256
	replicationDefault   = 1
	blobSizeDefault      = 4 << 20
	epochIntervalDefault = time.Hour
	horizonLagDefault    = 48 // epochs; one request ends after 24 h
	queueDelayDefault    = 15 * time.Minute
	completedKeepDefault = 7 * 24 * time.Hour
	downAfterDefault     = 30 * time.Second
	outAfterDefault      = 10 * time.Minute
	ballastDefault       = 256 << 20
	collectEveryMax      = time.Minute
	pruneEvery           = time.Hour
)

// Pool is how the cluster stores blobs, settled when it is founded.
type Pool struct {
	Shards      uint32 // 0: 256
	Replication uint32 // 0: 1
	BlobSize    uint32 // bytes; 0: 4 MiB
}

// Config of a coordinator. FS, Dir and Fatal must be set; zero values of the rest are the defaults.
type Config struct {
	FS  vfs.FS
	Dir string
	Log *zap.Logger
	// Fatal is told what makes going on unsafe, and ends the process. Where it returns, all work is refused.
	Fatal func(error)

	// What a new cluster is founded with. Without volumes none is founded.
	Fsync   string // "always" (default), "interval", "never"
	Pool    Pool
	Volumes []*metapb.VolumeRow

	// FoundWith, if not 0, is how many volumes must have joined before a new cluster is founded with them; Volumes is not used.
	FoundWith int

	EpochInterval time.Duration // 0: 1 h
	HorizonLag    uint64        // epochs; 0: 48
	QueueDelay    time.Duration // bytes of the deleted wait so long; 0: 15 min, negative: none
	CompletedKeep time.Duration // 0: 7 days

	DownAfter time.Duration // a volume that was silent for so long is down; 0: 30 s
	OutAfter  time.Duration // and after so long its shards move to others; 0: 10 min

	// Blobs deletes on volumes; nil: nothing is collected until SetBlobs.
	Blobs txn.Volumes
	// Moves moves blobs between volumes; nil: shards stay where they are.
	Moves rebalance.Volumes
	// Care asks volumes to fetch and check blobs; nil: nothing is repaired.
	Care repair.Volumes
	// RepairRate bounds what is copied, in bytes per second. 0: 64 MiB, negative: no bound.
	RepairRate int64
	// CompareEvery is the time between two comparisons of all replicas. 0: 1 h
	CompareEvery time.Duration

	// LevelOf asks another coordinator for the highest command level that it knows; nil: all know as much as this one.
	LevelOf func(ctx context.Context, m consensus.Member) (uint32, error)

	// BallastBytes are preallocated in Dir and released when space is short. 0: 256 MiB, negative: none.
	BallastBytes int64
	// Space tells the free and total bytes of Dir's file system; nil: asks FS.
	Space func() (free, total uint64, err error)
	// MinFree is the free space in bytes below which writes are refused; nil: max(1 GiB, 3 % of total).
	MinFree func(total uint64) uint64

	Clock txn.Clock  // nil: the machine's
	KV    kv.Options // of the metadata store

	// Raft holds rarely used settings of the Raft member; its FS, Dir, Log, KV, Fatal, Bootstrap and Now are set here.
	Raft consensus.Options
}

func (c *Config) setDefaults() error {
	const op = "coordinator.Open"
	if c.FS == nil || c.Dir == "" || c.Fatal == nil {
		return errs.E(op, errs.Invalid, "FS, Dir and Fatal must be set")
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Clock == nil {
		c.Clock = txn.RealClock{}
	}
	if c.Space == nil {
		c.Space = c.diskSpace
	}
	if c.MinFree == nil {
		c.MinFree = minFree
	}
	setDefault(&c.Fsync, "always")
	setDefault(&c.Pool.Shards, shardsDefault)
	setDefault(&c.Pool.Replication, replicationDefault)
	setDefault(&c.Pool.BlobSize, blobSizeDefault)
	setDefault(&c.EpochInterval, epochIntervalDefault)
	setDefault(&c.HorizonLag, horizonLagDefault)
	setDefault(&c.QueueDelay, queueDelayDefault)
	setDefault(&c.CompletedKeep, completedKeepDefault)
	setDefault(&c.BallastBytes, ballastDefault)
	setDefault(&c.RepairRate, repair.RateDefault)
	setDefault(&c.CompareEvery, repair.CompareEveryDefault)
	c.QueueDelay = max(c.QueueDelay, 0)
	setDefault(&c.DownAfter, downAfterDefault)
	setDefault(&c.OutAfter, outAfterDefault)
	c.OutAfter = max(c.OutAfter, c.DownAfter)
	switch c.Fsync {
	case "always", "interval", "never":
	default:
		return errs.E(op, errs.Invalid, "fsync is %q; allowed are always, interval and never", c.Fsync)
	}
	if n := len(c.Volumes); n > 0 && n < int(c.Pool.Replication) {
		return errs.E(op, errs.Invalid, "%d volumes can't hold %d replicas", n, c.Pool.Replication)
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *Config) diskSpace() (free, total uint64, err error) {
	u, err := c.FS.GetDiskUsage(c.Dir)
	return u.AvailBytes, u.TotalBytes, err
}

func minFree(total uint64) uint64 { return max(1<<30, total/100*3) }
