package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"time"

	"minikv/coordinator/backup"
	"minikv/coordinator/consensus"
	"minikv/coordinator/kv"
	"minikv/coordinator/meta"
	"minikv/internal/buildinfo"
	"minikv/internal/errs"
	"minikv/internal/vfs"
)

// Backup writes a backup of the metadata that holds everything acknowledged before the call. Only the leader can.
func (c *Coordinator) Backup(ctx context.Context, w io.Writer) error {
	const op = "coordinator.Backup"
	return c.node.Backup(ctx, func(at consensus.Checkpointed, tar io.Reader) error {
		out, err := backup.NewWriter(w, header(at, c.cfg.Clock.Now()))
		if err != nil {
			return errs.Wrap(op, err)
		}
		if _, err := io.Copy(out, ctxReader{ctx, tar}); err != nil {
			return errs.Wrap(op, err)
		}
		return errs.Wrap(op, out.Close())
	})
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func header(at consensus.Checkpointed, now time.Time) backup.Header {
	version, _ := buildinfo.Get()
	l := at.Layout
	h := backup.Header{
		Made: now.UTC(), Version: version, Cluster: hex.EncodeToString(l.GetCluster().GetId()), Index: at.Index, Term: at.Term,
		Epoch: l.GetCluster().GetEpoch(), Level: l.GetCluster().GetLevel(), Fsync: l.GetCluster().GetFsync(),
		Objects: at.Stats.GetObjects(), Bytes: at.Stats.GetBytes(), Buckets: at.Stats.GetBuckets(), Volumes: []backup.Volume{},
	}
	if len(l.GetPools()) > 0 {
		h.Replicas = l.Pools[0].Replication
	}
	for _, v := range l.GetVolumes() {
		h.Volumes = append(h.Volumes, backup.Volume{Number: v.Number, ID: hex.EncodeToString(v.Id), Node: v.Node})
	}
	return h
}

// Restored says what a restored coordinator holds.
type Restored struct {
	backup.Header
	NewCluster string // its id
	NewEpoch   uint64
}

// Restore makes dir, which must not exist, the folder of a coordinator that is alone and stands where the backup does, as a cluster of
// its own; see meta.Rebase. All of it is there at the end, or nothing: errs.Corrupt for a backup that was cut short or damaged.
func Restore(fs vfs.FS, dir string, r io.Reader) (*Restored, error) {
	const op = "coordinator.Restore"
	in, err := backup.NewReader(r)
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	if in.Header.Level > meta.Level {
		return nil, errs.E(op, errs.Unsupported, "the backup was made by minikv %s and needs one as new", in.Header.Version)
	}
	id := make([]byte, 16)
	rand.Read(id)
	at, err := consensus.Restore(fs, dir, in, kv.Options{}, func(db *kv.DB) error {
		return meta.Rebase(db, id, time.Now().Unix()/60)
	})
	if err != nil {
		return nil, errs.Wrap(op, err)
	}
	return &Restored{Header: in.Header, NewCluster: hex.EncodeToString(id), NewEpoch: at.Layout.GetCluster().GetEpoch()}, nil
}
