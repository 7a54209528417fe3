package node

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"minikv/cmd/minikv/datadir"
	"minikv/coordinator"
	"minikv/gateway/objects"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/metaclient"
	"minikv/internal/object"
	"minikv/internal/ops"
	"minikv/internal/telemetry"
	"minikv/internal/vfs"
	"minikv/proto/metapb"
)

// Who satisfies whom.
var (
	_ objects.Metadata       = (*metaclient.Client)(nil)
	_ objects.Volumes        = (*storage)(nil)
	_ metaclient.Coordinator = (*coordinator.Coordinator)(nil)
)

// volumeNumber is that of the only volume.
const volumeNumber = 1

// backend is what the front doors of a node stand on.
type backend interface {
	objects.Volumes
	metadata() objects.Metadata // nil: this node is no gateway
	ready(ctx context.Context) error
	status(ctx context.Context) (map[string]any, error)
	samples() []telemetry.Sample
	badReplica(volume uint32, blob object.BlobID, err error)
	operations() ops.Caller
	enter(ctx context.Context) error // waits until there is something to serve; nothing but operations is answered before
	Close() error
}

// storage is coordinator and volume in this process.
type storage struct {
	coord  *coordinator.Coordinator
	volume *volumePart
	meta   *metaclient.Client
	log    *zap.Logger
	cfg    *config.Config
	bad    atomic.Uint64
	report *reporting
	about  *about
}

// openStorage opens the volume, then the coordinator, and waits until it answers.
func openStorage(ctx context.Context, cfg *config.Config, dir *datadir.Dir, log *zap.Logger, fatal func(error), self *about) (s *storage, err error) {
	s = &storage{log: log, cfg: cfg, about: self}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.volume, err = openVolume(cfg, dir.Volume(volumeNumber), log.Named("volume")); err != nil {
		return s, err
	}
	if err = s.volume.checkMetadata(dir); err != nil {
		return s, err
	}
	s.coord, err = coordinator.Open(ctx, coordinatorConfig(cfg, dir, s.volume, log, fatal))
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err = s.coord.WaitReady(ctx); err != nil {
		return s, err
	}
	s.meta, err = metaclient.New(ctx, s.coord, metaclient.Config{Log: log.Named("meta"), RenewEvery: cfg.EpochInterval / 2})
	if err != nil {
		return s, err
	}
	if err = s.volume.check(s.meta.Layout(), dir.Volume(volumeNumber)); err != nil {
		return s, err
	}
	s.volume.Start(runs{s.coord})
	s.report = newReporting(s.coord, s.volume, func() uint32 { return volumeNumber }, log.Named("reports"))
	s.checkPolicy(cfg)
	s.checkFixed(cfg)
	return s, nil
}

func coordinatorConfig(cfg *config.Config, dir *datadir.Dir, v *volumePart, log *zap.Logger, fatal func(error)) coordinator.Config {
	c := baseCoordinatorConfig(cfg, dir, log, fatal)
	c.Pool.Replication, c.Volumes, c.Blobs = 1, []*metapb.VolumeRow{v.row()}, v
	c.Care = care{here: &careHere{volumePart: v}}
	return c
}

// baseCoordinatorConfig is what a coordinator alone and one of several have in common.
func baseCoordinatorConfig(cfg *config.Config, dir *datadir.Dir, log *zap.Logger, fatal func(error)) coordinator.Config {
	c := coordinator.Config{
		FS: vfs.OS(), Dir: dir.Coordinator(), Log: log.Named("coordinator"), Fatal: fatal, Fsync: cfg.Fsync,
		Pool:          coordinator.Pool{Shards: uint32(cfg.Shards), BlobSize: uint32(cfg.BlobSize)},
		EpochInterval: cfg.EpochInterval, HorizonLag: uint64(cfg.HorizonLag), QueueDelay: orNone(cfg.QueueDelay),
		BallastBytes: orNone(cfg.Ballast),
	}
	if cfg.VolumeReserve > 0 {
		c.MinFree = func(uint64) uint64 { return uint64(cfg.VolumeReserve) }
	}
	return c
}

// orNone turns 0, which other packages take for their default, into their "none".
func orNone[T ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}

