package node

import (
	"bytes"
	"context"

	"go.uber.org/zap"

	"minikv/cmd/minikv/datadir"
	"minikv/coordinator/txn"
	"minikv/gateway/objects"
	"minikv/internal/config"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/internal/telemetry"
	"minikv/proto/metapb"
	"minikv/volume"
	"minikv/volume/store"
)

var (
	_ objects.Volume = (*volume.Server)(nil)
	_ txn.Volumes    = (*volumePart)(nil)
	_ volume.Runs    = runs{}
)

// volumePart is the volume of this process.
type volumePart struct {
	*volume.Server
}

func openVolume(cfg *config.Config, dir string, log *zap.Logger) (*volumePart, error) {
	policy, err := store.ParsePolicy(cfg.Fsync)
	if err != nil {
		return nil, err
	}
	srv, err := volume.Open(dir, volume.Config{
		Store: store.Options{
			Fsync: policy, FsyncInterval: cfg.FsyncInterval, Reserve: cfg.VolumeReserve, Ballast: orNone(cfg.Ballast),
			Logf: log.Sugar().Warnf,
		},
		CollectEvery: cfg.CollectInterval,
	})
	if err != nil {
		return nil, err
	}
	return &volumePart{srv}, nil
}

// row is what a new cluster learns of the volume.
func (v *volumePart) row() *metapb.VolumeRow {
	id := v.ID()
	return &metapb.VolumeRow{Number: volumeNumber, Id: id[:]}
}

// check refuses a folder that is not the volume which the metadata speaks of: its blobs would all be missing.
func (v *volumePart) check(layout *metapb.Layout, dir string) error {
	id := v.ID()
	for _, row := range layout.GetVolumes() {
		if row.Number == volumeNumber && len(row.Id) > 0 && !bytes.Equal(row.Id, id[:]) {
			return errs.E("node.Open", errs.Conflict, "%s is volume %x; the metadata beside it belongs to volume %x: bring that one back", dir, id, row.Id)
		}
	}
	return nil
}

// checkMetadata refuses blobs beside which there is no coordinator: a new one would know of none of them, and have them collected.
func (v *volumePart) checkMetadata(dir *datadir.Dir) error {
	there, err := dir.HasCoordinator()
	if n := v.Stats().Blobs; err == nil && !there && n > 0 {
		return errs.E("node.Open", errs.Conflict, "%s holds %d blobs, and the metadata that tells what they are, %s, is not there: bring it back or "+
			"restore a backup of it (minikv restore); start a node of a cluster with --node; for an empty store move the volume away", dir.Volume(volumeNumber), n, dir.Coordinator())
	}
	return err
}

// Delete drops blobs that the coordinator has let go.
func (v *volumePart) Delete(ctx context.Context, number uint32, ids ...object.BlobID) error {
	if number != volumeNumber {
		return errs.E("node.Delete", errs.BlobMissing, "there is no volume %d", number)
	}
	return v.Server.Delete(ctx, ids...)
}

// runs answers the volume's collector from the coordinator.
type runs struct {
	coord interface {
		RunStates(ctx context.Context, bases []object.RunBase) (*metapb.RunStatesAnswer, error)
	}
}

func (r runs) RunStates(ctx context.Context, bases []object.RunBase) ([]object.RunState, uint64, error) {
	a, err := r.coord.RunStates(ctx, bases)
	if err != nil {
		return nil, 0, err
	}
	out := make([]object.RunState, len(a.States))
	for i, s := range a.States {
		if out[i].Life, err = lifeOf(s.State); err != nil {
			return nil, 0, err
		}
		for _, c := range s.Ranges {
			out[i].Ranges = append(out[i].Ranges, object.CounterRange{First: c.First, Count: c.Count})
		}
	}
	return out, a.Horizon, nil
}

// lifeOf reads the state of a run. An unknown one must not pass for "none", which drops blobs.
func lifeOf(state uint32) (object.RunLife, error) {
	switch state {
	case 0:
		return object.RunNone, nil
	case 1:
		return object.RunDying, nil
	case 2:
		return object.RunAlive, nil
	}
	return 0, errs.E("node.RunStates", errs.Unsupported, "run state %d", state)
}

// samples are the volume's numbers for metrics.
func (v *volumePart) samples() []telemetry.Sample {
	st, done, doubt := v.Stats(), v.Collected(), v.InDoubt()
	labels := map[string]string{"volume": "1"}
	gauge := func(name, help string, value float64) telemetry.Sample {
		return telemetry.Sample{Name: "minikv_volume_" + name, Help: help, Value: value, Labels: labels}
	}
	counter := func(name, help string, value int64) telemetry.Sample {
		return telemetry.Sample{Name: "minikv_volume_" + name + "_total", Help: help, Counter: true, Value: float64(value), Labels: labels}
	}
	return append(upkeep(&st, gauge, counter),
		gauge("blobs", "Blobs that are alive.", float64(st.Blobs)),
		gauge("bytes", "Bytes of the blobs that are alive.", float64(st.Bytes)),
		gauge("index_entries", "Entries of the index.", float64(st.Entries)),
		gauge("index_bytes", "Memory of the index.", float64(st.IndexBytes)),
		gauge("segments", "Segment files.", float64(st.Segments)),
		gauge("segment_bytes", "Bytes of the segment files.", float64(st.SegmentBytes)),
		gauge("free_bytes", "Free bytes of the file system.", float64(st.FreeBytes)),
		gauge("full", "1 when writes are refused for lack of space.", one(st.Full)),
		gauge("damaged_pieces", "Pieces of segments that cannot be read.", float64(st.Damaged)),
		gauge("bad_blobs", "Blobs whose bytes fail their checksums and that wait for repair.", float64(st.Bad)),
		gauge("in_doubt_blobs", "Blobs that are prepared and not known to be published, as the collector last counted them.", float64(doubt.Blobs)),
		gauge("in_doubt_oldest_epoch", "Epoch of the oldest of them; 0: there are none.", float64(doubt.Oldest)),
		gauge("horizon_epoch", "Epoch below which prepares are refused.", float64(st.Horizon)),
		counter("prepares", "Blobs stored.", st.Prepares),
		counter("deletes", "Blobs dropped.", st.Deletes),
		counter("reads", "Reads of blobs.", st.Reads),
		counter("read_errors", "Reads of blobs that failed.", st.ReadErrors),
		counter("groups", "Writes to the logs, each for all who waited.", st.Groups),
		counter("syncs", "Syncs of the logs.", st.Syncs),
		counter("written_bytes", "Bytes written to the logs.", st.BytesWritten),
		counter("write_failures", "Writes and syncs that failed and sealed a segment.", st.WriteFailures),
		counter("segments_removed", "Segments removed.", st.SegmentRemoved),
		counter("collector_asked", "Blobs that the collector asked about.", done.Asked),
		counter("collector_dropped", "Orphans that the collector dropped.", done.Dropped),
		counter("collector_relearned", "Blobs whose lost commit hint was learned again.", done.Relearned),
	)
}

// status is the volume's part of /admin/status.
func (v *volumePart) status() map[string]any {
	st := v.Stats()
	damage := []string{}
	for _, d := range v.Damage() {
		damage = append(damage, d.Segment+": "+d.Cause)
	}
	return map[string]any{
		"blobs": st.Blobs, "bytes": st.Bytes, "segments": st.Segments, "segment_bytes": st.SegmentBytes, "free_bytes": st.FreeBytes,
		"full": st.Full, "damage": damage, "write_failures": st.WriteFailures, "horizon": st.Horizon,
	}
}
