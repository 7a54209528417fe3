package node

import (
	"context"

	"minikv/gateway/objects"
	"minikv/gateway/rest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// noGateway is behind the REST port of a node without the role: health, metrics and status answer, data does not.
type noGateway struct{}

var (
	_            rest.Store = noGateway{}
	errNoGateway            = errs.E("node", errs.Unavailable, "this node is no gateway")
)

func (noGateway) Bucket(context.Context, object.Bucket) (*metapb.BucketRow, error) {
	return nil, errNoGateway
}

func (noGateway) Put(context.Context, objects.PutRequest) (*metapb.PutResult, error) {
	return nil, errNoGateway
}

func (noGateway) Stat(context.Context, objects.GetRequest) (*objects.Object, error) {
	return nil, errNoGateway
}

func (noGateway) Open(context.Context, objects.GetRequest, func(*objects.Object) (uint64, uint64, error)) (*objects.Object, rest.Body, error) {
	return nil, nil, errNoGateway
}

func (noGateway) OpenRow(context.Context, *metapb.BucketRow, *metapb.ObjectRow) (rest.Body, error) {
	return nil, errNoGateway
}

func (noGateway) Delete(context.Context, objects.Scope, []*metapb.DeleteKey) (*metapb.DeleteResults, error) {
	return nil, errNoGateway
}

func (noGateway) List(context.Context, *metapb.ListObjectsQuery) (*objects.ListPage, error) {
	return nil, errNoGateway
}

func (noGateway) Batch(context.Context, objects.Scope, []objects.BatchOp) (*metapb.BatchResult, error) {
	return nil, errNoGateway
}

func (noGateway) Hold(context.Context, string, func(), int64) (rest.Held, error) {
	return nil, errNoGateway
}
