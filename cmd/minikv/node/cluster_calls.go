package node

import (
	"context"

	"minikv/coordinator"
	"minikv/gateway/objects"
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
