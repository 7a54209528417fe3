package consensus

import (
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	"minikv/coordinator/kv"
	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// Times and bounds of Raft.
const (
	electionTimeout       = time.Second
	electionTimeoutSingle = 50 * time.Millisecond
	leaseTimeout          = 500 * time.Millisecond // a leader that hears no majority for so long steps down
	appendEntriesMax      = 16
	snapshotEveryBytes    = 64 << 20
	snapshotEveryEntries  = 65536 // looked at every few minutes; bytes come first under load
	trailingBytes         = 64 << 20
	trailingEntriesMax    = 10240
	trailingEntriesMin    = 64
	watchEvery            = 100 * time.Millisecond
	confirmMax            = 2 * time.Second
	closeGrace            = 5 * time.Second
)

// Options of a Node. FS, Dir and Fatal must be set; the rest has defaults.
type Options struct {
	FS  vfs.FS
	Dir string // the coordinator's own folder
	Log *zap.Logger
	KV  kv.Options
	// Fatal is told what makes going on unsafe. In a server it ends the process; where it returns, the node refuses all work.
	Fatal func(error)
	// Transport carries Raft between coordinators; nil: a single voter in this process.
	Transport func(id raft.ServerID) (raft.Transport, error)
	Confirmer Confirmer
	// Bootstrap makes an empty folder a cluster of one voter.
	Bootstrap bool

	Now                func() time.Time // of the leader's stamps; nil: time.Now
	SnapshotEveryBytes uint64           // of log; 0: 64 MiB
	SegmentBytes       int              // of the log's files; 0: 16 MiB
	LogCacheBytes      int              // 0: 32 MiB
	AppendHangMax      time.Duration    // 0: 5 s, for a single voter 1 min
	ElectionTimeout    time.Duration    // 0: 1 s, for a single voter 50 ms
}

func (o *Options) setDefaults() error {
	if o.FS == nil || o.Dir == "" || o.Fatal == nil {
		return errs.E("consensus.Open", errs.Invalid, "FS, Dir and Fatal must be set")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		setDefault(&o.ElectionTimeout, electionTimeoutSingle)
		setDefault(&o.AppendHangMax, appendHangMaxSingle)
	}
	setDefault(&o.ElectionTimeout, electionTimeout)
	setDefault(&o.SnapshotEveryBytes, snapshotEveryBytes)
	setDefault(&o.SegmentBytes, walSegmentBytes)
	setDefault(&o.LogCacheBytes, logCacheBytesMax)
	setDefault(&o.AppendHangMax, appendHangMax)
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = n.id
	c.HeartbeatTimeout, c.ElectionTimeout = n.opts.ElectionTimeout, n.opts.ElectionTimeout
	c.LeaderLeaseTimeout = min(leaseTimeout, c.HeartbeatTimeout)
	c.MaxAppendEntries = appendEntriesMax
	c.BatchApplyCh = true
	c.ShutdownOnRemove = true
	c.TrailingLogs = trailingEntriesMax
	c.SnapshotThreshold = snapshotEveryEntries
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.NotifyCh = n.notify
	logger := newRaftLogger(n.opts.Log, n.opts.Transport == nil)
	logger.noise = n.noise
	c.Logger = logger
	return c
}
