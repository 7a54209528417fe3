package objects

import (
	"bytes"
	"context"
	"sync"

	"minikv/gateway/payload"
	"minikv/internal/digest"
	"minikv/internal/errs"
	"minikv/internal/object"
	"minikv/proto/metapb"
)

// batchWriters is how many bodies of one batch are prepared side by side: enough for a group commit.
const batchWriters = 16

// BatchOp is one operation of a batch: a put if Put is set, else a delete or a get.
type BatchOp struct {
	Key        object.Key
	Conditions *metapb.Conditions
	Put        *BatchPut
	Delete     bool
	Get        bool
}

// BatchPut is what a batch puts. The caller bounds the total of the values and keeps them unchanged during the call.
type BatchPut struct {
	Value      []byte
	Attributes *metapb.Attributes
	Tags       []*metapb.Pair
	Owner      string
	Checksum   digest.Algorithm // None: CRC64NVME
}

// BatchError is a batch that was refused as a whole because of one operation.
type BatchError struct {
	Op  int // index of the operation; 0 when it is not known
	Err error
}

func (e *BatchError) Error() string { return e.Err.Error() }

// Unwrap gives the refusal, with its kind.
func (e *BatchError) Unwrap() error { return e.Err }

// Batch does all of the operations or none, in one decision; results are in the order of the operations. A refusal is a *BatchError.
func (o *Objects) Batch(ctx context.Context, sc Scope, ops []BatchOp) (*metapb.BatchResult, error) {
	const op = "objects.Batch"
	ctx, cancel := context.WithTimeout(ctx, o.writeLimit)
	defer cancel()
	var puts []int
	for i := range ops {
		if ops[i].Put != nil {
			puts = append(puts, i)
		}
	}
	writes, err := o.writeAll(ctx, ops, puts)
	if err != nil {
		abort(writes)
		return nil, errs.Wrap(op, err)
	}
	res, err := o.publish(ctx, op, sc, writes, func(b *metapb.BucketRef, written []*metapb.Written) *metapb.Command {
		cmd := &metapb.Batch{Bucket: b, Ops: make([]*metapb.BatchOp, len(ops))}
		for i := range ops {
			cmd.Ops[i] = &metapb.BatchOp{Key: string(ops[i].Key), Conditions: ops[i].Conditions}
			switch {
			case ops[i].Delete:
				cmd.Ops[i].Op = &metapb.BatchOp_Delete{Delete: true}
			case ops[i].Get:
				cmd.Ops[i].Op = &metapb.BatchOp_Get{Get: true}
			}
		}
		for n, i := range puts {
			cmd.Ops[i].Op = &metapb.BatchOp_Put{Put: batchPut(ops[i].Put, writes[n], written[n])}
		}
		return &metapb.Command{Op: &metapb.Command_Batch{Batch: cmd}}
	})
	if err != nil {
		return nil, &BatchError{Op: int(res.GetFailedOp()), Err: err}
	}
	return res.GetBatch(), nil
}

// writeAll prepares the values of the puts, some side by side. Writes are returned with an error too.
func (o *Objects) writeAll(ctx context.Context, ops []BatchOp, puts []int) ([]*payload.Write, error) {
	writes := make([]*payload.Write, len(puts))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(batchWriters, len(puts)) {
		wg.Go(func() {
			for n := range next {
				p := ops[puts[n]].Put
				body := Body{Reader: bytes.NewReader(p.Value), Size: int64(len(p.Value)), Account: p.Owner}
				w, err := o.write(ctx, body, digest.SetOf(orDefault(p.Checksum)))
				if err != nil {
					cancel(err) // the first error counts
					continue
				}
				writes[n] = w
			}
		})
	}
	for n := range puts {
		next <- n
	}
	close(next)
	wg.Wait()
	return writes, context.Cause(ctx)
}

func batchPut(p *BatchPut, w *payload.Write, written *metapb.Written) *metapb.BatchPut {
	return &metapb.BatchPut{
		Written: written,
		Object: &metapb.NewObject{
			Size: w.Size(), Etag: w.Sums.MD5[:], Checksum: ProtoChecksum(w.Sums.Checksum(orDefault(p.Checksum))),
			Owner: p.Owner, Attributes: p.Attributes, Tags: p.Tags,
		},
	}
}
