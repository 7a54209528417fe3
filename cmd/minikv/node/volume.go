package node

import (
	"context"

	"go.uber.org/zap"

	"minikv/gateway/objects"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/telemetry"
	"minikv/proto/metapb"
	"minikv/volume/store"
)

var _ objects.Volume = (*volumePart)(nil)

// volumePart is the volume of this process.
type volumePart struct {
	*store.Store
}

func openVolume(cfg *config.Config, dir string, log *zap.Logger) (*volumePart, error) {
	policy, err := store.ParsePolicy(cfg.Fsync)
	if err != nil {
		return nil, err
	}
	sugar := log.Sugar()
	st, err := store.Open(dir, store.Options{
		Fsync: policy, FsyncInterval: cfg.FsyncInterval, Reserve: cfg.VolumeReserve, Ballast: orNone(cfg.Ballast), Logf: sugar.Warnf,
	})
	if err != nil {
		return nil, err
	}
	return &volumePart{st}, nil
}

// row is what a new cluster learns of the volume.
func (v *volumePart) row() *metapb.VolumeRow {
	return &metapb.VolumeRow{Number: volumeNumber}
}

// stop ends what asks the coordinator, before the coordinator ends.
func (v *volumePart) stop() {}

// Delete drops blobs that the coordinator has let go.
func (v *volumePart) Delete(ctx context.Context, volume uint32, ids ...object.BlobID) error {
	if volume != volumeNumber {
		return errs.E("node.Delete", errs.BlobMissing, "there is no volume %d", volume)
	}
	return v.Store.Delete(ctx, ids...)
}

func (v *volumePart) samples() []telemetry.Sample { return nil }

func (v *volumePart) status() map[string]any { return map[string]any{} }
