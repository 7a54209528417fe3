package rest

import (
	"context"

	"minikv/gateway/objects"
	"minikv/proto/metapb"
)

// Over is the Store of an Objects.
func Over(o *objects.Objects) Store { return over{o} }

type over struct{ *objects.Objects }

func (o over) Open(ctx context.Context, req objects.GetRequest, decide func(*objects.Object) (off, n uint64, err error)) (*objects.Object, Body, error) {
	obj, r, err := o.Objects.Open(ctx, req, decide)
	if err != nil {
		return obj, nil, err
	}
	return obj, r, nil
}

func (o over) Hold(ctx context.Context, account string, interrupt func(), n int64) (Held, error) {
	h, err := o.Objects.Hold(ctx, account, interrupt, n)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (o over) OpenRow(ctx context.Context, bucket *metapb.BucketRow, row *metapb.ObjectRow) (Body, error) {
	r, err := o.OfRow(bucket, row).Range(ctx, 0, row.GetSize())
	if err != nil {
		return nil, err
	}
	return r, nil
}
