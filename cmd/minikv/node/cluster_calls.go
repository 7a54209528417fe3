package node

import (
	"context"

	"minikv/coordinator"
	"minikv/gateway/objects"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/coordpb"
	"minikv/proto/metapb"
)

// here is the coordinator of this process while it leads; nil: ask the others.
func (c *cluster) here() *coordinator.Coordinator {
	if c.coord != nil && c.coord.Leads() == nil {
		return c.coord
	}
	return nil
}

// Propose has the leader decide, wherever it is.
func (c *cluster) Propose(ctx context.Context, cmd *metapb.Command) (*metapb.Result, error) {
	if l := c.here(); l != nil {
		return l.Propose(ctx, cmd)
	}
	return c.remote.Propose(ctx, cmd)
}

// Read has the leader answer.
func (c *cluster) Read(ctx context.Context, q *metapb.Query) (*metapb.Answer, error) {
	if l := c.here(); l != nil {
		return l.Read(ctx, q)
	}
	return c.remote.Read(ctx, q)
}

// RunStates has the leader tell which runs are alive.
func (c *cluster) RunStates(ctx context.Context, bases []object.RunBase) (*metapb.RunStatesAnswer, error) {
	if l := c.here(); l != nil {
		return l.RunStates(ctx, bases)
	}
	return c.remote.RunStates(ctx, bases)
}

// Join tells the leader of this node.
func (c *cluster) Join(ctx context.Context, r *coordpb.JoinRequest) (*coordpb.JoinReply, error) {
	if l := c.here(); l != nil {
		return l.Join(ctx, r)
	}
	return c.remote.Join(ctx, r)
}

// Volume finds a volume by its number: the one here, or a client of another node's.
func (c *cluster) Volume(number uint32) (objects.Volume, bool) {
	if c.isHere(number) {
		return c.volume, true
	}
	v, err := c.client(number)
	return v, err == nil
}

func (c *cluster) isHere(number uint32) bool {
	return c.volume != nil && number != 0 && number == c.number.Load()
}

// blobs is what the leader needs of a volume.
type blobs interface {
	objects.Volume
	Delete(ctx context.Context, ids ...object.BlobID) error
}

func (c *cluster) blobsAt(number uint32) (blobs, error) {
	if c.isHere(number) {
		return c.volume.Server, nil
	}
	return c.client(number)
}

// Delete drops blobs that the coordinator has let go.
func (c *cluster) Delete(ctx context.Context, number uint32, ids ...object.BlobID) error {
	v, err := c.blobsAt(number)
	if err != nil {
		return err
	}
	return v.Delete(ctx, ids...)
}

// Copy brings a blob from one volume to another.
func (c *cluster) Copy(ctx context.Context, id object.BlobID, ep object.Epochs, from, to uint32) error {
	const op = "node.Copy"
	source, err := c.blobsAt(from)
	if err != nil {
		return coordinator.FailedAt(from, err)
	}
	target, err := c.blobsAt(to)
	if err != nil {
		return coordinator.FailedAt(to, err)
	}
	buf := make([]byte, c.known().GetPools()[0].GetBlobSize())
	n, err := source.ReadAt(ctx, id, buf, 0)
	if err != nil {
		return at(op, from, err)
	}
	durable, err := target.Prepare(ctx, id, ep, [][]byte{buf[:n]})
	if err != nil {
		return at(op, to, err)
	}
	if !durable && c.cfg.Fsync == "always" {
		return errs.E(op, errs.Unavailable, "volume %d did not sync", to)
	}
	return nil
}

// at says which volume failed, when it is the volume that did and not this one blob of it.
func at(op string, volume uint32, err error) error {
	switch errs.KindOf(err) {
	case errs.BlobMissing, errs.Corrupt:
		return errs.Wrap(op, err)
	}
	return coordinator.FailedAt(volume, errs.Wrap(op, err))
}