// checkPolicy tells when the running policy is not the one the store was founded with. A single process may change it.
func (s *storage) checkPolicy(cfg *config.Config) {
	if was := s.meta.Layout().GetCluster().GetFsync(); was != cfg.Fsync {
		s.log.Warn("the fsync policy differs from the one this store was made with", zap.String("was", was), zap.String("now", cfg.Fsync))
	}
	if cfg.Fsync != "always" {
		s.log.Warn("acknowledged writes can be lost when the power fails", zap.String("fsync", cfg.Fsync))
	}
}

// checkFixed tells of settings that were fixed when the store was made and are others now. Defaults ask for nothing.
func (s *storage) checkFixed(cfg *config.Config) {
	pools := s.meta.Layout().GetPools()
	if len(pools) == 0 {
		return
	}
	usual := config.Default()
	for _, f := range []struct {
		key                string
		asked, usual, used int64
	}{
		{"shards", int64(cfg.Shards), int64(usual.Shards), int64(pools[0].GetShards())},
		{"blob.size", cfg.BlobSize, usual.BlobSize, int64(pools[0].GetBlobSize())},
	} {
		if f.asked != f.used && f.asked != f.usual {
			s.log.Warn("this setting was fixed when the store was made", zap.String("setting", f.key), zap.Int64("asked", f.asked), zap.Int64("used", f.used))
		}
	}
}

// Volume finds a volume by its number.
func (s *storage) Volume(number uint32) (objects.Volume, bool) {
	return s.volume, number == volumeNumber
}

// Close stops in the reverse order of the start. Parts that were never opened are left out.
func (s *storage) Close() error {
	var all []error
	if s.report != nil {
		s.report.Close()
	}
	if s.meta != nil {
		all = append(all, errs.Wrap("metaclient", s.meta.Close()))
	}
	if s.volume != nil {
		s.volume.Stop()
	}
	if s.coord != nil {
		all = append(all, errs.Wrap("coordinator", s.coord.Close()))
	}
	if s.volume != nil {
		all = append(all, errs.Wrap("volume", s.volume.Close()))
	}
	return errors.Join(all...)
}

// enter has nothing to wait for: openStorage did.
func (s *storage) enter(context.Context) error { return nil }

func (s *storage) metadata() objects.Metadata { return s.meta }

// operations are those of internal/ops; each topic gives its handlers.
func (s *storage) operations() ops.Caller {
	return &operator{coord: s.coord, table: ops.NewTable(slices.Concat(
		statusOps(s, s.cfg),
		raftGroup{coord: s.coord, cfg: s.cfg}.handlers(),
		nodeOps(s.coord, s),
		poolOps(s.coord),
		backupOps(s.coord),
		repairOps(s.coord, care{here: &careHere{volumePart: s.volume}}),
	)...)}
}

// ready says whether metadata can be read and decided.
func (s *storage) ready(context.Context) error { return s.coord.Ready() }

// badReplica counts and logs a replica that failed.
func (s *storage) badReplica(volume uint32, blob object.BlobID, err error) {
	s.bad.Add(1)
	s.report.Bad(volume, blob, err)
	s.log.Warn("a replica failed", zap.Uint32("volume", volume), zap.Stringer("blob", blob), zap.Error(err))
}

// stats asks the metadata for its counts.
func (s *storage) stats(ctx context.Context) (*metapb.StatsAnswer, error) {
	a, err := s.meta.Read(ctx, &metapb.Query{Q: &metapb.Query_Stats{Stats: &metapb.StatsQuery{}}})
	return a.GetStats(), err
}

// samples are the numbers for metrics.
func (s *storage) samples() []telemetry.Sample {
	out := append(coordinatorSamples(s.coord), telemetry.Sample{
		Name: "minikv_gateway_commands_unresolved", Help: "Commands of this gateway whose clients were told that the outcome is unknown, and whose outcome is asked for.",
		Value: float64(s.meta.Unresolved()),
	}, telemetry.Sample{
		Name: "minikv_gateway_bad_replicas_total", Help: "Reads and writes of blobs that failed on a replica.", Counter: true, Value: float64(s.bad.Load()),
	})
	return append(append(out, repairSamples(s.coord)...), s.volume.samples()...)
}
